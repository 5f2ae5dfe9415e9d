//! What a caller can get wrong: shapes.

use std::fmt;

/// Slices and sizes that do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// A slice of another length than its shape says.
    Length {
        /// Which slice, and the shape that it should have.
        what: &'static str,
        /// Elements by the shape.
        expected: usize,
        /// Elements in the slice.
        got: usize,
    },
    /// Two sizes that should be one.
    Mismatch {
        /// The size that differs from `against`.
        what: &'static str,
        /// What it should equal.
        against: &'static str,
        /// The value of `against`.
        expected: usize,
        /// The value of `what`.
        got: usize,
    },
    /// A size beyond what the arithmetic or the address space carries.
    TooLarge {
        /// Which size.
        what: &'static str,
        /// The largest that works.
        max: usize,
        /// The size asked for.
        got: usize,
    },
    /// Sizes that break a rule of their own.
    Malformed {
        /// Which sizes.
        what: &'static str,
        /// What must hold, to be read after `what`.
        rule: &'static str,
    },
}

impl ShapeError {
    /// Says whether `slice` has `expected` elements.
    pub(crate) fn check_length<T>(what: &'static str, slice: &[T], expected: usize) -> Result<(), Self> {
        if slice.len() == expected { Ok(()) } else { Err(Self::Length { what, expected, got: slice.len() }) }
    }

    /// `rows · columns`, unless no slice can be as long.
    pub(crate) fn product(what: &'static str, rows: usize, columns: usize) -> Result<usize, Self> {
        const MAX: usize = isize::MAX as usize / 8;
        match rows.checked_mul(columns) {
            Some(product) if product <= MAX => Ok(product),
            product => Err(Self::TooLarge { what, max: MAX, got: product.unwrap_or(usize::MAX) }),
        }
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { what, expected, got } => {
                write!(f, "{what} has {got} elements, but its shape has {expected}")
            }
            Self::Mismatch { what, against, expected, got } => {
                write!(f, "{what} is {got}, but {against} is {expected}")
            }
            Self::TooLarge { what, max, got } => write!(f, "{what} is {got}, more than {max}"),
            Self::Malformed { what, rule } => write!(f, "{what} {rule}"),
        }
    }
}

impl std::error::Error for ShapeError {}
