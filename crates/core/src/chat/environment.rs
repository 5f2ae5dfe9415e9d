//! What chat templates may call: the functions and filters that Hugging Face's library gives them.

use super::clock::strftime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;
use regex::Regex;
use std::time::Duration;

/// Bounds the time and the memory (64 bytes each) of a template, which comes from a file.
const FUEL: u64 = 2_000_000;
/// Lists in lists and dictionaries in dictionaries, as text.
const DEPTH_MOST: usize = 100;
/// Spaces of indentation for each level of JSON.
const INDENT_MOST: u64 = 16;
/// Digits of a width in `str.format`.
const WIDTH_DIGITS_MOST: usize = 3;

/// The environment of templates.
///
/// # Errors
/// None with the usual delimiters.
pub(super) fn new() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(method);
    environment.set_fuel(Some(FUEL));
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", to_json);
    environment.add_test("iterable", is_iterable);
    Ok(environment)
}

/// The template without `{% generation %}`, which marks what the model says, for training.
pub(super) fn without_generation(template: &str) -> String {
    let replace = |text: &str, tag: &str, by: &str| match Regex::new(&format!(r"(\{{%[-+]?\s*){tag}(\s*[-+]?%\}})")) {
        Ok(regex) => regex.replace_all(text, format!("${{1}}{by}${{2}}")).into_owned(),
        Err(_) => text.to_owned(),
    };
    replace(&replace(template, "generation", "if true"), "endgeneration", "endif")
}

/// `strftime_now`: the time in UTC.
pub(super) fn clock(now: Duration) -> Value {
    Value::from_function(move |format: &str| strftime(format, now.as_secs()))
}

/// Python's methods. Those that make much of little are paid for before they do.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), name, args) {
        (Some(between), "join", [items]) => join(state, between, items),
        (Some(format), "format", _) => {
            check_widths(format)?;
            unknown_method_callback(state, value, name, args)
        }
        _ => unknown_method_callback(state, value, name, args),
    }
}

fn join(state: &State<'_, '_>, between: &str, items: &Value) -> Result<Value, Error> {
    let mut joined = String::new();
    for (place, item) in items.try_iter()?.enumerate() {
        pay(state, &item, 0, 0)?;
        if place > 0 {
            pay_bytes(state, between.len())?;
            joined.push_str(between);
        }
        match item.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&item.to_string()),
        }
    }
    Ok(Value::from(joined))
}

/// Pays for a value as text before there is one, with so many spaces before each item at each depth.
fn pay(state: &State<'_, '_>, value: &Value, indent: usize, depth: usize) -> Result<(), Error> {
    pay_bytes(state, value.as_str().map_or(0, str::len) + indent * depth)?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => {}
        ValueKind::Iterable if value.len().is_some() => {}
        // Looking at its items would use them up.
        ValueKind::Iterable => {
            let detail = "a generator as text is not supported; make a list of it with the filter `list`";
            return Err(Error::new(ErrorKind::InvalidOperation, detail));
        }
        _ => return Ok(()),
    }
    if depth == DEPTH_MOST {
        let detail = format!("a value has more than {DEPTH_MOST} lists or dictionaries in each other");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    for item in value.try_iter()? {
        pay(state, &item, indent, depth + 1)?;
        if value.kind() == ValueKind::Map {
            pay(state, &value.get_item(&item)?, indent, depth + 1)?;
        }
    }
    Ok(())
}

fn pay_bytes(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(1 + bytes as u64 / 64)
}

/// Refuses a format of Python's that pads to a width of many digits, or takes the width from elsewhere.
fn check_widths(format: &str) -> Result<(), Error> {
    let refuse =
        |what: &str| Err(Error::new(ErrorKind::InvalidOperation, format!("`format` with {what} is not supported")));
    let (mut is_inside, mut digits) = (false, 0);
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '{' if is_inside => return refuse("a field in a field"),
            // An escaped brace.
            '{' if characters.next_if_eq(&'{').is_some() => {}
            '{' => (is_inside, digits) = (true, 0),
            '}' => is_inside = false,
            _ if is_inside && character.is_ascii_digit() => digits += 1,
            _ => digits = 0,
        }
        if is_inside && digits > WIDTH_DIGITS_MOST {
            return refuse(&format!("numbers of more than {WIDTH_DIGITS_MOST} digits in a field"));
        }
    }
    Ok(())
}

/// For messages that a template does not take.
fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// As in Python: texts are, `none` is not.
fn is_iterable(value: &Value) -> bool {
    match value.kind() {
        ValueKind::None => false,
        ValueKind::String | ValueKind::Undefined => true,
        _ => value.try_iter().is_ok(),
    }
}

/// As Python's `json.dumps` without escapes for HTML and other alphabets.
fn to_json(state: &State<'_, '_>, value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get("indent")?,
    };
    let is_other =
        |name: &str, usual: bool| Ok::<bool, Error>(options.get::<Option<bool>>(name)?.is_some_and(|set| set != usual));
    if is_other("ensure_ascii", false)? || is_other("sort_keys", false)? {
        let detail = "`tojson` with `ensure_ascii` or `sort_keys` is not supported";
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    options.assert_all_used()?;
    let indent = indent.filter(|indent| !indent.is_none());
    // `true` is Jinja's own, for two spaces.
    let spaces = match &indent {
        Some(indent) if indent.kind() != ValueKind::Bool => u64::try_from(indent.clone())?,
        _ => 2,
    };
    if spaces > INDENT_MOST {
        let detail = format!("`tojson` with `indent` {spaces} is not supported; it must be up to {INDENT_MOST}");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    pay(state, value, spaces as usize, 0)?;
    let json = filters::tojson(value, indent, Kwargs::from_iter(std::iter::empty::<(String, Value)>()))?;
    Ok(unescaped(json.as_str().unwrap_or_default()))
}

/// JSON whose characters that are special in HTML stand for themselves.
fn unescaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        let found = known.into_iter().find_map(|(escape, character)| Some((rest.strip_prefix(escape)?, character)));
        match found {
            Some((after, character)) => {
                out.push(character);
                rest = after;
            }
            None => {
                // The backslash, and what it escapes.
                let next = rest.chars().nth(1).map_or(1, |escaped| 1 + escaped.len_utf8());
                out.push_str(&rest[..next]);
                rest = &rest[next..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_for_html_are_taken_back_and_others_stay() {
        assert_eq!(unescaped(r#""\u003cb\u003e \u0026 \u0027 \n \" \\u003c \\""#), r#""<b> & ' \n \" \\u003c \\""#);
    }

    #[test]
    fn widths_of_formats_are_bounded() {
        for fine in ["in 20240 {}", "{:>999}", "{0} {1} {name}", "{{12345}}", "{:.2f}%"] {
            assert!(check_widths(fine).is_ok(), "{fine}");
        }
        for wide in ["{:>3000000000}", "{:01000}", "{{{:1234}}}", "{:{}}", "{:>{width}}"] {
            assert!(check_widths(wide).is_err(), "{wide}");
        }
    }

    #[test]
    fn marks_for_training_are_left_out() {
        let template = "{% generation %}a{% endgeneration %}{%- generation -%} b {%- endgeneration -%}{{ generation }}";
        let expected = "{% if true %}a{% endif %}{%- if true -%} b {%- endif -%}{{ generation }}";
        assert_eq!(without_generation(template), expected);
    }
}
