//! Weights in blocks of 2, 4 or 8 bits, written out in single precision.

use super::attention::raw_bytes;
use super::products::write_product;
use super::source::{Expanded, Source, input, integer, refuse_inputs, required};
use super::writer::Writer;
use crate::fuse::constants::{FLOAT, FLOAT16, UINT8, count};
use crate::proto::float_tensor;
use half::f16;
use tract_onnx::pb::{NodeProto, TensorProto};

/// More elements than any matrix of an encoder has.
const ELEMENTS_MAX: usize = 1 << 31;
const UINT4: i32 = 21;
const INT4: i32 = 22;

/// `A · Bᵀ + bias`, where B is stored as `[N, blocks of K, bytes]` with a scale and a zero point a block.
pub(super) fn mat_mul_n_bits(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    refuse_inputs(node, &[(4, "a group index")])?;
    let [k, n] = sizes(node)?;
    let bits = integer(node, "bits").unwrap_or(4);
    let blocks = Blocks::new(k, bits, integer(node, "block_size").unwrap_or(0))?;
    let packed = source.weights(node, 1, "weights")?;
    let scales = source.weights(node, 2, "scales")?;
    let zeros = input(node, 3).map(|_| source.weights(node, 3, "zero points")).transpose()?;
    let rows = blocks.unpack(n, packed, scales, zeros, false)?;
    write_transposed(to, node, &rows, [k, n], scales.data_type, input(node, 5))
}

/// `A · Bᵀ`, where B is stored as 4-bit places in one of bitsandbytes' two tables, with the largest of each block.
pub(super) fn mat_mul_bnb4(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let [k, n] = sizes(node)?;
    let block = usize::try_from(integer(node, "block_size").unwrap_or(0)).ok().filter(|size| *size >= 16);
    let block = block.ok_or("has a `block_size` below 16")?;
    let table = match integer(node, "quant_type") {
        Some(0) => &FP4,
        Some(1) => &NF4,
        other => return Err(format!("has `quant_type` {other:?}; 0 (FP4) and 1 (NF4) are known")),
    };
    let packed = source.weights(node, 1, "weights")?;
    let largest = source.weights(node, 2, "largest values")?;
    let (bytes, scales) = (raw_bytes(packed).unwrap_or_default(), floats(largest).unwrap_or_default());
    let total = k * n;
    if bytes.len() != total.div_ceil(2) || scales.len() != total.div_ceil(block) {
        return Err(format!("has weights or scales that do not fit {n} rows of {k}"));
    }
    let place = |index: usize| if index.is_multiple_of(2) { bytes[index / 2] >> 4 } else { bytes[index / 2] & 15 };
    let rows: Vec<f32> = (0..total).map(|index| table[usize::from(place(index))] * scales[index / block]).collect();
    write_transposed(to, node, &rows, [k, n], largest.data_type, None)
}

/// Rows of a table that is stored in blocks along its last axis.
pub(super) fn gather_block_quantized(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let data = source.weights(node, 0, "data")?;
    let scales = source.weights(node, 2, "scales")?;
    let zeros = input(node, 3).map(|_| source.weights(node, 3, "zero points")).transpose()?;
    let &[rows, width] = data.dims.as_slice() else { return Err("has data that are no matrix".to_owned()) };
    let last = integer(node, "quantize_axis").unwrap_or(1);
    if integer(node, "gather_axis").unwrap_or(0) != 0 || ![1, -1].contains(&last) {
        return Err("gathers or quantizes along another axis than rows and columns".to_owned());
    }
    let bits = if data.data_type == UINT8 { integer(node, "bits").unwrap_or(4) } else { 4 };
    let (rows, width) = (usize::try_from(rows).unwrap_or(0), usize::try_from(width).unwrap_or(0));
    let k = if data.data_type == UINT8 { width * (8 / bits.max(1) as usize) } else { width };
    if rows.checked_mul(k).is_none_or(|total| total == 0 || total > ELEMENTS_MAX) {
        return Err(format!("has a table of {rows} by {k}"));
    }
    let blocks = Blocks::new(k, bits, integer(node, "block_size").unwrap_or(128))?;
    let values = blocks.unpack(rows, data, scales, zeros, data.data_type == INT4)?;
    let table = float_constant(&values, [rows, k], scales.data_type);
    let table = to.constant(table);
    to.op_to("Gather", &[&table, required(node, 1, "indices")?], &node.output[0]);
    Ok(())
}

fn sizes(node: &NodeProto) -> Expanded<[usize; 2]> {
    let size = |name: &str| integer(node, name).and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    let (k, n) = (size("K"), size("N"));
    let fits = k.checked_mul(n).is_some_and(|total| total > 0 && total <= ELEMENTS_MAX);
    fits.then_some([k, n]).ok_or_else(|| format!("has `K` {k} and `N` {n}, which is no matrix"))
}

/// `x · rowsᵀ + bias`.
fn write_transposed(
    to: &mut Writer,
    node: &NodeProto,
    rows: &[f32],
    [k, n]: [usize; 2],
    float: i32,
    bias: Option<&str>,
) -> Expanded<()> {
    let mut columns = vec![0.0; rows.len()];
    for (number, row) in rows.chunks_exact(k).enumerate() {
        for (place, value) in row.iter().enumerate() {
            columns[place * n + number] = *value;
        }
    }
    let weights = to.constant(float_constant(&columns, [k, n], float));
    write_product(to, required(node, 0, "A")?, &weights, bias, &node.output[0]);
    Ok(())
}

