//! What a query can be.

use crate::{Error, Result};

/// Checks what a query and a bound of similarity can be, for sources with vectors of `dims` numbers.
///
/// # Errors
/// [`Error::VectorLength`], [`Error::VectorNotFinite`]; [`Error::MinimumSimilarity`] if `minimum` is no finite number.
pub fn check_query(query: &[f32], dims: usize, minimum: Option<f32>) -> Result<()> {
    match minimum {
        Some(minimum) if !minimum.is_finite() => Err(Error::MinimumSimilarity(minimum)),
        _ if !query.iter().all(|x| x.is_finite()) => Err(Error::VectorNotFinite),
        _ if query.len() != dims => Err(Error::VectorLength { found: query.len(), expected: dims }),
        _ => Ok(()),
    }
}
