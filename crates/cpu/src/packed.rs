//! What the steps of a program name, packed for an instruction set, to be shared by any number of engines.

use grice_kernels::{
    AttentionShape, GroupScales, Int4Groups, Isa, LayerNorm, PackedLinear, Relative, RotaryTable, Rounding, ScoreBias,
    ShapeError, WeightData, WeightPart, release_free_memory,
};
use grice_model::{
    Embedding, EngineError, Generator, GeneratorParts, GeneratorSteps, HeadPlan, Linear, Lookup, Parts, Precision,
    Program, Scores, Steps, Values,
};

/// The steps of a program and their weights.
pub(crate) struct Packed {
    /// What the weights are packed for.
    pub(crate) isa: Isa,
    pub(crate) steps: Steps,
    pub(crate) lookup: Lookup,
    pub(crate) parts: PackedParts,
    /// Where it is no dense layers.
    pub(crate) head: Option<HeadPlan>,
}

/// The steps of a generator and their weights.
pub(crate) struct PackedGenerator {
    /// What the weights are packed for.
    pub(crate) isa: Isa,
    pub(crate) steps: GeneratorSteps,
    /// The tables of the encoder.
    pub(crate) source: Option<Lookup>,
    /// The tables of the decoder.
    pub(crate) lookup: Lookup,
    pub(crate) parts: PackedParts,
}

/// What steps name by number.
pub(crate) struct PackedParts {
    pub(crate) linears: Vec<PackedLinear>,
    pub(crate) norms: Vec<LayerNorm>,
    pub(crate) attentions: Vec<Attention>,
}

/// An attention as its kernel takes it.
pub(crate) struct Attention {
    pub(crate) shape: AttentionShape,
    pub(crate) relative: Option<Relative>,
    pub(crate) rotary: Option<RotaryTable>,
    pub(crate) bias: Option<ScoreBias>,
}

impl Packed {
    /// Packs weight by weight, freeing what was packed unless somebody else holds it.
    pub(crate) fn new(program: Program, labels: usize, isa: Isa) -> Result<Packed, EngineError> {
        let longest = program.longest();
        let (steps, parts) = program.into_steps(labels);
        let head = parts.head.as_ref().map(|head| head.plan(steps.hidden, labels)).transpose()?;
        let Parts { embedding, linears, norms, attentions, .. } = parts;
        let parts = PackedParts::new(isa, linears, norms, attentions)?;
        Ok(Packed { isa, steps, lookup: lookup(embedding, longest)?, parts, head })
    }
}

impl PackedGenerator {
    /// As [`Packed::new`].
    pub(crate) fn new(generator: Generator, isa: Isa) -> Result<PackedGenerator, EngineError> {
        let (longest, longest_source) = (generator.longest(), generator.longest_source());
        let (steps, parts) = generator.into_steps();
        let GeneratorParts { source, decoder, linears, norms, attentions } = parts;
        let parts = PackedParts::new(isa, linears, norms, attentions)?;
        let source = source.map(|embedding| lookup(embedding, longest_source)).transpose()?;
        Ok(PackedGenerator { isa, steps, source, lookup: lookup(decoder, longest)?, parts })
    }
}

impl PackedParts {
    fn new(
        isa: Isa,
        linears: Vec<Vec<Linear>>,
        norms: Vec<LayerNorm>,
        attentions: Vec<Scores>,
    ) -> Result<PackedParts, EngineError> {
        let target = Target { isa, rounding: rounding_for(&linears) };
        let mut freed = 0;
        let pack = |parts: Vec<Linear>| {
            let packed = target.pack(&parts)?;
            freed += parts.iter().map(Linear::bytes).sum::<usize>();
            drop(parts);
            if freed >= FREED_MOST {
                freed = 0;
                release_free_memory();
            }
            Ok(packed)
        };
        let linears = linears.into_iter().map(pack).collect::<Result<_, _>>().map_err(unfit)?;
        let attentions = attentions.into_iter().map(|scores| target.attention(&scores)).collect::<Result<_, _>>();
        Ok(PackedParts { linears, norms, attentions: attentions.map_err(unfit)? })
    }
}

