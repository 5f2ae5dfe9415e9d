//! 4-bit weights in groups, in the order in which their kernel reads them.

use crate::aligned::Aligned;
use crate::gemm::int4_kernel;
use crate::gemm::tile::Int4Kernel;
use crate::{Isa, ShapeError};
use std::ops::Range;

/// The largest group whose sums of products, 15 · 127 each, and whose zeros times sums are exact in f32.
const GROUP_MAX: usize = 4096;

/// The middle of 0..=15, which is the zero of weights that name none.
const MIDDLE: u8 = 8;

/// A factor for each group and column, `[groups, n]`.
#[derive(Clone, Copy, Debug)]
pub enum GroupScales<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// The bits of IEEE binary16.
    F16(&'a [u16]),
}

/// The numbers of a weight `[k, n]` in 4 bits, with a factor and a zero for each group of consecutive `k` of a column.
#[derive(Clone, Copy, Debug)]
pub struct Int4Groups<'a> {
    /// `[k, n]`, from 0 to 15, a byte each.
    pub values: &'a [u8],
    /// `[k / group, n]`, rounded up.
    pub scales: GroupScales<'a>,
    /// `[k / group, n]`, rounded up, from 0 to 15; without, all are 8.
    pub zeros: Option<&'a [u8]>,
    /// How many `k` make a group: a multiple of 8, such as 32, 64 or 128. The last one may be shorter.
    pub group: usize,
}

/// Panels of a kernel for 4-bit weights, one after another.
pub(crate) struct Int4Panels {
    pub(crate) kernel: &'static Int4Kernel,
    pub(crate) group: usize,
    pub(crate) groups: usize,
    /// Panels as [`crate::gemm::tile::Int4Tile`] says.
    pub(crate) values: Aligned<u8>,
    /// `[panels, groups, columns]`, unless all are 8.
    pub(crate) zeros: Option<Aligned<u8>>,
}

impl GroupScales<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(scales) => scales.len(),
            Self::F16(scales) => scales.len(),
        }
    }

    fn at(&self, index: usize) -> f32 {
        match self {
            Self::F32(scales) => scales[index],
            Self::F16(scales) => half::f16::from_bits(scales[index]).to_f32(),
        }
    }
}

impl Int4Groups<'_> {
    pub(crate) fn check(&self, k: usize, n: usize) -> Result<(), ShapeError> {
        if self.group == 0 || !self.group.is_multiple_of(8) {
            return Err(ShapeError::Malformed { what: "a group of 4-bit weights", rule: "must be a multiple of 8" });
        }
        if self.group > GROUP_MAX {
            return Err(ShapeError::TooLarge { what: "a group of 4-bit weights", max: GROUP_MAX, got: self.group });
        }
        let factors = ShapeError::product("a weight's groups · n", k.div_ceil(self.group), n)?;
        ShapeError::check_length(
            "a 4-bit weight of [k, n]",
            self.values,
            ShapeError::product("a weight's k · n", k, n)?,
        )?;
        if self.scales.len() != factors {
            let what = "the scales of a weight, [groups, n]";
            return Err(ShapeError::Length { what, expected: factors, got: self.scales.len() });
        }
        if let Some(zeros) = self.zeros {
            ShapeError::check_length("the zeros of a weight, [groups, n]", zeros, factors)?;
        }
        let numbers = self.values.iter().chain(self.zeros.unwrap_or(&[]));
        match numbers.max() {
            Some(&largest) if largest > 15 => {
                Err(ShapeError::TooLarge { what: "a number of a 4-bit weight", max: 15, got: usize::from(largest) })
            }
            _ => Ok(()),
        }
    }

    /// The number of a row and a column, of `n`.
    pub(crate) fn number(&self, row: usize, column: usize, n: usize) -> f32 {
        let factor = row / self.group * n + column;
        f32::from(i16::from(self.values[row * n + column]) - i16::from(self.zero(factor))) * self.scales.at(factor)
    }

    fn zero(&self, factor: usize) -> u8 {
        self.zeros.map_or(MIDDLE, |zeros| zeros[factor])
    }
}

impl Int4Panels {
    /// Packs parts of `k` rows side by side, each with its columns and in groups of `group`; `n` columns in all.
    pub(crate) fn pack(isa: Isa, k: usize, n: usize, group: usize, parts: &[(usize, Int4Groups<'_>)]) -> Self {
        let kernel = int4_kernel(isa);
        let (groups, columns) = (k.div_ceil(group), kernel.columns);
        let panels = n.div_ceil(columns);
        let mut packed = Self {
            kernel,
            group,
            groups,
            values: Aligned::zeros(panels * groups * columns * (4 + group / 2)),
            zeros: parts
                .iter()
                .any(|(_, part)| part.zeros.is_some())
                .then(|| Aligned::zeros(panels * groups * columns)),
        };
        let mut first = 0;
        for (part_n, part) in parts {
            let mut column = 0;
            while column < *part_n {
                let count = (columns - (first + column) % columns).min(part_n - column);
                packed.pack_columns(k, first + column, part, column..column + count, *part_n);
                column += count;
            }
            first += part_n;
        }
        packed
    }

    /// Puts some of a part's `n` columns where the columns from `to` on belong, all in one panel.
    fn pack_columns(&mut self, k: usize, to: usize, part: &Int4Groups<'_>, from: Range<usize>, n: usize) {
        let (columns, group) = (self.kernel.columns, self.group);
        let (panel, place) = (to / columns, to % columns);
        for index in 0..self.groups {
            let factor = index * n + from.start;
            let start = (panel * self.groups + index) * columns;
            let bytes = &mut self.values[start * (4 + group / 2)..][..columns * (4 + group / 2)];
            let (scales, bytes) = bytes.split_at_mut(4 * columns);
            for (column, scale) in scales.as_chunks_mut::<4>().0[place..][..from.len()].iter_mut().enumerate() {
                *scale = part.scales.at(factor + column).to_ne_bytes();
            }
            if let Some(zeros) = &mut self.zeros {
                for (column, zero) in zeros[start + place..][..from.len()].iter_mut().enumerate() {
                    *zero = part.zero(factor + column);
                }
            }
            for row in index * group..((index + 1) * group).min(k) {
                let (block, within) = (row % group / 8, row % 8);
                let quads = bytes[4 * (block * columns + place)..].as_chunks_mut::<4>().0;
                for (quad, value) in quads.iter_mut().zip(&part.values[row * n..][from.clone()]) {
                    quad[within % 4] |= value << (4 * (within / 4));
                }
            }
        }
    }

    /// Memory in use, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.values.len() + self.zeros.as_ref().map_or(0, |zeros| zeros.len())
    }

    /// Bytes of a panel.
    pub(crate) fn panel_bytes(&self) -> usize {
        self.groups * self.kernel.columns * (4 + self.group / 2)
    }
}
