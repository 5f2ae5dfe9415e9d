//! The description of a program: the same structure with the names of tensors in place of numbers.

use super::compact::{ELEMENTS_MAX, elements_of, fill, rectangles_of, whole_numbers_of};
use super::container::{Reader, Tensor, Writer};
use crate::program::{
    Attention, Block, Body, Dense, Embedding, FeedForward, Head, Place, Positions, Program, Relative, ScorePositions,
    Scores, Sees, Stack,
};
use crate::weights::{Linear, Matrix, Values};
use grice_kernels::{Activation, LayerNorm};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

type Read<T> = Result<T, String>;

#[derive(Serialize, Deserialize)]
pub(super) struct KeptProgram {
    embedding: KeptEmbedding,
    layers: Vec<Vec<KeptBlock>>,
    last: Option<KeptNorm>,
    head: Vec<KeptDense>,
}

#[derive(Serialize, Deserialize)]
struct KeptEmbedding {
    words: KeptMatrix,
    positions: Option<KeptPositions>,
    constant: Option<Tensor>,
    norm: Option<KeptNorm>,
    projection: Option<KeptLinear>,
}

#[derive(Serialize, Deserialize)]
struct KeptPositions {
    table: KeptMatrix,
    offset: usize,
    uncounted: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct KeptBlock {
    norm: Option<KeptNorm>,
    place: KeptPlace,
    #[serde(flatten)]
    body: KeptBody,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptPlace {
    Before,
    After,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptBody {
    Attention(Box<KeptAttention>),
    FeedForward(KeptFeedForward),
}

#[derive(Serialize, Deserialize)]
struct KeptAttention {
    query: KeptLinear,
    key: KeptLinear,
    value: KeptLinear,
    output: KeptLinear,
    heads: usize,
    head_dim: usize,
    /// Bits of the factor.
    scale: u32,
    relative: Option<KeptRelative>,
}

#[derive(Serialize, Deserialize)]
struct KeptRelative {
    keys: Option<Tensor>,
    queries: Option<Tensor>,
    span: usize,
    buckets: usize,
    max_position: usize,
}

#[derive(Serialize, Deserialize)]
struct KeptFeedForward {
    up: KeptLinear,
    #[serde(with = "crate::steps::ActivationName")]
    activation: Activation,
    down: KeptLinear,
}

#[derive(Serialize, Deserialize)]
struct KeptDense {
    linear: KeptLinear,
    #[serde(with = "crate::steps::ActivationName")]
    activation: Activation,
}

#[derive(Serialize, Deserialize)]
struct KeptNorm {
    gamma: Tensor,
    beta: Tensor,
    /// Bits of the summand.
    epsilon: u32,
}

#[derive(Serialize, Deserialize)]
struct KeptLinear {
    weights: KeptMatrix,
    bias: Option<Tensor>,
}

#[derive(Serialize, Deserialize)]
struct KeptMatrix {
    rows: usize,
    columns: usize,
    #[serde(flatten)]
    values: KeptValues,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptValues {
    F32(Tensor),
    /// Rectangles `[first row, rows, first column, columns]`, their elements one rectangle after another; the rest is zero. Heads side by side
    /// are such matrices.
    Blocks {
        values: Tensor,
        rectangles: Vec<[usize; 4]>,
    },
    /// The same where every element of a column is a whole number times the column's scale, as heads stored in 8 bits are.
    Int8Blocks {
        values: Tensor,
        scales: Tensor,
        rectangles: Vec<[usize; 4]>,
    },
    F16(Tensor),
    Int8Columns {
        values: Tensor,
        scales: Tensor,
    },
    Int8Shifted {
        values: Tensor,
        scales: Tensor,
        zeros: Tensor,
    },
    Int8Rows {
        values: Tensor,
        scales: Tensor,
    },
}

/// What is read, with the matrices that several layers share.
struct Reading<'a> {
    reader: &'a Reader<'a>,
    matrices: RefCell<HashMap<String, Arc<Matrix>>>,
}

impl KeptProgram {
    /// Writes the tensors of a program and describes it; says so if its head is a graph.
    pub(super) fn of<'p>(program: &'p Program, writer: &mut Writer<'p>) -> Read<KeptProgram> {
        let Program { encoder: Stack { embedding, layers, last }, head } = program;
        let dense =
            head.layers.as_ref().map_err(|unfused| format!("its head is no dense layers: {}", unfused.reason))?;
        if !program.encoder.blocks().all(has_form)
            || last.as_ref().is_some_and(|norm| !norm.centred)
            || embedding.norm.as_ref().is_some_and(|norm| !norm.centred)
        {
            return Err("this form of file has no words for its layers".to_owned());
        }
        let mut kept = Vec::with_capacity(layers.len());
        for (number, layer) in layers.iter().enumerate() {
            let blocks = layer.iter().enumerate();
            kept.push(
                blocks.map(|(at, block)| KeptBlock::of(block, &format!("layer.{number}.{at}"), writer)).collect(),
            );
        }
        let head = dense.iter().enumerate().map(|(number, Dense { linear, activation })| KeptDense {
            linear: KeptLinear::of(linear, &format!("head.{number}"), writer),
            activation: *activation,
        });
        let head = head.collect();
        Ok(KeptProgram {
            embedding: KeptEmbedding::of(embedding, writer),
            layers: kept,
            last: last.as_ref().map(|norm| KeptNorm::of(norm, "last", writer)),
            head,
        })
    }

    pub(super) fn read(self, reader: &Reader<'_>) -> Read<Program> {
        let reading = Reading { reader, matrices: RefCell::default() };
        let layer = |blocks: Vec<KeptBlock>| blocks.into_iter().map(|block| block.read(&reading)).collect();
        let encoder = Stack {
            embedding: self.embedding.read(&reading)?,
            layers: self.layers.into_iter().map(layer).collect::<Read<_>>()?,
            last: self.last.map(|norm| norm.read(&reading)).transpose()?,
        };
        let dense = |kept: KeptDense| Ok(Dense { linear: kept.linear.read(&reading)?, activation: kept.activation });
        let layers = self.head.into_iter().map(dense).collect::<Read<_>>()?;
        Ok(Program { encoder, head: Head { layers: Ok(layers), graph: None } })
    }
}

/// Whether this form of file has words for a block.
fn has_form(block: &Block) -> bool {
    let body = match &block.body {
        Body::Attention(attention) => {
            let Scores { heads, key_heads, sees, positions, .. } = &attention.scores;
            heads == key_heads && *sees == Sees::All && !matches!(positions, ScorePositions::Rotary(_))
        }
        Body::FeedForward(feed_forward) => feed_forward.gate.is_none(),
    };
    body && block.norm.as_ref().is_none_or(|norm| norm.centred)
}

impl KeptEmbedding {
    fn of<'p>(embedding: &'p Embedding, writer: &mut Writer<'p>) -> KeptEmbedding {
        let Embedding { words, positions, constant, norm, projection } = embedding;
        KeptEmbedding {
            words: KeptMatrix::of(words, "words", writer),
            positions: positions.as_ref().map(|Positions { table, offset, uncounted }| KeptPositions {
                table: KeptMatrix::of(table, "positions", writer),
                offset: *offset,
                uncounted: *uncounted,
            }),
            constant: constant.as_ref().map(|row| writer.push("constant", &[row.len()], row)),
            norm: norm.as_ref().map(|norm| KeptNorm::of(norm, "embedding", writer)),
            projection: projection.as_ref().map(|linear| KeptLinear::of(linear, "projection", writer)),
        }
    }

    fn read(self, reading: &Reading<'_>) -> Read<Embedding> {
        let words = self.words.read(reading)?;
        let columns = words.columns();
        let positions = self.positions.map(|kept| {
            let table = kept.table.read(reading)?;
            let fits = table.columns() == columns && kept.offset <= table.rows() && u32::try_from(table.rows()).is_ok();
            let positions = Positions { table, offset: kept.offset, uncounted: kept.uncounted };
            if fits { Ok(positions) } else { Err("it is damaged: its positions do not fit its words".to_owned()) }
        });
        let (positions, norm) = (positions.transpose()?, self.norm.map(|norm| norm.read(reading)).transpose()?);
        if norm.as_ref().is_some_and(|norm| norm.gamma.len() != columns) {
            return Err("it is damaged: the norm of its embedding does not fit its words".to_owned());
        }
        let constant = self.constant.map(|row| reading.reader.read(&row, &[columns])).transpose()?;
        let projection = self.projection.map(|linear| linear.read(reading)).transpose()?;
        Ok(Embedding { words, positions, constant, norm, projection })
    }
}

impl KeptBlock {
    fn of<'p>(block: &'p Block, name: &str, writer: &mut Writer<'p>) -> KeptBlock {
        let linear = |linear: &'p Linear, part: &str, writer: &mut Writer<'p>| {
            KeptLinear::of(linear, &format!("{name}.{part}"), writer)
        };
        let body = match &block.body {
            Body::Attention(attention) => {
                let Attention { query, key, value, output, scores } = &**attention;
                let Scores { heads, head_dim, scale, .. } = scores;
                KeptBody::Attention(Box::new(KeptAttention {
                    query: linear(query, "query", writer),
                    key: linear(key, "key", writer),
                    value: linear(value, "value", writer),
                    output: linear(output, "output", writer),
                    heads: *heads,
                    head_dim: *head_dim,
                    scale: scale.to_bits(),
                    relative: scores.relative().map(|relative| KeptRelative::of(relative, name, writer)),
                }))
            }
            Body::FeedForward(FeedForward { up, activation, down, .. }) => KeptBody::FeedForward(KeptFeedForward {
                up: linear(up, "up", writer),
                activation: *activation,
                down: linear(down, "down", writer),
            }),
        };
        let place = match block.place {
            Place::Before => KeptPlace::Before,
            Place::After => KeptPlace::After,
        };
        KeptBlock { norm: block.norm.as_ref().map(|norm| KeptNorm::of(norm, name, writer)), place, body }
    }

