//! Which way each product is made on a device: a table for its class, what a short timing found better, and a check of cooperative matrices
//! before anything relies on them.

#[cfg(not(target_arch = "wasm32"))]
mod cache;
#[cfg(not(target_arch = "wasm32"))]
mod check;
#[cfg(not(target_arch = "wasm32"))]
mod device_timer;
pub(crate) mod ladder;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
#[cfg(not(target_arch = "wasm32"))]
mod open;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod stand;
#[cfg(not(target_arch = "wasm32"))]
mod timing;

#[cfg(test)]
mod tests;

pub(crate) use ladder::{Class, Size};
#[cfg(not(target_arch = "wasm32"))]
pub use measure::{TimedProduct, time_products};

use crate::error::GpuError;
use crate::gemm::{Abilities, Choice};
use grice_model::Precision;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// More rows than this are told apart no further.
const ROWS_MAX: usize = 4096;

/// Products that want the same choice: up to `rows` rows, times weights of `[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) precision: Precision,
    /// A power of two.
    pub(crate) rows: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

/// The choices for a device.
#[derive(Debug)]
pub(crate) struct Tiles {
    class: Class,
    abilities: Abilities,
    timed: HashMap<Shape, Choice>,
    /// What the table said before: every pass asks for the same.
    guessed: Mutex<HashMap<Shape, Choice>>,
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
        Tiles { class, abilities, timed: HashMap::new(), guessed: Mutex::default() }
    }

    /// What was found out on the device: whether cooperative matrices make the right products, and what was timed.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn findings(&self) -> (bool, Vec<(Shape, Choice)>) {
        let mut timed: Vec<_> = self.timed.iter().map(|(shape, choice)| (*shape, *choice)).collect();
        timed.sort_by_key(|(shape, _)| (shape.k, shape.n, shape.rows, shape.precision));
        (self.abilities.cooperative.is_some(), timed)
    }

    /// What was found out on the same device before, without what it cannot do.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn restore(gpu: &crate::device::Gpu, cooperative: bool, timed: &[(Shape, Choice)]) -> Tiles {
        let found = gpu.abilities();
        let abilities = Abilities { cooperative: found.cooperative.filter(|_| cooperative), ..found };
        let sound = timed
            .iter()
            .filter(|(shape, choice)| choice.is_sound(&abilities) && choice.method.precision() == shape.precision);
        let timed = sound.copied().collect();
        Tiles { timed, ..Tiles::new(Class::of(gpu.adapter()), abilities) }
    }

    /// The way to make a product of `m` rows with weights of `[k, n]`.
    ///
    /// # Errors
    /// [`GpuError::Limit`] on a device whose workgroups have less than WebGPU asks of all.
    pub(crate) fn choose(&self, precision: Precision, size: Size) -> Result<Choice, GpuError> {
        let shape = Shape::of(precision, size);
        if let Some(choice) = self.timed_near(&shape) {
            return Ok(choice);
        }
        let mut guessed = self.guessed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(choice) = guessed.get(&shape) {
            return Ok(*choice);
        }
        let best = ladder::candidates(self.class, precision, shape.size(), &self.abilities).into_iter().next();
        let best = best.ok_or_else(|| GpuError::Limit {
            what: "a tile of a product".to_owned(),
            needed: 16 << 10,
            limit: u64::from(self.abilities.workgroup_bytes_max),
            name: "max_compute_workgroup_storage_size",
        })?;
        guessed.insert(shape, best);
        Ok(best)
    }

    /// What was timed for a shape, or for the next larger one of up to four times the rows, if that is made the same way.
    fn timed_near(&self, shape: &Shape) -> Option<Choice> {
        let few = |rows: usize| rows <= ladder::FEW_ROWS;
        let larger = [1, 2, 4].map(|times| Shape { rows: shape.rows * times, ..*shape });
        let near = larger.iter().filter(|larger| few(larger.rows) == few(shape.rows));
        near.filter_map(|larger| self.timed.get(larger)).next().copied()
    }
}

#[cfg(target_arch = "wasm32")]
impl Tiles {
    /// Choices by the table: a browser has neither time to spare nor cooperative matrices.
    pub(crate) fn open(gpu: &crate::device::Gpu, _weights: &[&crate::gemm::Weights]) -> Result<Tiles, GpuError> {
        Ok(Tiles::new(Class::of(gpu.adapter()), Abilities { cooperative: None, ..gpu.abilities() }))
    }
}
