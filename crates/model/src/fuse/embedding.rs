//! The first layer norm and what it normalises: rows of the word table, of the position table, and constants.

use super::anchors::{Anchor, Stored, Weights};
use super::constants::integers;
use super::glue::{Feeds, Glue, IDS, MASK, TYPES, elements, random, tensor};
use super::graph::is;
use super::norms::Normed;
use super::region::{Region, Step};
use super::sample::{ROWS, Sample, TOKENS};
use super::unfused::Fused;
use crate::program::{Embedding, Positions, Unfused};
use crate::weights::Linear;
use grice_kernels::LayerNorm;
use std::cell::LazyCell;
use std::sync::Arc;
use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{ensure, format_err};

/// Rows that position tables leave free at their start, at most: RoBERTa's begins at 2.
const OFFSET_MAX: usize = 2;
/// Tokens of the longest row of ids that counted positions are tried on.
const COUNTED_MAX: usize = 67;

/// An embedding whose word table is still in the file.
pub(super) struct Draft {
    words: Stored,
    positions: Option<Positions>,
    constant: Option<Vec<f32>>,
    pub(super) norm: Option<LayerNorm>,
    pub(super) projection: Option<Linear>,
}

impl Draft {
    /// Moves the word table out of the file.
    pub(super) fn finish(self, graph: &mut GraphProto) -> Fused<Embedding> {
        let Draft { words, positions, mut constant, norm, projection } = self;
        let taken = words.take(graph).ok_or_else(|| Unfused::new("the word embedding cannot be read"))?;
        let (words, shift) = taken;
        if shift != 0.0 {
            let constant = constant.get_or_insert_with(|| vec![0.0; words.columns()]);
            constant.iter_mut().for_each(|element| *element += shift);
        }
        Ok(Embedding { words: Arc::new(words), positions, constant, norm, projection })
    }
}

/// The embedding, and the first layer norm: what it makes, and what it normalises.
pub(super) fn fuse_embedding<'p>(glue: &Glue<'_, 'p>) -> Fused<(Draft, Normed<'p>)> {
    let mut norms =
        glue.regions.anchors.order.iter().copied().filter_map(|output| match glue.regions.anchors.get(output) {
            Some(Anchor::Norm { input, norm }) if glue.regions.varies(output) => Some((output, *input, norm)),
            _ => None,
        });
    let (output, input, norm) = norms.next().ok_or_else(|| Unfused::new("it has no layer norm"))?;
    let region = glue.regions.back_from(input);
    let Found { words: (word_rows, table), counted, zeros } = find_tables(glue, &region)?;
    let columns = table.shape().map_or(0, |(_, columns)| columns);
    if columns != norm.gamma.len() {
        return Err(Unfused::new(format!(
            "the embedding `{word_rows}` has another width than the layer norm after it"
        )));
    }
    let sum = Sum { glue, region: &region, word_rows, columns };
    let (positions, constant) = match &counted {
        None => sum.split()?,
        Some(gather) => sum.split_counted(gather)?,
    };
    sum.check_lengths(positions.as_ref(), constant.as_deref(), counted.as_ref(), &zeros)?;
    let words = table.stored().ok_or_else(|| Unfused::new(format!("the table of `{word_rows}` cannot be read")))?;
    let draft = Draft { words, positions, constant, norm: None, projection: None };
    Ok((draft, Normed { output, input: region.value, norm: norm.clone() }))
}

