//! Weights in the order in which a kernel reads them.

use std::fmt;

use crate::aligned::{Aligned, Plain};
use crate::gemm;
use crate::gemm::tile::{F32Kernel, Int8Kernel};
use crate::packed_groups::{Int4Groups, Int4Panels};
use crate::{Isa, Rounding, ShapeError};

/// The largest `k` whose sums of products of 8-bit integers, 127 · 128 each, stay below 2³¹.
const INT8_K_MAX: usize = 132_000;

/// The numbers of a weight `[k, n]`, row after row, as ONNX MatMul has its second operand.
#[derive(Clone, Copy, Debug)]
pub enum WeightData<'a> {
    /// 8-bit integers with a factor for each column: `w[i][j] = values[i][j] · scales[j]`.
    Int8 {
        /// `[k, n]`.
        values: &'a [i8],
        /// `[n]`.
        scales: &'a [f32],
    },
    /// 8-bit integers around a zero of their own for each column: `w[i][j] = (values[i][j] − zeros[j]) · scales[j]`.
    Int8Shifted {
        /// `[k, n]`.
        values: &'a [i8],
        /// `[n]`.
        scales: &'a [f32],
        /// `[n]`.
        zeros: &'a [i8],
    },
    /// 4-bit integers with a factor and a zero for each group of consecutive `k` of a column.
    Int4Groups(Int4Groups<'a>),
    /// `[k, n]`.
    F32(&'a [f32]),
    /// `[k, n]`, the bits of IEEE binary16. Computed with in f32.
    F16(&'a [u16]),
}

/// A weight `[k, n]` with its bias.
#[derive(Clone, Copy, Debug)]
pub struct WeightPart<'a> {
    /// Columns.
    pub n: usize,
    /// The numbers.
    pub data: WeightData<'a>,
    /// `[n]`, or zeros.
    pub bias: Option<&'a [f32]>,
}

/// Weights side by side, ready to be multiplied with: `[k, n]` with the bias `[n]`, `n` over all parts.
pub struct PackedLinear {
    isa: Isa,
    k: usize,
    n: usize,
    /// `[n]`, padded to whole panels.
    bias: Aligned<f32>,
    pub(crate) panels: Panels,
}

/// The panels of a kernel, one after another.
pub(crate) enum Panels {
    Int8 {
        kernel: &'static Int8Kernel,
        values: Aligned<i8>,
        /// What the sum of each column starts from.
        start: Aligned<i32>,
        scales: Aligned<f32>,
        /// Minus `zeros · scales`, by which a row's sum counts; `None` where all zeros are 0.
        shifts: Option<Aligned<f32>>,
    },
    Int4(Int4Panels),
    F32 {
        kernel: &'static F32Kernel,
        values: Aligned<f32>,
    },
    F16 {
        kernel: &'static F32Kernel,
        values: Aligned<u16>,
    },
}

impl PackedLinear {
    /// Packs `parts`, all of `k` rows, side by side for the kernels of `isa`. If all are 8-bit integers, or all are 4-bit integers in groups of
    /// one size, they stay so, and `rounding` makes no difference: their sums have one order, or are exact. If all are binary16 they are kept so where the instruction set makes f32 of them
    /// as fast as it reads them. Otherwise all become f32.
    ///
    /// # Errors
    /// When a part's numbers, scales, zeros or bias are not as many as its shape says, `k` is beyond exact 32-bit sums, a group of 4-bit
    /// integers is not a multiple of 8 or beyond 4096, or such an integer is not from 0 to 15.
    pub fn pack(isa: Isa, k: usize, parts: &[WeightPart<'_>], rounding: Rounding) -> Result<Self, ShapeError> {
        let mut n = 0usize;
        for part in parts {
            part.check(k)?;
            n = n.checked_add(part.n).ok_or(ShapeError::TooLarge { what: "n", max: usize::MAX, got: usize::MAX })?;
        }
        ShapeError::product("a weight's k · n", k.saturating_add(64), n.saturating_add(64))?;
        let int8 = parts.iter().all(|part| part.data.int8().is_some());
        if int8 && k > INT8_K_MAX {
            return Err(ShapeError::TooLarge { what: "k of 8-bit weights", max: INT8_K_MAX, got: k });
        }
        let panels = match int4_groups(parts) {
            Some(groups) if !groups.is_empty() => Panels::Int4(Int4Panels::pack(isa, k, n, groups[0].1.group, &groups)),
            _ if int8 => pack_int8(isa, k, n, parts),
            _ => pack_floats(isa, rounding, k, n, parts),
        };
        let mut bias = Aligned::zeros(n.next_multiple_of(panels.columns()));
        let mut column = 0;
        for part in parts {
            if let Some(values) = part.bias {
                bias[column..][..part.n].copy_from_slice(values);
            }
            column += part.n;
        }
        Ok(Self { isa, k, n, bias, panels })
    }

    /// Rows of the weight: numbers in a row of `x`.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns over all parts: numbers in a row of the product.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        let panels = match &self.panels {
            Panels::Int8 { values, start, scales, shifts, .. } => {
                let shifts = shifts.as_ref().map_or(0, |shifts| shifts.len());
                values.len() + 4 * (start.len() + scales.len() + shifts)
            }
            Panels::Int4(panels) => panels.bytes(),
            Panels::F32 { values, .. } => 4 * values.len(),
            Panels::F16 { values, .. } => 2 * values.len(),
        };
        panels + 4 * self.bias.len()
    }

    /// Whether it multiplies 8-bit integers.
    pub fn is_int8(&self) -> bool {
        matches!(self.panels, Panels::Int8 { .. })
    }

    /// Whether it multiplies 4-bit integers.
    pub fn is_int4(&self) -> bool {
        matches!(self.panels, Panels::Int4(_))
    }

    /// The instruction set it was packed for, which is the one that multiplies with it.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether [`PackedLinear::read_column`] gives back the numbers that were packed. 4-bit weights and those around a zero of their own
    /// are not read that way.
    pub fn has_readable_columns(&self) -> bool {
        !matches!(self.panels, Panels::Int4(_) | Panels::Int8 { shifts: Some(_), .. })
    }

    /// Says whether it is a table of `rows` rows, its own columns, of `columns` numbers.
    pub(crate) fn check_columns(&self, rows: usize, columns: usize) -> Result<(), ShapeError> {
        let mismatch = |what, expected, got| Err(ShapeError::Mismatch { what, against: "the table", expected, got });
        match self {
            _ if self.n != rows => mismatch("columns of a weight", rows, self.n),
            _ if self.k != columns => mismatch("rows of a weight", columns, self.k),
            _ if self.has_readable_columns() => Ok(()),
            _ => Err(ShapeError::Malformed {
                what: "a weight read by columns",
                rule: "must have 8 bits without zeros, or more",
            }),
        }
    }

    /// Writes column `index` to `to`, as far as that is long.
    pub(crate) fn read_column(&self, index: usize, to: &mut [f32]) {
        let columns = self.panels.columns();
        let (panel, place) = (index / columns, index % columns);
        let mut read = |group: usize, k: usize, number: &dyn Fn(usize) -> f32| {
            let start = panel * k * columns + place * group;
            for (row, to) in to.iter_mut().enumerate() {
                *to = number(start + row / group * (columns * group) + row % group);
            }
        };
        match &self.panels {
            Panels::Int8 { kernel, values, scales, .. } => {
                let scale = scales[index];
                read(kernel.group, self.k.next_multiple_of(kernel.k_align), &|at| f32::from(values[at]) * scale);
            }
            Panels::F32 { values, .. } => read(1, self.k, &|at| values[at]),
            Panels::F16 { values, .. } => read(1, self.k, &|at| half::f16::from_bits(values[at]).to_f32()),
            // `check_columns` leaves none of them to a table.
            Panels::Int4(_) => {}
        }
    }

    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Panels, the last one perhaps padded with columns of zeros.
    pub(crate) fn panel_count(&self) -> usize {
        self.n.div_ceil(self.panels.columns())
    }
}

