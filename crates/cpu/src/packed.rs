//! What the steps of a program name, packed for an instruction set, to be shared by any number of engines.

use grice_kernels::{
    AttentionShape, EmbeddingTable, GroupScales, Int4Groups, Isa, LayerNorm, PackedLinear, Relative, RotaryTable,
    Rounding, ScoreBias, ShapeError, Table, WeightData, WeightPart, release_free_memory,
};
use grice_model::{
    Embedding, EngineError, Generator, GeneratorParts, GeneratorSteps, HeadPlan, Linear, Lookup, Matrix, Parts,
    Positions, Precision, Program, Scores, Steps, Values,
};
use std::sync::Arc;

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
    pub(crate) linears: Vec<Arc<PackedLinear>>,
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
        let target = Target { isa, rounding: rounding_for(linears.iter().flatten().map(|linear| &*linear.weights)) };
        let parts = target.parts(linears, norms, attentions)?;
        Ok(Packed { isa, steps, lookup: lookup(embedding, longest)?, parts, head })
    }
}

impl PackedGenerator {
    /// As [`Packed::new`].
    pub(crate) fn new(generator: Generator, isa: Isa) -> Result<PackedGenerator, EngineError> {
        let (longest, longest_source) = (generator.longest(), generator.longest_source());
        let (steps, parts) = generator.into_steps();
        let GeneratorParts { source, decoder, mut linears, norms, attentions } = parts;
        let vocabulary = linears.pop().unwrap_or_default();
        let tied = vocabulary.is_empty().then(|| Arc::clone(&decoder.words));
        let weights = linears.iter().flatten().chain(&vocabulary).map(|linear| &*linear.weights);
        let target = Target { isa, rounding: rounding_for(weights.chain(tied.as_deref())) };
        let mut parts = target.parts(linears, norms, attentions)?;
        // Numbers around a zero of their own cannot be read out of a product again.
        let shares = tied.as_ref().filter(|words| !matches!(words.values(), Values::Int8Shifted { .. }));
        let source = source.map(|embedding| Tables::of(embedding, shares));
        let decoder = Tables::of(decoder, shares);
        let vocabulary = match tied {
            // The table goes before its product is packed, so that three forms of it are never in memory.
            Some(words) => vec![Linear { weights: Arc::new(words.transposed()), bias: None }],
            None => vocabulary,
        };
        let words = Arc::new(target.pack(&vocabulary).map_err(unfit)?);
        drop(vocabulary);
        let source = source.map(|tables| tables.lookup(&words, longest_source)).transpose()?;
        let lookup = decoder.lookup(&words, longest)?;
        parts.linears.push(words);
        Ok(PackedGenerator { isa, steps, source, lookup, parts })
    }
}

/// The tables of an embedding, whose words may be those of the product with the vocabulary.
enum Tables {
    Own(Embedding),
    Tied { positions: Option<Positions>, constant: Option<Vec<f32>>, norm: Option<LayerNorm> },
}

impl Tables {
    /// Without its words, if they are `tied`.
    fn of(embedding: Embedding, tied: Option<&Arc<Matrix>>) -> Tables {
        match tied {
            Some(tied) if Arc::ptr_eq(tied, &embedding.words) => {
                let Embedding { positions, constant, norm, .. } = embedding;
                Tables::Tied { positions, constant, norm }
            }
            _ => Tables::Own(embedding),
        }
    }

    fn lookup(self, product: &Arc<PackedLinear>, longest: Option<usize>) -> Result<Lookup, EngineError> {
        let (positions, constant, norm) = match self {
            Tables::Own(embedding) => return lookup(embedding, longest),
            Tables::Tied { positions, constant, norm } => (positions, constant, norm),
        };
        let words = EmbeddingTable::new(product.n(), product.k(), Table::Columns(product.clone())).map_err(unfit)?;
        Ok(Lookup::with_words(words, positions, constant, norm).map_err(unfit)?.up_to(longest))
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
fn rounding_for<'a>(mut weights: impl Iterator<Item = &'a Matrix>) -> Rounding {
    let is_rounded = |matrix: &Matrix| matches!(matrix.precision(), Precision::Int8 | Precision::Int4);
    if weights.any(is_rounded) { Rounding::Stepwise } else { Rounding::Fused }
}

impl Target {
    fn parts(
        self,
        linears: Vec<Vec<Linear>>,
        norms: Vec<LayerNorm>,
        attentions: Vec<Scores>,
    ) -> Result<PackedParts, EngineError> {
        let mut freed = 0;
        let pack = |parts: Vec<Linear>| {
            let packed = self.pack(&parts)?;
            freed += parts.iter().map(Linear::bytes).sum::<usize>();
            drop(parts);
            if freed >= FREED_MOST {
                freed = 0;
                release_free_memory();
            }
            Ok(Arc::new(packed))
        };
        let linears = linears.into_iter().map(pack).collect::<Result<_, _>>().map_err(unfit)?;
        let attentions = attentions.into_iter().map(|scores| self.attention(&scores)).collect::<Result<_, _>>();
        Ok(PackedParts { linears, norms, attentions: attentions.map_err(unfit)? })
    }

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
