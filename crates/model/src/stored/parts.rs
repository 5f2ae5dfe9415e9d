//! The description of a program: the same structure with the names of tensors in place of numbers.

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

/// Larger matrices are kept as they are, and none of rectangles is larger.
const ELEMENTS_MAX: usize = 1 << 22;

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
    norm: KeptNorm,
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
    norm: KeptNorm,
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
    Attention(KeptAttention),
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
            || !embedding.norm.centred
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
    body && block.norm.centred
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
            norm: KeptNorm::of(norm, "embedding", writer),
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
        let (positions, norm) = (positions.transpose()?, self.norm.read(reading)?);
        if norm.gamma.len() != columns {
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
                KeptBody::Attention(KeptAttention {
                    query: linear(query, "query", writer),
                    key: linear(key, "key", writer),
                    value: linear(value, "value", writer),
                    output: linear(output, "output", writer),
                    heads: *heads,
                    head_dim: *head_dim,
                    scale: scale.to_bits(),
                    relative: scores.relative().map(|relative| KeptRelative::of(relative, name, writer)),
                })
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
        KeptBlock { norm: KeptNorm::of(&block.norm, name, writer), place, body }
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
        Ok(Block { norm: self.norm.read(reading)?, place, body })
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

/// The rectangles outside of which all elements are zero, if they hold less than half of all: columns whose elements lie in the same rows,
/// side by side.
fn rectangles_of(values: &[f32], columns: usize) -> Option<Vec<[usize; 4]>> {
    let mut rows: Vec<Option<(usize, usize)>> = vec![None; columns];
    for (row, elements) in values.chunks_exact(columns).enumerate() {
        for (range, element) in rows.iter_mut().zip(elements) {
            // Zeros with a sign are elements too.
            if element.to_bits() != 0 {
                *range = Some((range.map_or(row, |(first, _)| first), row + 1));
            }
        }
    }
    let mut rectangles: Vec<[usize; 4]> = Vec::new();
    for (column, range) in rows.iter().enumerate() {
        let Some((first, end)) = *range else { continue };
        match rectangles.last_mut() {
            Some([row, count, start, width]) if (*row, *row + *count, *start + *width) == (first, end, column) => {
                *width += 1
            }
            _ => rectangles.push([first, end - first, column, 1]),
        }
    }
    let held: usize = rectangles.iter().map(|[_, rows, _, columns]| rows * columns).sum();
    (2 * held < values.len() && rectangles.len() <= columns.div_ceil(8)).then_some(rectangles)
}

fn elements_of(values: &[f32], width: usize, [row, rows, column, columns]: [usize; 4]) -> impl Iterator<Item = f32> {
    (row..row + rows).flat_map(move |row| values[row * width + column..][..columns].iter().copied())
}

/// The matrix of rectangles; `None` if one does not lie in it, or the elements are not as many.
fn fill(elements: &[f32], rectangles: &[[usize; 4]], [rows, columns]: [usize; 2]) -> Option<Vec<f32>> {
    let count = rows.checked_mul(columns).filter(|count| *count <= ELEMENTS_MAX)?;
    let (mut values, mut rest) = (vec![0.0; count], elements);
    for &[row, height, column, width] in rectangles {
        let inside = row.checked_add(height)? <= rows && column.checked_add(width)? <= columns;
        if !inside || width == 0 {
            return None;
        }
        for row in row..row + height {
            let (own, others) = rest.split_at_checked(width)?;
            values[row * columns + column..][..width].copy_from_slice(own);
            rest = others;
        }
    }
    rest.is_empty().then_some(values)
}

fn misplaced(name: &str) -> String {
    format!("it is damaged: the blocks of `{name}` do not lie in it")
}

/// Whole numbers and a scale for each of `columns` columns whose products are exactly the elements of rectangles; `None` if there are none.
fn whole_numbers_of(elements: &[f32], rectangles: &[[usize; 4]], columns: usize) -> Option<(Vec<i8>, Vec<f32>)> {
    let (mut numbers, mut scales, mut start) = (vec![0; elements.len()], vec![1.0; columns], 0);
    for &[_, rows, first, width] in rectangles {
        for column in 0..width {
            let places = (0..rows).map(|row| start + row * width + column);
            let values: Vec<f32> = places.clone().map(|place| elements[place]).collect();
            let (own, scale) = whole_numbers(&values)?;
            places.zip(own).for_each(|(place, number)| numbers[place] = number);
            scales[first + column] = scale;
        }
        start += rows * width;
    }
    Some((numbers, scales))
}

/// The largest of the values is taken for every whole number in turn; what it divided by that leaves is tried with its neighbours.
fn whole_numbers(values: &[f32]) -> Option<(Vec<i8>, f32)> {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let candidates = (1..=128_u16).rev().flat_map(|number| {
        let scale = largest / f32::from(number);
        [scale, scale.next_up(), scale.next_down()]
    });
    candidates.filter(|scale| scale.is_normal()).find_map(|scale| {
        let number = |value: &f32| {
            let number = (value / scale).round();
            let exact =
                (-128.0..=127.0).contains(&number) && (f32::from(number as i8) * scale).to_bits() == value.to_bits();
            exact.then_some(number as i8)
        };
        Some((values.iter().map(number).collect::<Option<Vec<i8>>>()?, scale))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f32], columns: usize, expected: Option<&[[usize; 4]]>) {
        let found = rectangles_of(values, columns);
        assert_eq!(found.as_deref(), expected, "{values:?}");
        let Some(rectangles) = found else { return };
        let elements: Vec<f32> = rectangles.iter().flat_map(|at| elements_of(values, columns, *at)).collect();
        let shape = [values.len() / columns, columns];
        assert_eq!(fill(&elements, &rectangles, shape).unwrap(), values);
        assert!(fill(&elements[1..], &rectangles, shape).is_none());
        assert!(fill(&elements, &[[1, shape[0], 0, 1]], shape).is_none());
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        let mut values = vec![0.0; 16 * 16];
        for row in 0..8 {
            for column in 0..4 {
                values[row * 16 + column] = 1.0 + row as f32;
                values[(row + 8) * 16 + column + 12] = -1.0 - column as f32;
            }
        }
        check(&values, 16, Some(&[[0, 8, 0, 4], [8, 8, 12, 4]]));
        // A zero with a sign is kept.
        values[8 * 16 + 5] = -0.0;
        check(&values, 16, None);
        check(&[1.0; 64], 8, None);
    }

    #[test]
    fn whole_numbers_are_found_only_where_they_are_exact() {
        for scale in [0.013_f32, 1.7e-5, 3.0] {
            let exact: Vec<f32> = [-128, -3, 0, 1, 77, 127].map(|number: i16| f32::from(number) * scale).to_vec();
            let (numbers, found) = whole_numbers(&exact).unwrap();
            let again: Vec<f32> = numbers.iter().map(|&number| f32::from(number) * found).collect();
            assert_eq!(again, exact);
        }
        assert!(whole_numbers(&[1.0, 0.123_456_7, -0.2]).is_none());
        assert!(whole_numbers(&[1.0, -0.0]).is_none());
        assert!(whole_numbers(&[0.0; 3]).is_none());
    }
}
