//! The violations that a caller names.

use grice_model::{Maxim, PerMaxim};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Which maxims a response violates, as a caller says: in JSON a list of maxims, or an object of maxims and true or false.
///
/// ```
/// use grice_core::task::NamedViolations;
///
/// let list: NamedViolations = serde_json::from_str(r#"["manner"]"#)?;
/// let object: NamedViolations = serde_json::from_str(r#"{"manner": true, "quality": false}"#)?;
/// assert_eq!(list, object);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamedViolations(pub PerMaxim<bool>);

impl<'de> Deserialize<'de> for NamedViolations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NamedViolations, D::Error> {
        deserializer.deserialize_any(NamedVisitor)
    }
}

struct NamedVisitor;

impl<'de> Visitor<'de> for NamedVisitor {
    type Value = NamedViolations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of maxims, or an object of maxims and true or false")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NamedViolations, A::Error> {
        let mut named = PerMaxim::default();
        while let Some(maxim) = list.next_element::<String>()? {
            *named.get_mut(maxim_of(&maxim)?) = true;
        }
        Ok(NamedViolations(named))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut flags: A) -> Result<NamedViolations, A::Error> {
        let mut named = PerMaxim::default();
        while let Some((maxim, flag)) = flags.next_entry::<String, bool>()? {
            *named.get_mut(maxim_of(&maxim)?) = flag;
        }
        Ok(NamedViolations(named))
    }
}

fn maxim_of<E: serde::de::Error>(name: &str) -> Result<Maxim, E> {
    let maxim = Maxim::ALL.into_iter().find(|maxim| maxim.name() == name);
    maxim.ok_or_else(|| E::custom(format!("unknown maxim `{name}`, expected quantity, quality, relation or manner")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_others_refused_by_name() {
        let read = |json: &str| serde_json::from_str::<NamedViolations>(json).map_err(|error| error.to_string());
        let manner = NamedViolations(PerMaxim { manner: true, ..PerMaxim::default() });
        assert_eq!(read("[]"), Ok(NamedViolations::default()));
        assert_eq!(read(r#"["manner", "manner"]"#), Ok(manner));
        assert_eq!(read(r#"{"manner": true, "quality": false}"#), Ok(manner));
        for (json, words) in [
            (r#""manner""#, "expected a list of maxims, or an object"),
            (r#"["humour"]"#, "unknown maxim `humour`, expected quantity"),
            ("[3]", "invalid type: integer `3`"),
            (r#"{"manner": 1}"#, "expected a boolean"),
        ] {
            let told = read(json).unwrap_err();
            assert!(told.contains(words), "{json}: {told}");
        }
    }
}