fn lookup(mut embedding: Embedding, longest: Option<usize>) -> Result<Lookup, EngineError> {
    embedding.projection = None;
    Ok(Lookup::new(embedding).map_err(unfit)?.up_to(longest))
}

fn unfit(error: ShapeError) -> EngineError {
    EngineError::Plan(error.to_string())
}

/// Bytes that packing frees before they go back to the system: the blocks that it makes do not always fit where freed ones were.
const FREED_MOST: usize = 16 << 20;

/// What weights are packed for.
#[derive(Clone, Copy)]
struct Target {
    isa: Isa,
    rounding: Rounding,
}

/// Stepwise where any layer rounds what it is given to bytes: then a difference in the last bit before it would be a whole byte after it,
/// and the browser's verdict another than this one's.
fn rounding_for(linears: &[Vec<Linear>]) -> Rounding {
    let is_rounded = |linear: &Linear| matches!(linear.weights.precision(), Precision::Int8 | Precision::Int4);
    if linears.iter().flatten().any(is_rounded) { Rounding::Stepwise } else { Rounding::Fused }
}

impl Target {
    fn attention(self, scores: &Scores) -> Result<Attention, ShapeError> {
        let relative = scores.relative().map(|relative| relative.pack(scores.heads, scores.head_dim)).transpose()?;
        let rotary = scores.rotary().map(|rotary| rotary.table()).transpose()?;
        Ok(Attention { shape: scores.shape(self.rounding), relative, rotary, bias: scores.bias().cloned() })
    }

    /// Dense layers of the same input, side by side.
    fn pack(self, linears: &[Linear]) -> Result<PackedLinear, ShapeError> {
        let inputs = linears.first().map_or(0, Linear::inputs);
        // A matrix with one scale a row is not what the kernels multiply by.
        let plain: Vec<Option<Vec<f32>>> = linears
            .iter()
            .map(|linear| matches!(linear.weights.values(), Values::Int8Rows { .. }).then(|| linear.weights.to_f32()))
            .collect();
        let nibbles: Vec<Vec<u8>> = linears.iter().map(nibbles).collect();
        let parts: Vec<WeightPart<'_>> = linears
            .iter()
            .zip(plain.iter().zip(&nibbles))
            .map(|(linear, (plain, nibbles))| WeightPart {
                n: linear.outputs(),
                data: match (linear.weights.values(), plain) {
                    (_, Some(values)) => WeightData::F32(values),
                    (Values::F32(values), _) => WeightData::F32(values),
                    (Values::F16(values), _) => WeightData::F16(values),
                    (Values::Int8Shifted { values, scales, zeros }, _) => {
                        WeightData::Int8Shifted { values, scales, zeros }
                    }
                    (Values::Int4Groups { scales, group, .. }, _) => WeightData::Int4Groups(Int4Groups {
                        values: nibbles,
                        scales: GroupScales::F32(scales),
                        zeros: None,
                        group: *group,
                    }),
                    (Values::Int8Columns { values, scales } | Values::Int8Rows { values, scales }, None) => {
                        WeightData::Int8 { values, scales }
                    }
                },
                bias: linear.bias.as_deref(),
            })
            .collect();
        PackedLinear::pack(self.isa, inputs, &parts, self.rounding)
    }
}

/// 4-bit numbers from 0 to 15 with the zero at 8, as the kernels take them; none for other weights.
fn nibbles(linear: &Linear) -> Vec<u8> {
    match linear.weights.values() {
        Values::Int4Groups { values, .. } => values.iter().map(|&value| (value + 8) as u8).collect(),
        _ => Vec::new(),
    }
}