impl fmt::Debug for PackedLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.panels {
            Panels::Int8 { .. } => "int8",
            Panels::Int4(_) => "int4",
            Panels::F32 { .. } => "f32",
            Panels::F16 { .. } => "f16",
        };
        write!(f, "PackedLinear([{}, {}] in {form} for {})", self.k, self.n, self.isa.name())
    }
}

impl Panels {
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Int8 { kernel, .. } => kernel.columns,
            Self::Int4(panels) => panels.kernel.columns,
            Self::F32 { kernel, .. } | Self::F16 { kernel, .. } => kernel.columns,
        }
    }

    /// Rows of a full tile.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Int8 { kernel, .. } => kernel.rows,
            Self::Int4(panels) => panels.kernel.rows,
            Self::F32 { kernel, .. } | Self::F16 { kernel, .. } => kernel.rows,
        }
    }
}

impl<'a> WeightData<'a> {
    /// Numbers, factors and zeros of 8-bit integers.
    fn int8(&self) -> Option<(&'a [i8], &'a [f32], &'a [i8])> {
        match *self {
            WeightData::Int8 { values, scales } => Some((values, scales, &[])),
            WeightData::Int8Shifted { values, scales, zeros } => Some((values, scales, zeros)),
            WeightData::Int4Groups(_) | WeightData::F32(_) | WeightData::F16(_) => None,
        }
    }
}