/// What the sum gathers by the token ids.
struct Found<'a, 'p> {
    /// Rows by the ids themselves.
    words: (&'p str, &'a Weights<'p>),
    /// Rows by a number that is computed from the ids.
    counted: Option<Gathered<'a, 'p>>,
    /// Pieces that make nothing but zeros of the ids.
    zeros: Vec<Region<'p>>,
}

/// Rows of a table, and the piece that makes their numbers.
struct Gathered<'a, 'p> {
    rows: &'p str,
    table: &'a Weights<'p>,
    indices: Region<'p>,
}

/// The table gathered by the token ids, and the one gathered by positions that are counted from them.
fn find_tables<'a, 'p>(glue: &'a Glue<'_, 'p>, region: &Region<'p>) -> Fused<Found<'a, 'p>> {
    let (mut words, mut counted, mut zeros) = (None, None, Vec::new());
    for source in region.data() {
        let other = || Unfused::new(format!("the first layer norm also reads `{source}`"));
        match glue.regions.anchors.get(source) {
            Some(Anchor::Embedding { indices, table }) if glue.regions.varies(source) => {
                let indices = glue.regions.back_from(indices);
                match indices.data().collect::<Vec<_>>().as_slice() {
                    [IDS] if words.is_none() && hands_on_ids(glue, &indices) => words = Some((source, table)),
                    // Token types that are gathered from zeros by the positions.
                    [IDS] if table.shape().is_some_and(|(rows, _)| rows == 1) => {}
                    [IDS] if [1, 2, 7, COUNTED_MAX].into_iter().all(|tokens| makes_zeros(glue, &indices, tokens)) => {
                        zeros.push(indices);
                    }
                    [IDS] if counted.is_none() => counted = Some(Gathered { rows: source, table, indices }),
                    [TYPES] => {}
                    _ => return Err(other()),
                }
            }
            _ if source == MASK || source == TYPES => {}
            _ => return Err(other()),
        }
    }
    let none = || Unfused::new("no embedding is gathered by `input_ids` before the first layer norm");
    Ok(Found { words: words.ok_or_else(none)?, counted, zeros })
}

/// Whether a piece makes nothing of the ids but another integer type.
fn hands_on_ids(glue: &Glue<'_, '_>, indices: &Region<'_>) -> bool {
    let nodes = &glue.regions.graph.proto.node;
    indices.steps.iter().all(|step| matches!(step, Step::Node(index) if is(&nodes[*index], "Cast")))
}

/// Whether a piece makes zeros of ids in sequences of so many tokens.
fn makes_zeros<'p>(glue: &Glue<'_, 'p>, indices: &Region<'p>, tokens: usize) -> bool {
    let ids: Vec<i64> = (0..(ROWS * tokens) as i64).map(|place| place * 5 % 7 % 4).collect();
    numbers(glue, indices, &ids).is_some_and(|found| found.iter().all(|&number| number == 0))
}

/// What a piece makes of ids `[ROWS, tokens]`.
fn numbers<'p>(glue: &Glue<'_, 'p>, indices: &Region<'p>, ids: &[i64]) -> Option<Vec<i64>> {
    let tokens = ids.len() / ROWS;
    let mut feeds = glue.standard_feeds(indices, ROWS, tokens, 1);
    feeds.insert(IDS, Tensor::from_shape(&[ROWS, tokens], ids).ok()?);
    let found = glue.probe.run(indices, &feeds).ok()?.cast_to::<i64>().ok()?.into_owned();
    let found = found.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec();
    Some(found)
}

/// The sum before the norm, as a function of the word rows.
struct Sum<'a, 'p> {
    glue: &'a Glue<'a, 'p>,
    region: &'a Region<'p>,
    word_rows: &'p str,
    columns: usize,
}

