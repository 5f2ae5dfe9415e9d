//! `config.json` and `generation_config.json`, with errors that name the field.

use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The file that says what a model is.
pub(super) const CONFIG: &str = "config.json";

/// The fields of a JSON object.
pub(super) struct Config {
    file: Cow<'static, str>,
    fields: Map<String, Value>,
    /// What fields are called in the file, where that is something else.
    names: BTreeMap<String, String>,
}

/// More of anything than a model has; keeps sums of sizes within what numbers hold.
const SIZE_MAX: u64 = 1 << 28;

impl Config {
    /// Reads the bytes of a file.
    pub(super) fn parse(file: &'static str, bytes: &[u8]) -> Result<Config, String> {
        let bytes = crate::without_bom(bytes);
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Config { file: file.into(), fields, names: BTreeMap::new() }),
            Ok(_) => Err(format!("{file}: it is no JSON object")),
            Err(error) => Err(format!("{file}: {error}")),
        }
    }

    /// The fields of another kind of file, and what they are called there.
    pub(super) fn made(file: String, fields: Map<String, Value>, names: BTreeMap<String, String>) -> Config {
        Config { file: file.into(), fields, names }
    }

    /// All fields.
    pub(super) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// An object in a field, if there is one.
    pub(super) fn object(&self, field: &str) -> Result<Option<Config>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                Ok(Some(Config { file: self.file.clone(), fields: fields.clone(), names: BTreeMap::new() }))
            }
            Some(other) => Err(self.unfit(field, "an object", other)),
        }
    }

    /// What a field holds; `null` counts as nothing.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// A size above 0.
    pub(super) fn size(&self, field: &str) -> Result<usize, String> {
        self.size_if(field)?.ok_or_else(|| self.missing(field))
    }

    /// A size above 0, if the field is there.
    pub(super) fn size_if(&self, field: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let size = value.as_u64().filter(|size| (1..=SIZE_MAX).contains(size));
        size.map(|size| Some(size as usize)).ok_or_else(|| self.unfit(field, "a whole number from 1 on", value))
    }

    /// A size from 0 on, if the field is there.
    pub(super) fn count_if(&self, field: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let count = value.as_u64().filter(|count| *count <= SIZE_MAX);
        count.map(|count| Some(count as usize)).ok_or_else(|| self.unfit(field, "a whole number from 0 on", value))
    }

    /// A finite number.
    pub(super) fn number_or(&self, field: &str, default: f32) -> Result<f32, String> {
        Ok(self.number_if(field)?.unwrap_or(default))
    }

    /// A finite number, if the field is there.
    pub(super) fn number_if(&self, field: &str) -> Result<Option<f32>, String> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| self.unfit(field, "a number", value))
    }

    /// True or false.
    pub(super) fn flag_or(&self, field: &str, default: bool) -> Result<bool, String> {
        Ok(self.flag_if(field)?.unwrap_or(default))
    }

    /// True or false, if the field is there.
    pub(super) fn flag_if(&self, field: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.unfit(field, "true or false", value))
    }

    /// A text.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, String> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.unfit(field, "a text", value))
    }

    /// Token ids: one, or a list of them.
    pub(super) fn tokens(&self, field: &str) -> Result<Vec<u32>, String> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let token = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let all = match value {
            Value::Array(values) => values.iter().map(token).collect(),
            value => token(value).map(|id| vec![id]),
        };
        all.ok_or_else(|| self.unfit(field, "token ids", value))
    }

    /// One token id.
    pub(super) fn token(&self, field: &str) -> Result<Option<u32>, String> {
        Ok(self.tokens(field)?.first().copied())
    }

    /// Refuses a field that holds something else than `allowed`: it would change the arithmetic.
    pub(super) fn only(&self, field: &str, allowed: &[Value]) -> Result<(), String> {
        match self.get(field) {
            Some(value) if !allowed.contains(value) => Err(self.wrong(field, &format!("{value} is not supported"))),
            _ => Ok(()),
        }
    }

    /// What is wrong with a field.
    pub(super) fn wrong(&self, field: &str, problem: &str) -> String {
        format!("{}: field `{}`: {problem}", self.file, self.names.get(field).map_or(field, String::as_str))
    }

    fn missing(&self, field: &str) -> String {
        format!("{}: field `{}` is missing", self.file, self.names.get(field).map_or(field, String::as_str))
    }

    fn unfit(&self, field: &str, expected: &str, found: &Value) -> String {
        self.wrong(field, &format!("expected {expected}, found {found}"))
    }
}
