//! Fields of an architecture, with errors that name them.

use super::files::Files;
use crate::gguf::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// More of anything than a model has; keeps sums of sizes within what numbers hold.
const SIZE_MAX: i128 = 1 << 28;

/// The fields whose names begin with the architecture's.
pub(super) struct Fields<'f> {
    files: &'f Files<'f>,
    architecture: &'f str,
    /// Those that were read.
    used: RefCell<BTreeSet<String>>,
}

impl<'f> Fields<'f> {
    pub(super) fn new(files: &'f Files<'f>, architecture: &'f str) -> Fields<'f> {
        Fields { files, architecture, used: RefCell::default() }
    }

    /// The whole name of a field.
    pub(super) fn name(&self, field: &str) -> String {
        format!("{}.{field}", self.architecture)
    }

    fn get(&self, field: &str) -> Option<&'f Value> {
        let name = self.name(field);
        let value = self.files.fields().get(&name);
        self.used.borrow_mut().insert(name);
        value
    }

    /// What is wrong with a field.
    pub(super) fn wrong(&self, field: &str, problem: &str) -> String {
        format!("{}: field `{}`: {problem}", self.files.name(), self.name(field))
    }

    /// A size above 0.
    pub(super) fn size(&self, field: &str) -> Result<usize, String> {
        let missing = || format!("{}: field `{}` is missing", self.files.name(), self.name(field));
        self.size_if(field)?.ok_or_else(missing)
    }

    /// A size above 0, if the field is there. A list of equal ones, one for each layer, is one size.
    pub(super) fn size_if(&self, field: &str) -> Result<Option<usize>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Whole(size)) if (1..=SIZE_MAX).contains(size) => Ok(Some(*size as usize)),
            Some(Value::List(list)) => match list.common() {
                Some(Value::Whole(size)) if (1..=SIZE_MAX).contains(&size) => Ok(Some(size as usize)),
                _ => Err(self.wrong(field, "layers of different sizes are not supported")),
            },
            Some(other) => Err(self.wrong(field, &format!("expected a whole number from 1 on, found {other:?}"))),
        }
    }

    /// A finite number, if the field is there.
    pub(super) fn number_if(&self, field: &str) -> Result<Option<f32>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Number(number)) if (*number as f32).is_finite() => Ok(Some(*number as f32)),
            Some(Value::Whole(whole)) => Ok(Some(*whole as f32)),
            Some(other) => Err(self.wrong(field, &format!("expected a number, found {other:?}"))),
        }
    }

    /// A text, if the field is there.
    pub(super) fn text_if(&self, field: &str) -> Result<Option<&'f str>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, &format!("expected a text, found {other:?}"))),
        }
    }

    /// Refuses a field with another value: it would change the arithmetic.
    pub(super) fn only(&self, field: &str, allowed: &[Value]) -> Result<(), String> {
        match self.get(field) {
            Some(value) if !allowed.contains(value) => Err(self.wrong(field, &format!("{value:?} is not supported"))),
            _ => Ok(()),
        }
    }

    /// Refuses fields of the architecture that were not read and are none of these, which change no arithmetic.
    pub(super) fn refuse_others(&self, harmless: &[&str]) -> Result<(), String> {
        harmless.iter().for_each(|field| _ = self.used.borrow_mut().insert(self.name(field)));
        let used = self.used.borrow();
        let prefix = self.name("");
        let others = self.files.fields().keys().find(|name| name.starts_with(&prefix) && !used.contains(*name));
        match others.and_then(|name| name.strip_prefix(&prefix)) {
            Some(field) => Err(self.wrong(field, "it may change the arithmetic, and this grice does not know it")),
            None => Ok(()),
        }
    }
}