impl<'p> Sum<'_, 'p> {
    /// What is added to the word rows: a table of positions and a constant.
    fn split(&self) -> Fused<(Option<Positions>, Option<Vec<f32>>)> {
        let (rows, columns) = (ROWS, self.columns);
        let zeros = vec![0.0; rows * TOKENS * columns];
        let run = |words: &[f32]| self.run(words, None);
        let added = run(&zeros)?;
        let words = random(&[rows, TOKENS, columns], 5);
        let expected: Vec<f32> = words.iter().zip(&added).map(|(word, added)| word + added).collect();
        let found = run(&words)?;
        if !super::glue::all_close(&found, &expected) || added[..TOKENS * columns] != added[TOKENS * columns..] {
            return Err(Unfused::new(format!("`{}` is not a sum of embeddings", self.region.value)));
        }
        let added: Vec<&[f32]> = added.chunks_exact(columns).take(TOKENS).collect();
        if added.windows(2).all(|pair| pair[0] == pair[1]) {
            return Ok((None, non_zero(added[0].to_vec())));
        }
        for table in self.tables() {
            let Some(matrix) = table.read() else { continue };
            let values = matrix.to_f32();
            for offset in 0..=OFFSET_MAX {
                if let Some(constant) = rest_after(&added, &values, columns, offset) {
                    return Ok((
                        Some(Positions { table: Arc::new(matrix), offset, uncounted: None }),
                        non_zero(constant),
                    ));
                }
            }
        }
        Err(Unfused::new(format!("`{}` depends on positions in an unknown way", self.region.value)))
    }

    /// As [`Self::split`], where the rows of positions are gathered by numbers that are counted from the ids.
    fn split_counted(&self, gathered: &Gathered<'_, 'p>) -> Fused<(Option<Positions>, Option<Vec<f32>>)> {
        let shape = [ROWS, TOKENS, self.columns];
        let unlike = || Unfused::new(format!("`{}` is not a sum of embeddings", self.region.value));
        let zeros = vec![0.0; shape.iter().product()];
        let constant = self.run(&zeros, Some((gathered.rows, &zeros)))?;
        let (words, rows) = (random(&shape, 5), random(&shape, 6));
        let sum = self.run(&words, Some((gathered.rows, &rows)))?;
        let expected: Vec<f32> = words.iter().zip(&rows).zip(&constant).map(|((a, b), c)| a + b + c).collect();
        let first = constant[..self.columns].to_vec();
        if !super::glue::all_close(&sum, &expected) || constant.chunks_exact(self.columns).any(|row| row != first) {
            return Err(unlike());
        }
        let uncounted = self.uncounted(gathered)?;
        let table = gathered.table.read().filter(|table| table.columns() == self.columns);
        let table = Arc::new(table.ok_or_else(unlike)?);
        let positions = Positions { table, offset: uncounted as usize + 1, uncounted: Some(uncounted) };
        Ok((Some(positions), non_zero(first)))
    }

    /// The id that is not counted, if the numbers are `id` for it, and `id` plus how many others have come for the others. What the
    /// graph does is tried on rows of ids in which it stands at the start, in runs, and at the end.
    fn uncounted(&self, gathered: &Gathered<'_, 'p>) -> Fused<u32> {
        let graph = self.glue.regions.graph;
        let unknown = || Unfused::new(format!("`{}` takes positions from the ids in an unknown way", gathered.rows));
        let nodes = gathered.indices.steps.iter().filter_map(|step| match step {
            Step::Node(index) => Some(&graph.proto.node[*index]),
            Step::Linear(_) => None,
        });
        let constants = nodes.flat_map(|node| &node.input).filter(|name| !name.is_empty());
        let constants = constants.filter_map(|name| integers(graph.constant(name)?));
        let mut candidates: Vec<u32> = constants
            .filter_map(|values| match values.as_slice() {
                &[value] => u32::try_from(value).ok(),
                _ => None,
            })
            .filter(|candidate| gathered.table.shape().is_some_and(|(rows, _)| (*candidate as usize) + 1 < rows))
            .collect();
        candidates.dedup();
        let is_it =
            |candidate: &u32| [1, 2, 7, COUNTED_MAX].iter().all(|&tokens| self.counts(gathered, *candidate, tokens));
        candidates.into_iter().find(is_it).ok_or_else(unknown)
    }

    fn counts(&self, gathered: &Gathered<'_, 'p>, uncounted: u32, tokens: usize) -> bool {
        let uncounted = i64::from(uncounted);
        // Every third token, the first of the second row, and a run at its end.
        let is_uncounted = |row: usize, token: usize| token % 3 == 2 - 2 * row || (row == 1 && token + 3 > tokens);
        let (mut ids, mut expected) = (Vec::new(), Vec::new());
        for row in 0..ROWS {
            let mut counted = 0;
            for token in 0..tokens {
                let is_counted = !is_uncounted(row, token);
                counted += i64::from(is_counted);
                ids.push(if is_counted { uncounted + 1 + (token % 4) as i64 } else { uncounted });
                expected.push(uncounted + if is_counted { counted } else { 0 });
            }
        }
        numbers(self.glue, &gathered.indices, &ids).is_some_and(|found| found == expected)
    }

    /// The same sum, and the same positions, at every length that they reach to.
    fn check_lengths(
        &self,
        positions: Option<&Positions>,
        constant: Option<&[f32]>,
        counted: Option<&Gathered<'_, 'p>>,
        zeros: &[Region<'p>],
    ) -> Fused<()> {
        let (glue, columns) = (self.glue, self.columns);
        if let Some(positions) = positions {
            glue.ladder.limit(positions.tokens_max());
        }
        for indices in zeros {
            let text = format!("zeros {}", glue.signature(indices));
            glue.ladder.check(&text, indices.value, false, |sample| Ok(makes_zeros(glue, indices, sample.tokens)))?;
        }
        let uncounted = positions.and_then(|positions| positions.uncounted);
        if let Some((gathered, uncounted)) = counted.zip(uncounted) {
            let text = format!("counted {uncounted} {}", glue.signature(&gathered.indices));
            glue.ladder
                .check(&text, gathered.rows, false, |sample| Ok(self.counts(gathered, uncounted, sample.tokens)))?;
        }
        let uniform = positions.filter(|_| counted.is_none());
        let table = LazyCell::new(|| uniform.map(|positions| (positions.table.to_f32(), positions.offset)));
        let offset = uniform.map(|positions| positions.offset);
        let text = format!("embedding {offset:?} {}", glue.signature(self.region));
        glue.ladder.check(&text, self.region.value, glue.regions.is_token_wise(self.region), |sample| {
            let shape = [sample.rows, sample.tokens, columns];
            let (words, rows) = (random(&shape, 5), random(&shape, 6));
            let other = counted.map(|gathered| (gathered.rows, rows.as_slice()));
            let found = self.run_with(&words, other, sample)?;
            let mut expected = words;
            for (row, sum) in expected.chunks_exact_mut(columns).enumerate() {
                let position = match &*table {
                    Some((values, offset)) => values.chunks_exact(columns).nth(row % sample.tokens + offset),
                    None => other.map(|(_, rows)| &rows[row * columns..][..columns]),
                };
                for part in position.into_iter().chain(constant) {
                    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                }
            }
            let unmasked = |values: &[f32]| sample.unmasked(values, sample.tokens, columns).concat();
            Ok(super::glue::all_close(&unmasked(&found), &unmasked(&expected)))
        })
    }

    fn run(&self, words: &[f32], other: Option<(&'p str, &[f32])>) -> Fused<Vec<f32>> {
        let cannot = |error: TractError| Unfused::new(format!("`{}` cannot be computed: {error:#}", self.region.value));
        self.run_with(words, other, Sample::SMALL).map_err(cannot)
    }

    fn run_with(&self, words: &[f32], other: Option<(&'p str, &[f32])>, sample: Sample) -> TractResult<Vec<f32>> {
        let shape = [sample.rows, sample.tokens, self.columns];
        let mut feeds = self.feeds(sample)?;
        for (source, rows) in other.into_iter().chain([(self.word_rows, words)]) {
            feeds.insert(source, tensor(&shape, rows)?);
        }
        let values = elements(&self.glue.probe.run(self.region, &feeds)?)?;
        ensure!(values.len() == shape.iter().product::<usize>(), "it makes {} elements", values.len());
        Ok(values)
    }

    /// Token type 0 for every token.
    fn feeds(&self, sample: Sample) -> TractResult<Feeds<'p>> {
        let mut feeds = self.glue.feeds(self.region, sample, self.columns)?;
        for source in self.region.data().filter(|source| *source != self.word_rows) {
            if let Some(Anchor::Embedding { table, .. }) = self.glue.regions.anchors.get(source) {
                let matrix = table.read().ok_or_else(|| format_err!("the table of `{source}` cannot be read"))?;
                let row = matrix.to_f32()[..matrix.columns()].repeat(sample.rows * sample.tokens);
                feeds.insert(source, tensor(&[sample.rows, sample.tokens, matrix.columns()], &row)?);
            }
        }
        Ok(feeds)
    }

    /// Tables that the piece may take positions from: those it gathers from, and constants that it slices.
    fn tables(&self) -> Vec<Weights<'p>> {
        let graph = self.glue.regions.graph;
        let nodes = self.region.steps.iter().filter_map(|step| match step {
            Step::Node(index) => Some(&graph.proto.node[*index]),
            Step::Linear(_) => None,
        });
        let tables = nodes.flat_map(|node| {
            let gathered = node.output.iter().filter_map(|output| match self.glue.regions.anchors.get(output) {
                Some(Anchor::Embedding { table, .. }) => Some(table.clone()),
                _ => None,
            });
            let sliced = node.input.iter().filter(|name| !name.is_empty());
            let sliced = sliced.filter_map(|name| graph.constant(name)).map(Weights::plain);
            gathered.chain(sliced).collect::<Vec<_>>()
        });
        tables.filter(|table| table.shape().is_some_and(|(_, width)| width == self.columns)).collect()
    }
}

/// What is left of the rows after the table's rows from `offset` on, if it is the same everywhere.
fn rest_after(added: &[&[f32]], table: &[f32], columns: usize, offset: usize) -> Option<Vec<f32>> {
    let rows = table.chunks_exact(columns).skip(offset);
    let rests: Vec<Vec<f32>> =
        added.iter().zip(rows).map(|(sum, row)| sum.iter().zip(row).map(|(sum, row)| sum - row).collect()).collect();
    let first = rests.first().filter(|_| rests.len() == added.len())?;
    rests.iter().all(|rest| super::glue::all_close(rest, first)).then(|| first.clone())
}

fn non_zero(constant: Vec<f32>) -> Option<Vec<f32>> {
    constant.iter().any(|&value| value != 0.0).then_some(constant)
}
