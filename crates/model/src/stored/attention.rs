//! Attention in a description.

use super::container::{Tensor, Writer};
use super::weights::{KeptLinear, Read, Reading};
use crate::program::{Attention, REACH_MAX, Relative, ScorePositions, Scores, Sees, numbers_of};
use crate::weights::Linear;
use grice_kernels::{Rotary, RotaryScaling, ScoreBias};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// More angles than any table of rotary positions has: a file must not fill the memory.
const ANGLES_MAX: usize = 1 << 26;

#[derive(Serialize, Deserialize)]
pub(super) struct KeptAttention {
    query: KeptLinear,
    key: KeptLinear,
    value: KeptLinear,
    output: KeptLinear,
    heads: usize,
    head_dim: usize,
    /// Bits of the factor.
    scale: u32,
    relative: Option<KeptRelative>,
    /// As many as `heads` where there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_heads: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotary: Option<KeptRotary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bias: Option<KeptBias>,
}

/// As [`ScoreBias`].
#[derive(Serialize, Deserialize)]
struct KeptBias {
    /// `[heads, 2 · reach + 1]`.
    values: Tensor,
    reach: usize,
}

/// As [`Rotary`].
#[derive(Serialize, Deserialize)]
struct KeptRotary {
    /// Its bits.
    base: u32,
    columns: usize,
    positions: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scaling: Option<KeptScaling>,
}

/// As [`RotaryScaling`], in bits.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptScaling {
    Linear(u32),
    Llama3([u32; 4]),
}

#[derive(Serialize, Deserialize)]
struct KeptRelative {
    keys: Option<Tensor>,
    queries: Option<Tensor>,
    span: usize,
    buckets: usize,
    max_position: usize,
}

impl KeptAttention {
    pub(super) fn of<'p>(attention: &'p Attention, name: &str, writer: &mut Writer<'p>) -> Read<KeptAttention> {
        let Attention { query, key, value, output, scores } = attention;
        let Scores { heads, key_heads, head_dim, scale, sees, .. } = *scores;
        let window = match sees {
            Sees::All => None,
            Sees::Window(window) => Some(window),
            Sees::Earlier(_) | Sees::Source => {
                return Err(format!("the attention of `{name}` is that of a model that writes text"));
            }
        };
        let mut linear = |linear: &'p Linear, part: &str| KeptLinear::of(linear, &format!("{name}.{part}"), writer);
        Ok(KeptAttention {
            query: linear(query, "query"),
            key: linear(key, "key"),
            value: linear(value, "value"),
            output: linear(output, "output"),
            heads,
            head_dim,
            scale: scale.to_bits(),
            relative: scores.relative().map(|relative| KeptRelative::of(relative, name, writer)),
            key_heads: (key_heads != heads).then_some(key_heads),
            window,
            rotary: scores.rotary().map(KeptRotary::of),
            bias: scores.bias().map(|bias| KeptBias::of(bias, name, writer)),
        })
    }

    pub(super) fn read(self, reading: &Reading<'_>) -> Read<Attention> {
        let KeptAttention { heads, head_dim, scale, relative, key_heads, window, rotary, bias, .. } = self;
        let positions = match (relative, rotary, bias) {
            (None, None, None) => ScorePositions::None,
            (Some(relative), None, None) => ScorePositions::Disentangled(relative.read(reading, heads, head_dim)?),
            (None, Some(rotary), None) => ScorePositions::Rotary(rotary.read(head_dim)?),
            (None, None, Some(bias)) => ScorePositions::Bias(bias.read(reading, heads)?),
            _ => return Err("it is damaged: its attention has positions of two kinds".to_owned()),
        };
        Ok(Attention {
            query: self.query.read(reading)?,
            key: self.key.read(reading)?,
            value: self.value.read(reading)?,
            output: self.output.read(reading)?,
            scores: Scores {
                heads,
                key_heads: key_heads.unwrap_or(heads),
                head_dim,
                scale: f32::from_bits(scale),
                sees: window.map_or(Sees::All, Sees::Window),
                positions,
            },
        })
    }
}

