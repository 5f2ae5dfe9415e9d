//! A row's fields, kept as they are written: a number with thirty digits comes out with thirty digits.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Its value, as JSON text.
    pub(crate) json: Box<RawValue>,
}

/// Fields in their order, each name once.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    list: Vec<Field>,
    had_nan: bool,
}

impl Fields {
    /// From fields of which no two have the same name.
    pub(crate) fn new(fields: Vec<Field>) -> Fields {
        Fields { list: fields, had_nan: false }
    }

    /// The same, told that a number among them was none that JSON has.
    pub(crate) fn with_nan(self) -> Fields {
        Fields { had_nan: true, ..self }
    }

    /// Whether NaN or Infinity was read as null.
    pub(crate) fn had_nan(&self) -> bool {
        self.had_nan
    }

    /// The JSON text of a field, unless it is missing or null.
    pub(crate) fn json(&self, name: &str) -> Option<&str> {
        let field = self.list.iter().find(|field| field.name == name)?;
        Some(field.json.get()).filter(|json| *json != "null")
    }

    /// In their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.list.iter()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Of a name that is there twice the last value counts, as nearly every JSON reader has it.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields: Vec<Field> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((name, json)) = map.next_entry::<String, Box<RawValue>>()? {
            match places.get(&name).and_then(|&place| fields.get_mut(place)) {
                Some(field) => field.json = json,
                None => {
                    places.insert(name.clone(), fields.len());
                    fields.push(Field { name, json });
                }
            }
        }
        Ok(Fields::new(fields))
    }
}
