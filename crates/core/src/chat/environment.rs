//! What chat templates may call: the functions and filters that Hugging Face's library gives them.

use super::clock::strftime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;
use regex::Regex;
use std::time::Duration;

/// Bounds the time and the memory (64 bytes each) of a template, which comes from a file.
const FUEL: u64 = 2_000_000;

/// The environment of templates.
///
/// # Errors
/// None with the usual delimiters.
pub(super) fn new() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
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
fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
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
    fn marks_for_training_are_left_out() {
        let template = "{% generation %}a{% endgeneration %}{%- generation -%} b {%- endgeneration -%}{{ generation }}";
        let expected = "{% if true %}a{% endif %}{%- if true -%} b {%- endif -%}{{ generation }}";
        assert_eq!(without_generation(template), expected);
    }
}