/// In the element type of the node's own scales, which is that of what it multiplies.
fn float_constant(values: &[f32], [rows, columns]: [usize; 2], float: i32) -> TensorProto {
    let mut tensor = float_tensor("", &[rows as i64, columns as i64], values);
    if float == FLOAT16 {
        tensor.data_type = FLOAT16;
        tensor.raw_data = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
    }
    tensor
}

/// How a row of `k` numbers is parted into blocks.
struct Blocks {
    k: usize,
    bits: usize,
    size: usize,
}

impl Blocks {
    fn new(k: usize, bits: i64, size: i64) -> Expanded<Blocks> {
        if ![2, 4, 8].contains(&bits) {
            return Err(format!("stores {bits} bits a weight; 2, 4 and 8 are supported"));
        }
        let size = usize::try_from(size).ok().filter(|size| *size >= 16 && size.is_power_of_two());
        let size = size.ok_or("has a `block_size` that is no power of two from 16 on")?;
        Ok(Blocks { k, bits: bits as usize, size })
    }

    /// `rows` times `k` numbers: `(q − zero) · scale`. `signed`: places count from −8 and the zero is 0.
    fn unpack(
        &self,
        rows: usize,
        packed: &TensorProto,
        scales: &TensorProto,
        zeros: Option<&TensorProto>,
        signed: bool,
    ) -> Expanded<Vec<f32>> {
        let Blocks { k, bits, size } = *self;
        let blocks = k.div_ceil(size);
        let bytes = raw_bytes(packed).or_else(|| packed_in_words(packed)).unwrap_or_default();
        let row_bytes = if count(packed).is_some_and(|count| count == rows * k) && bits < 8 {
            (k * bits).div_ceil(8)
        } else {
            bytes.len() / rows
        };
        let scales = floats(scales).unwrap_or_default();
        let zeros = zeros.map(|zeros| self.zero_points(rows, blocks, zeros, signed)).transpose()?;
        let fits = bytes.len() == rows * row_bytes && row_bytes * 8 >= k * bits && scales.len() == rows * blocks;
        if !fits {
            return Err(format!("has weights or scales that do not fit {rows} rows of {k} in blocks of {size}"));
        }
        let middle = if signed { 0.0 } else { (1u32 << (bits - 1)) as f32 };
        let mut values = Vec::with_capacity(rows * k);
        for row in 0..rows {
            let bytes = &bytes[row * row_bytes..][..row_bytes];
            for place in 0..k {
                let block = row * blocks + place / size;
                let q = level(bytes, place, bits, signed);
                let zero = zeros.as_ref().map_or(middle, |zeros| zeros[block]);
                values.push((q - zero) * scales[block]);
            }
        }
        Ok(values)
    }

    /// One for each block: packed like the weights, each row from a byte of its own, or as floats.
    fn zero_points(&self, rows: usize, blocks: usize, zeros: &TensorProto, signed: bool) -> Expanded<Vec<f32>> {
        let unfit = || format!("has zero points `{}` that do not fit {rows} rows of {blocks} blocks", zeros.name);
        if let Some(values) = floats(zeros) {
            return if values.len() == rows * blocks { Ok(values) } else { Err(unfit()) };
        }
        if ![UINT8, UINT4, INT4].contains(&zeros.data_type) {
            return Err(unfit());
        }
        let bytes = raw_bytes(zeros).or_else(|| packed_in_words(zeros)).ok_or_else(unfit)?;
        // 4-bit tensors run on over the ends of rows; in bytes, each row starts at a new byte.
        if zeros.data_type != UINT8 {
            let is_whole = bytes.len() * 8 >= rows * blocks * self.bits;
            let all = (0..rows * blocks).map(|place| level(&bytes, place, self.bits, signed));
            return if is_whole { Ok(all.collect()) } else { Err(unfit()) };
        }
        let row_bytes = (blocks * self.bits).div_ceil(8);
        if bytes.len() != rows * row_bytes {
            return Err(unfit());
        }
        let row = |row: usize| &bytes[row * row_bytes..][..row_bytes];
        let all =
            (0..rows).flat_map(|number| (0..blocks).map(move |block| level(row(number), block, self.bits, signed)));
        Ok(all.collect())
    }
}

/// The number at a place of packed bytes, the lowest bits first.
fn level(bytes: &[u8], place: usize, bits: usize, signed: bool) -> f32 {
    let bit = place * bits;
    let mask = ((1u16 << bits) - 1) as u8;
    let value = (bytes[bit / 8] >> (bit % 8)) & mask;
    match signed {
        true => f32::from(((value << (8 - bits)) as i8) >> (8 - bits)),
        false => f32::from(value),
    }
}

/// 4-bit elements that are kept two in each 32-bit word of `int32_data`.
fn packed_in_words(tensor: &TensorProto) -> Option<Vec<u8>> {
    let is_packed = [UINT4, INT4].contains(&tensor.data_type) && !tensor.int32_data.is_empty();
    is_packed.then(|| tensor.int32_data.iter().map(|&word| word as u8).collect())
}

fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_location.unwrap_or(0) != 0 {
        return None;
    }
    let bytes = raw_bytes(tensor)?;
    let values: Vec<f32> = match tensor.data_type {
        FLOAT => bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect(),
        FLOAT16 => bytes.as_chunks::<2>().0.iter().map(|&half| f16::from_le_bytes(half).to_f32()).collect(),
        _ => return None,
    };
    (Some(values.len()) == count(tensor)).then_some(values)
}

/// bitsandbytes' 4-bit floats.
const FP4: [f32; 16] = [
    0.0,
    0.005_208_333,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    -0.0,
    -0.005_208_333,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];

/// Quantiles of the normal distribution (Dettmers et al., "QLoRA", 2023).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
