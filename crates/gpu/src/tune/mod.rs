//! Which way each product is made on a device: a table for its class, what a short timing found better, and a check of cooperative matrices
//! before anything relies on them.

mod cache;
pub(crate) mod ladder;
#[cfg(not(target_arch = "wasm32"))]
mod check;
#[cfg(not(target_arch = "wasm32"))]
mod device_timer;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod stand;
mod timing;

#[cfg(test)]
mod tests;

pub(crate) use ladder::{Class, Size};

use crate::error::GpuError;
use crate::gemm::{Abilities, Choice};
use grice_model::Precision;
use std::collections::HashMap;
use std::fmt;

/// More rows than this are told apart no further.
const ROWS_MAX: usize = 4096;

/// Products that want the same choice: up to `rows` rows, times weights of `[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) precision: Precision,
    /// A power of two.
    pub(crate) rows: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

/// The choices for a device.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    class: Class,
    abilities: Abilities,
    timed: HashMap<Shape, Choice>,
}

impl Shape {
    /// The shape of a product of `m` rows.
    pub(crate) fn of(precision: Precision, size: Size) -> Shape {
        Shape { precision, rows: size.m.clamp(1, ROWS_MAX).next_power_of_two(), k: size.k, n: size.n }
    }

    fn size(&self) -> Size {
        Size { m: self.rows, k: self.k, n: self.n }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {}] x [{}, {}]", self.precision, self.rows, self.k, self.k, self.n)
    }
}

impl Tiles {
    /// Choices by the table only. `abilities` without cooperative matrices that nobody checked.
    pub(crate) fn new(class: Class, abilities: Abilities) -> Tiles {
        Tiles { class, abilities, timed: HashMap::new() }
    }

    pub(crate) fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// The way to make a product of `m` rows with weights of `[k, n]`.
    ///
    /// # Errors
    /// [`GpuError::Limit`] on a device whose workgroups have less than WebGPU asks of all.
    pub(crate) fn choose(&self, precision: Precision, size: Size) -> Result<Choice, GpuError> {
        let shape = Shape::of(precision, size);
        let guess = || ladder::candidates(self.class, precision, shape.size(), &self.abilities).into_iter().next();
        self.timed.get(&shape).copied().or_else(guess).ok_or_else(|| GpuError::Limit {
            what: "a tile of a product".to_owned(),
            needed: 16 << 10,
            limit: u64::from(self.abilities.workgroup_bytes_max),
            name: "max_compute_workgroup_storage_size",
        })
    }
}
