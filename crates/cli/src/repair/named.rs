//! The violations that a row names.

use crate::rows::{Fields, RowError, value_of};
use grice_core::PerMaxim;
use grice_core::task::NamedViolations;

const FIELD: &str = "violations";

/// The violations in a row's field, if it has the field.
///
/// # Errors
/// [`RowError::Text`] for another form, and for a name that is none.
pub(super) fn read(fields: &Fields) -> Result<Option<PerMaxim<bool>>, RowError> {
    let Some(value) = value_of(fields, FIELD)? else { return Ok(None) };
    let named = serde_json::from_value::<NamedViolations>(value);
    named.map(|named| Some(named.0)).map_err(|error| RowError::Text(format!("`{FIELD}`: {error}")))
}
