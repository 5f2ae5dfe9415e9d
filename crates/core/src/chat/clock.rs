//! Dates as texts, in UTC.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

struct Date {
    year: u64,
    /// From 1.
    month: u64,
    day: u64,
    /// From 1.
    day_of_year: u64,
    weekday: &'static str,
}

/// A time in seconds since 1970, by the directives of Python's `strftime` that templates use. Others stay as they are.
pub(super) fn strftime(format: &str, seconds: u64) -> String {
    let date = date_of(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let month = MONTHS.get(date.month as usize - 1).copied().unwrap_or_default();
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let directive = characters.next();
        out += &match directive {
            Some('Y') => date.year.to_string(),
            Some('y') => format!("{:02}", date.year % 100),
            Some('m') => format!("{:02}", date.month),
            Some('B') => month.to_owned(),
            Some('b' | 'h') => month.chars().take(3).collect(),
            Some('d') => format!("{:02}", date.day),
            Some('e') => format!("{:2}", date.day),
            Some('j') => format!("{:03}", date.day_of_year),
            Some('A') => date.weekday.to_owned(),
            Some('a') => date.weekday.chars().take(3).collect(),
            Some('H') => format!("{hour:02}"),
            Some('I') => format!("{:02}", (hour + 11) % 12 + 1),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('M') => format!("{minute:02}"),
            Some('S') => format!("{second:02}"),
            Some('F') => format!("{}-{:02}-{:02}", date.year, date.month, date.day),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        };
    }
    out
}

/// The date of a day since 1970.
fn date_of(days: u64) -> Date {
    let weekday = DAYS.get((days % 7) as usize).copied().unwrap_or_default();
    let (mut year, mut left) = (1970, days);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // 400 years always have the same number of days.
    (year, left) = (year + left / 146_097 * 400, left % 146_097);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let day_of_year = left + 1;
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    Date { year, month, day: left + 1, day_of_year, weekday }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // By GNU `date -u -d @…`.
        for (seconds, expected) in [
            (0, "Thursday 01 January 1970 00:00:00 AM 001"),
            (951_782_399, "Monday 28 February 2000 23:59:59 PM 059"),
            (951_782_400, "Tuesday 29 February 2000 00:00:00 AM 060"),
            (1_735_646_400, "Tuesday 31 December 2024 12:00:00 PM 366"),
            (4_107_542_400, "Monday 01 March 2100 00:00:00 AM 060"),
        ] {
            assert_eq!(strftime("%A %d %B %Y %H:%M:%S %p %j", seconds), expected);
        }
        assert_eq!(strftime("%d %b %y, %I:%M %a, 5 %% %q %", 1_735_646_400), "31 Dec 24, 12:00 Tue, 5 % %q %");
        assert_eq!(strftime("%F %T %e", 0), "1970-01-01 00:00:00  1");
    }
}
