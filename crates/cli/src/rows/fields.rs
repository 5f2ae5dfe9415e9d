//! A row's fields, kept as written: a number with thirty digits keeps thirty digits.

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

/// Fields in order; each name occurs once.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    list: Vec<Field>,
    had_nan: bool,
}

impl Fields {
    /// From fields with different names.
    pub(crate) fn new(fields: Vec<Field>) -> Fields {
        Fields { list: fields, had_nan: false }
    }

    /// The same, with a mark that a number was NaN or infinite.
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

    /// The fields in order.
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

    /// The last value of a repeated name counts, as in nearly every JSON reader.
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
