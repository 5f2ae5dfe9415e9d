//! Blocks of rounded numbers. Each function takes the bytes of one block.
//!
//! Blocks of 32 begin with a factor `d` and, in the forms `_1`, a smallest number `m`: a number is `d · q` around zero or `d · q + m`.
//! Blocks of 256 have eight or sixteen groups, whose factors are whole numbers themselves.

/// The half-precision number that bytes begin with.
pub(super) fn half(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Of 16 bytes the low four bits are the first 16 numbers, and the high ones the rest.
pub(super) fn nibble(bytes: &[u8], at: usize) -> u8 {
    if at < 16 { bytes[at] & 15 } else { bytes[at - 16] >> 4 }
}

/// Five bits: four as [`nibble`], and one of the word before.
fn five(high: &[u8], low: &[u8], at: usize) -> u8 {
    nibble(low, at) | ((high[at / 8] >> (at % 8)) & 1) << 4
}

pub(super) fn q4_0(block: &[u8], out: &mut Vec<f32>) {
    let d = half(block);
    out.extend((0..32).map(|at| d * (f32::from(nibble(&block[2..], at)) - 8.0)));
}

pub(super) fn q4_1(block: &[u8], out: &mut Vec<f32>) {
    let (d, m) = (half(block), half(&block[2..]));
    out.extend((0..32).map(|at| d * f32::from(nibble(&block[4..], at)) + m));
}

pub(super) fn q5_0(block: &[u8], out: &mut Vec<f32>) {
    let d = half(block);
    out.extend((0..32).map(|at| d * (f32::from(five(&block[2..6], &block[6..], at)) - 16.0)));
}

pub(super) fn q5_1(block: &[u8], out: &mut Vec<f32>) {
    let (d, m) = (half(block), half(&block[2..]));
    out.extend((0..32).map(|at| d * f32::from(five(&block[4..8], &block[8..], at)) + m));
}

pub(super) fn q8_0(block: &[u8], out: &mut Vec<f32>) {
    let d = half(block);
    out.extend(block[2..34].iter().map(|&byte| d * f32::from(byte as i8)));
}

/// Factor and smallest number of a group of 32, of eight: six bits each, in twelve bytes.
fn six(bytes: &[u8], group: usize) -> (f32, f32) {
    let (scale, least) = match group {
        0..4 => (bytes[group] & 63, bytes[group + 4] & 63),
        _ => {
            let (both, scale, least) = (bytes[group + 4], bytes[group - 4], bytes[group]);
            (both & 15 | (scale >> 6) << 4, both >> 4 | (least >> 6) << 4)
        }
    };
    (scale.into(), least.into())
}

pub(super) fn q4_k(block: &[u8], out: &mut Vec<f32>) {
    five_k(&block[..16], None, &block[16..], out);
}

pub(super) fn q5_k(block: &[u8], out: &mut Vec<f32>) {
    five_k(&block[..16], Some(&block[16..48]), &block[48..], out);
}

/// Two groups share 32 bytes: the low four bits are the first's. A fifth bit, where there is one, is that of the group's number.
fn five_k(head: &[u8], high: Option<&[u8]>, low: &[u8], out: &mut Vec<f32>) {
    let (d, m) = (half(head), half(&head[2..]));
    for group in 0..8 {
        let (scale, least) = six(&head[4..], group);
        let (d, m) = (d * scale, m * least);
        out.extend((0..32).map(|at| {
            let fifth = high.map_or(0, |high| (high[at] >> group) & 1);
            let q = (low[group / 2 * 32 + at] >> (group % 2 * 4)) & 15 | fifth << 4;
            d * f32::from(q) - m
        }));
    }
}

/// Half a block has four groups of 32: 64 bytes of low bits, the first two groups' in their low halves; 32 bytes with two high bits of each
/// group.
pub(super) fn q6_k(block: &[u8], out: &mut Vec<f32>) {
    let d = half(&block[208..]);
    for group in 0..8 {
        let (part, place) = (group / 4, group % 4);
        let low = &block[part * 64 + place % 2 * 32..];
        let high = &block[128 + part * 32..];
        out.extend((0..32).map(|at| {
            let q = (low[at] >> (place / 2 * 4)) & 15 | ((high[at] >> (place * 2)) & 3) << 4;
            let scale = block[192 + group * 2 + at / 16] as i8;
            d * f32::from(scale) * (f32::from(q) - 32.0)
        }));
    }
}