    fn read(self, reading: &Reading<'_>) -> Read<Block> {
        let place = match self.place {
            KeptPlace::Before => Place::Before,
            KeptPlace::After => Place::After,
        };
        let body = match self.body {
            KeptBody::Attention(kept) => Body::Attention(Box::new(kept.read(reading)?)),
            KeptBody::FeedForward(KeptFeedForward { up, activation, down }) => Body::FeedForward(FeedForward {
                gate: None,
                up: up.read(reading)?,
                activation,
                down: down.read(reading)?,
            }),
        };
        Ok(Block { norm: self.norm.map(|norm| norm.read(reading)).transpose()?, place, body })
    }
}

impl KeptAttention {
    fn read(self, reading: &Reading<'_>) -> Read<Attention> {
        let KeptAttention { query, key, value, output, heads, head_dim, scale, relative } = self;
        let relative = relative.map(|relative| relative.read(reading, heads, head_dim)).transpose()?;
        Ok(Attention {
            query: query.read(reading)?,
            key: key.read(reading)?,
            value: value.read(reading)?,
            output: output.read(reading)?,
            scores: Scores {
                heads,
                key_heads: heads,
                head_dim,
                scale: f32::from_bits(scale),
                sees: Sees::All,
                positions: relative.map_or(ScorePositions::None, ScorePositions::Disentangled),
            },
        })
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

impl KeptNorm {
    fn of<'p>(norm: &'p LayerNorm, name: &str, writer: &mut Writer<'p>) -> KeptNorm {
        let LayerNorm { gamma, beta, epsilon, .. } = norm;
        KeptNorm {
            gamma: writer.push(&format!("{name}.gamma"), &[gamma.len()], gamma),
            beta: writer.push(&format!("{name}.beta"), &[beta.len()], beta),
            epsilon: epsilon.to_bits(),
        }
    }

    fn read(self, reading: &Reading<'_>) -> Read<LayerNorm> {
        let columns = reading.reader.elements(&self.gamma);
        let [gamma, beta] = [&self.gamma, &self.beta].map(|tensor| reading.reader.read(tensor, &[columns]));
        Ok(LayerNorm { gamma: gamma?, beta: beta?, epsilon: f32::from_bits(self.epsilon), centred: true })
    }
}

impl KeptLinear {
    fn of<'p>(linear: &'p Linear, name: &str, writer: &mut Writer<'p>) -> KeptLinear {
        KeptLinear {
            weights: KeptMatrix::of(&linear.weights, name, writer),
            bias: linear.bias.as_ref().map(|bias| writer.push(&format!("{name}.bias"), &[bias.len()], bias)),
        }
    }

