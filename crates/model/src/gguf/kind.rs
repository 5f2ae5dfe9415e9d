//! The types of tensors: how many numbers share a block of bytes.

use super::blocks;

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "as llama.cpp calls them")]
pub(crate) enum Kind {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// What llama.cpp calls types that are not read, by their numbers.
const OTHERS: [(u32, &str); 20] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl Kind {
    /// The type of a number in a header; else what is wrong with it.
    pub(crate) fn of(id: u32) -> Result<Kind, String> {
        Ok(match id {
            0 => Kind::F32,
            1 => Kind::F16,
            2 => Kind::Q4_0,
            3 => Kind::Q4_1,
            6 => Kind::Q5_0,
            7 => Kind::Q5_1,
            8 => Kind::Q8_0,
            12 => Kind::Q4_K,
            13 => Kind::Q5_K,
            14 => Kind::Q6_K,
            30 => Kind::BF16,
            _ => {
                let known = OTHERS.iter().find(|(other, _)| *other == id);
                let name = known.map_or_else(|| format!("{id}"), |(id, name)| format!("{name} ({id})"));
                return Err(format!(
                    "has the type {name}, which is not supported; supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K"
                ));
            }
        })
    }

    /// How many numbers a block has.
    pub(crate) fn block(self) -> usize {
        match self {
            Kind::F32 | Kind::F16 | Kind::BF16 => 1,
            Kind::Q4_0 | Kind::Q4_1 | Kind::Q5_0 | Kind::Q5_1 | Kind::Q8_0 => 32,
            Kind::Q4_K | Kind::Q5_K | Kind::Q6_K => 256,
        }
    }

    /// How many bytes a block has.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::F16 | Kind::BF16 => 2,
            Kind::Q4_0 => 18,
            Kind::Q4_1 => 20,
            Kind::Q5_0 => 22,
            Kind::Q5_1 => 24,
            Kind::Q8_0 => 34,
            Kind::Q4_K => 144,
            Kind::Q5_K => 176,
            Kind::Q6_K => 210,
        }
    }

    /// Whether numbers are rounded to fewer than 16 bits.
    pub(crate) fn is_rounded(self) -> bool {
        self.block() > 1
    }

    /// Adds the numbers of whole blocks to `out`, in single precision as llama.cpp computes them.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        let block: fn(&[u8], &mut Vec<f32>) = match self {
            Kind::F32 => |bytes, out| out.push(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            Kind::F16 => |bytes, out| out.push(blocks::half(bytes)),
            Kind::BF16 => |bytes, out| out.push(half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()),
            Kind::Q4_0 => blocks::q4_0,
            Kind::Q4_1 => blocks::q4_1,
            Kind::Q5_0 => blocks::q5_0,
            Kind::Q5_1 => blocks::q5_1,
            Kind::Q8_0 => blocks::q8_0,
            Kind::Q4_K => blocks::q4_k,
            Kind::Q5_K => blocks::q5_k,
            Kind::Q6_K => blocks::q6_k,
        };
        bytes.chunks_exact(self.bytes()).for_each(|bytes| block(bytes, out));
    }

    /// The factor of a Q4_0 block and its numbers from −8 to 7.
    pub(crate) fn nibbles(block: &[u8]) -> (f32, [i8; 32]) {
        let values = std::array::from_fn(|at| blocks::nibble(&block[2..18], at) as i8 - 8);
        (blocks::half(block), values)
    }
}
