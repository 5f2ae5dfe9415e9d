//! The time that the driver passes in.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// Microseconds since a moment that the driver chooses. The schedule has no clock: the caller passes the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of all times.
    pub const START: Time = Time(0);
    /// A time that is never reached, after 584,000 years.
    pub const NEVER: Time = Time(u64::MAX);

    /// This number of microseconds after the start.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The time before this one by `by`, but not before the start.
    #[must_use]
    pub fn before(self, by: Duration) -> Time {
        Time(self.0.saturating_sub(micros(by)))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::NEVER`].
    fn add(self, by: Duration) -> Time {
        Time(self.0.saturating_add(micros(by)))
    }
}

impl From<Duration> for Time {
    /// This long after the start.
    fn from(since_start: Duration) -> Time {
        Time(micros(since_start))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_micros(self.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