impl WeightPart<'_> {
    fn check(&self, k: usize) -> Result<(), ShapeError> {
        let numbers = ShapeError::product("a weight's k · n", k, self.n)?;
        match self.data {
            WeightData::Int8 { values, scales } => {
                ShapeError::check_length("an 8-bit weight of [k, n]", values, numbers)?;
                ShapeError::check_length("the scales of a weight, [n]", scales, self.n)?;
            }
            WeightData::Int8Shifted { values, scales, zeros } => {
                ShapeError::check_length("an 8-bit weight of [k, n]", values, numbers)?;
                ShapeError::check_length("the scales of a weight, [n]", scales, self.n)?;
                ShapeError::check_length("the zeros of a weight, [n]", zeros, self.n)?;
            }
            WeightData::Int4Groups(groups) => groups.check(k, self.n)?,
            WeightData::F32(values) => ShapeError::check_length("a weight of [k, n] in f32", values, numbers)?,
            WeightData::F16(values) => ShapeError::check_length("a weight of [k, n] in f16", values, numbers)?,
        }
        self.bias.map_or(Ok(()), |bias| ShapeError::check_length("the bias of a weight, [n]", bias, self.n))
    }

    fn number(&self, row: usize, column: usize) -> f32 {
        let index = row * self.n + column;
        match self.data {
            WeightData::Int8 { values, scales } => f32::from(values[index]) * scales[column],
            WeightData::Int8Shifted { values, scales, zeros } => {
                f32::from(i16::from(values[index]) - i16::from(zeros[column])) * scales[column]
            }
            WeightData::Int4Groups(groups) => groups.number(row, column, self.n),
            WeightData::F32(values) => values[index],
            WeightData::F16(values) => half::f16::from_bits(values[index]).to_f32(),
        }
    }
}