impl KeptRotary {
    fn of(rotary: &Rotary) -> KeptRotary {
        let Rotary { base, columns, positions, scaling } = *rotary;
        let scaling = match scaling {
            RotaryScaling::None => None,
            RotaryScaling::Linear { factor } => Some(KeptScaling::Linear(factor.to_bits())),
            RotaryScaling::Llama3 { factor, low, high, positions } => {
                Some(KeptScaling::Llama3([factor, low, high, positions].map(f32::to_bits)))
            }
        };
        KeptRotary { base: base.to_bits(), columns, positions, scaling }
    }

    fn read(self, head_dim: usize) -> Read<Rotary> {
        let KeptRotary { base, columns, positions, scaling } = self;
        let (scaling, numbers) = match scaling {
            None => (RotaryScaling::None, vec![base]),
            Some(KeptScaling::Linear(factor)) => {
                (RotaryScaling::Linear { factor: f32::from_bits(factor) }, vec![base, factor])
            }
            Some(KeptScaling::Llama3(bits)) => {
                let [factor, low, high, positions] = bits.map(f32::from_bits);
                (RotaryScaling::Llama3 { factor, low, high, positions }, [&[base], &bits[..]].concat())
            }
        };
        let is_sound = |bits: u32| f32::from_bits(bits).is_finite() && f32::from_bits(bits) > 0.0;
        let turns = columns > 0 && columns.is_multiple_of(2) && columns <= head_dim;
        let angles = positions.checked_mul(columns).unwrap_or(usize::MAX);
        if turns && numbers.into_iter().all(is_sound) && (1..=ANGLES_MAX).contains(&angles) {
            return Ok(Rotary { base: f32::from_bits(base), columns, positions, scaling });
        }
        Err(format!("it is damaged: {positions} rotary positions of {columns} columns do not fit heads of {head_dim}"))
    }
}

impl KeptBias {
    fn of(bias: &ScoreBias, name: &str, writer: &mut Writer<'_>) -> KeptBias {
        let (reach, numbers) = numbers_of(bias);
        KeptBias { values: writer.push_made(&format!("{name}.bias"), &[bias.heads(), 2 * reach + 1], &numbers), reach }
    }

    fn read(self, reading: &Reading<'_>, heads: usize) -> Read<ScoreBias> {
        let KeptBias { values, reach } = self;
        let unfit = || "it is damaged: the bias of its scores does not fit its heads".to_owned();
        if reach > REACH_MAX as usize {
            return Err(unfit());
        }
        let values: Vec<f32> = reading.reader.read(&values, &[heads, 2 * reach + 1])?;
        ScoreBias::new(heads, reach, &values).map_err(|_| unfit())
    }
}

impl KeptRelative {
    fn of<'p>(relative: &'p Relative, name: &str, writer: &mut Writer<'p>) -> KeptRelative {
        let mut table = |table: &'p Option<Arc<Vec<f32>>>, part: &str| {
            let table = table.as_deref()?;
            Some(writer.push(&format!("{name}.{part}"), &[table.len()], table))
        };
        let (keys, queries) = (table(&relative.keys, "relative_keys"), table(&relative.queries, "relative_queries"));
        let Relative { span, buckets, max_position, .. } = *relative;
        KeptRelative { keys, queries, span, buckets, max_position }
    }

    fn read(self, reading: &Reading<'_>, heads: usize, head_dim: usize) -> Read<Relative> {
        let KeptRelative { keys, queries, span, buckets, max_position } = self;
        let unfit = || "it is damaged: its relative positions do not fit its heads".to_owned();
        let length = heads.checked_mul(head_dim).and_then(|width| width.checked_mul(span)?.checked_mul(2));
        let length = length.ok_or_else(unfit)?;
        let table = |tensor: Option<Tensor>| -> Read<Option<Arc<Vec<f32>>>> {
            Ok(tensor.map(|tensor| reading.reader.read(&tensor, &[length])).transpose()?.map(Arc::new))
        };
        let relative = Relative { keys: table(keys)?, queries: table(queries)?, span, buckets, max_position };
        relative.slot_map().map_err(|_| unfit())?;
        Ok(relative)
    }
}