    fn read(self, reading: &Reading<'_>) -> Read<Linear> {
        let weights = self.weights.read(reading)?;
        let bias = self.bias.map(|bias| reading.reader.read(&bias, &[weights.columns()])).transpose()?;
        Ok(Linear { weights, bias })
    }
}

impl KeptMatrix {
    fn of<'p>(matrix: &'p Matrix, name: &str, writer: &mut Writer<'p>) -> KeptMatrix {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let shape = [rows, columns];
        let mut scale = |scales: &'p [f32]| writer.push(&format!("{name}.scales"), &[scales.len()], scales);
        let weight = format!("{name}.weight");
        let values = match matrix.values() {
            Values::F32(values) if values.len() <= ELEMENTS_MAX => KeptValues::of_f32(values, shape, name, writer),
            Values::F32(values) => KeptValues::F32(writer.push(&weight, &shape, values)),
            Values::F16(values) => KeptValues::F16(writer.push(&weight, &shape, values)),
            Values::Int8Columns { values, scales } => {
                KeptValues::Int8Columns { scales: scale(scales), values: writer.push(&weight, &shape, values) }
            }
            Values::Int8Rows { values, scales } => {
                KeptValues::Int8Rows { scales: scale(scales), values: writer.push(&weight, &shape, values) }
            }
            Values::Int8Shifted { values, scales, zeros } => KeptValues::Int8Shifted {
                scales: scale(scales),
                zeros: writer.push(&format!("{name}.zeros"), &[zeros.len()], zeros),
                values: writer.push(&weight, &shape, values),
            },
        };
        KeptMatrix { rows, columns, values }
    }

    fn read(self, reading: &Reading<'_>) -> Read<Arc<Matrix>> {
        let KeptMatrix { rows, columns, values } = self;
        let (reader, shape) = (reading.reader, [rows, columns]);
        let name = match &values {
            KeptValues::F32(values) | KeptValues::F16(values) => values.name(),
            KeptValues::Blocks { values, .. }
            | KeptValues::Int8Blocks { values, .. }
            | KeptValues::Int8Columns { values, .. }
            | KeptValues::Int8Shifted { values, .. }
            | KeptValues::Int8Rows { values, .. } => values.name(),
        };
        let name = name.to_owned();
        if let Some(known) = reading.matrices.borrow().get(&name) {
            return Ok(known.clone());
        }
        let values = match values {
            KeptValues::F32(values) => Values::F32(reader.read(&values, &shape)?),
            KeptValues::Blocks { values, rectangles } => {
                let elements: Vec<f32> = reader.read(&values, &[reader.elements(&values)])?;
                Values::F32(fill(&elements, &rectangles, shape).ok_or_else(|| misplaced(&name))?)
            }
            KeptValues::Int8Blocks { values, scales, rectangles } => {
                let numbers: Vec<i8> = reader.read(&values, &[reader.elements(&values)])?;
                let scales: Vec<f32> = reader.read(&scales, &[columns])?;
                let elements: Vec<f32> = numbers.into_iter().map(f32::from).collect();
                let mut whole = fill(&elements, &rectangles, shape).ok_or_else(|| misplaced(&name))?;
                for row in whole.chunks_exact_mut(columns) {
                    row.iter_mut().zip(&scales).for_each(|(element, scale)| *element *= scale);
                }
                Values::F32(whole)
            }
            KeptValues::F16(values) => Values::F16(reader.read(&values, &shape)?),
            KeptValues::Int8Columns { values, scales } => {
                Values::Int8Columns { values: reader.read(&values, &shape)?, scales: reader.read(&scales, &[columns])? }
            }
            KeptValues::Int8Rows { values, scales } => {
                Values::Int8Rows { values: reader.read(&values, &shape)?, scales: reader.read(&scales, &[rows])? }
            }
            KeptValues::Int8Shifted { values, scales, zeros } => Values::Int8Shifted {
                values: reader.read(&values, &shape)?,
                scales: reader.read(&scales, &[columns])?,
                zeros: reader.read(&zeros, &[columns])?,
            },
        };
        let matrix = Matrix::new(rows, columns, values);
        let matrix = Arc::new(matrix.ok_or_else(|| format!("it is damaged: `{name}` is empty"))?);
        reading.matrices.borrow_mut().insert(name, matrix.clone());
        Ok(matrix)
    }
}

impl KeptValues {
    /// In the smallest form that gives the very same numbers back.
    fn of_f32<'p>(values: &'p [f32], shape: [usize; 2], name: &str, writer: &mut Writer<'p>) -> KeptValues {
        let ([rows, columns], weight) = (shape, format!("{name}.weight"));
        let parts = rectangles_of(values, columns);
        let rectangles = parts.clone().unwrap_or_else(|| vec![[0, rows, 0, columns]]);
        let elements: Vec<f32> = rectangles.iter().flat_map(|at| elements_of(values, columns, *at)).collect();
        if let Some((numbers, scales)) = whole_numbers_of(&elements, &rectangles, columns) {
            let scales = writer.push_made(&format!("{name}.scales"), &[columns], &scales);
            let values = writer.push_made(&weight, &[numbers.len()], &numbers);
            return KeptValues::Int8Blocks { values, scales, rectangles };
        }
        match parts {
            Some(rectangles) => {
                KeptValues::Blocks { values: writer.push_made(&weight, &[elements.len()], &elements), rectangles }
            }
            None => KeptValues::F32(writer.push(&weight, &shape, values)),
        }
    }
}

fn misplaced(name: &str) -> String {
    format!("it is damaged: the blocks of `{name}` do not lie in it")
}