/// The parts and their columns, if all are 4-bit integers in groups of one size.
fn int4_groups<'a>(parts: &[WeightPart<'a>]) -> Option<Vec<(usize, Int4Groups<'a>)>> {
    let mut all: Vec<(usize, Int4Groups<'_>)> = Vec::with_capacity(parts.len());
    for part in parts {
        match part.data {
            WeightData::Int4Groups(groups) if all.first().is_none_or(|(_, first)| first.group == groups.group) => {
                all.push((part.n, groups));
            }
            _ => return None,
        }
    }
    Some(all)
}

fn pack_int8(isa: Isa, k: usize, n: usize, parts: &[WeightPart<'_>]) -> Panels {
    let kernel = gemm::int8_kernel(isa);
    let order = Order { k: k.next_multiple_of(kernel.k_align), columns: kernel.columns, group: kernel.group };
    let columns = n.next_multiple_of(kernel.columns);
    let mut values = Aligned::zeros(order.k * columns);
    let mut start = Aligned::<i32>::zeros(columns);
    let mut scales = Aligned::zeros(columns);
    let mut shifts = Aligned::<f32>::zeros(columns);
    let mut first = 0;
    for part in parts {
        if let Some((numbers, factors, zeros)) = part.data.int8() {
            order.pack(&mut values, first, k, part.n, |row, column| numbers[row * part.n + column]);
            for row in numbers.chunks_exact(part.n.max(1)) {
                for (start, &number) in start[first..].iter_mut().zip(row) {
                    *start -= kernel.offset * i32::from(number);
                }
            }
            scales[first..][..part.n].copy_from_slice(factors);
            for (shift, (&zero, &factor)) in shifts[first..].iter_mut().zip(zeros.iter().zip(factors)) {
                *shift = -(f32::from(zero) * factor);
            }
        }
        first += part.n;
    }
    let shifts = shifts.iter().any(|&shift| shift != 0.0).then_some(shifts);
    Panels::Int8 { kernel, values, start, scales, shifts }
}

fn pack_floats(isa: Isa, rounding: Rounding, k: usize, n: usize, parts: &[WeightPart<'_>]) -> Panels {
    let halves = parts.iter().map(|part| match part.data {
        WeightData::F16(values) => Some((part.n, values)),
        _ => None,
    });
    if let (Some(kernel), Some(halves)) = (gemm::f16_kernel(isa, rounding), halves.collect::<Option<Vec<_>>>()) {
        let order = Order { k, columns: kernel.columns, group: 1 };
        let mut values = Aligned::zeros(k * n.next_multiple_of(kernel.columns));
        let mut first = 0;
        for (n, numbers) in halves {
            order.pack(&mut values, first, k, n, |row, column| numbers[row * n + column]);
            first += n;
        }
        return Panels::F16 { kernel, values };
    }
    let kernel = gemm::f32_kernel(isa, rounding);
    let order = Order { k, columns: kernel.columns, group: 1 };
    let mut values = Aligned::zeros(k * n.next_multiple_of(kernel.columns));
    let mut first = 0;
    for part in parts {
        order.pack(&mut values, first, k, part.n, |row, column| part.number(row, column));
        first += part.n;
    }
    Panels::F32 { kernel, values }
}

/// `[panel][k / group][column][group]`.
struct Order {
    k: usize,
    columns: usize,
    group: usize,
}

impl Order {
    /// Puts a part's numbers where they belong, its first column at `first`; a panel at a time, which stays in the cache meanwhile.
    fn pack<T: Plain>(&self, out: &mut [T], first: usize, k: usize, n: usize, number: impl Fn(usize, usize) -> T) {
        let mut column = 0;
        while column < n {
            let (panel, place) = ((first + column) / self.columns, (first + column) % self.columns);
            let count = (self.columns - place).min(n - column);
            let panel = &mut out[panel * self.k * self.columns..][..self.k * self.columns];
            for (index, group) in panel.chunks_exact_mut(self.columns * self.group).enumerate() {
                for row in index * self.group..((index + 1) * self.group).min(k) {
                    let places = group[place * self.group + row % self.group..].iter_mut().step_by(self.group);
                    for (offset, out) in places.take(count).enumerate() {
                        *out = number(row, column + offset);
                    }
                }
            }
            column += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(k: usize, part: WeightPart<'_>, words: &str) {
        match PackedLinear::pack(Isa::scalar(), k, &[part], Rounding::Fused) {
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
            Ok(packed) => panic!("{packed:?} where {words:?} was due"),
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let f32 = WeightData::F32(&[0.0; 6]);
        check(
            2,
            WeightPart { n: 4, data: f32, bias: None },
            "a weight of [k, n] in f32 has 6 elements, but its shape has 8",
        );
        check(2, WeightPart { n: 3, data: f32, bias: Some(&[0.0; 2]) }, "bias");
        check(2, WeightPart { n: 3, data: WeightData::F16(&[0; 5]), bias: None }, "f16");
        let int8 = |scales| WeightData::Int8 { values: &[0; 6], scales };
        check(2, WeightPart { n: 3, data: int8(&[1.0; 2]), bias: None }, "scales");
        check(3, WeightPart { n: 3, data: int8(&[1.0; 3]), bias: None }, "8-bit weight");
        check(usize::MAX, WeightPart { n: 3, data: f32, bias: None }, "k · n");
        check(
            200_000,
            WeightPart { n: 0, data: WeightData::Int8 { values: &[], scales: &[] }, bias: None },
            "k of 8-bit",
        );
    }

    #[test]
    fn mixed_parts_become_f32() {
        let int8 = WeightPart { n: 1, data: WeightData::Int8 { values: &[1, 2], scales: &[0.5] }, bias: None };
        let f32 = WeightPart { n: 1, data: WeightData::F32(&[1.0, 2.0]), bias: None };
        for isa in Isa::available() {
            let packed = |parts: &[_]| PackedLinear::pack(isa, 2, parts, Rounding::Fused).unwrap();
            assert!(packed(&[int8, int8]).is_int8());
            assert!(!packed(&[int8, f32]).is_int8());
            assert_eq!((packed(&[int8, f32]).k(), packed(&[int8, f32]).n()), (2, 2));
        }
    }
}
