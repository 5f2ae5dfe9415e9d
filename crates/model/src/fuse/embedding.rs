//! The first layer norm and what it normalises: rows of the word table, of the position table, and constants.

use super::anchors::{Anchor, Stored, Weights};
use super::glue::{Feeds, Glue, IDS, MASK, ROWS, TOKENS, TYPES, elements, random, tensor};
use super::ladder::Sample;
use super::region::{Region, Step};
use super::{Fused, Unfused};
use crate::program::{Embedding, Positions};
use grice_kernels::LayerNorm;
use std::sync::Arc;
use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{ensure, format_err};

/// Rows that position tables leave free at their start, at most: RoBERTa's begins at 2.
const OFFSET_MAX: usize = 2;

/// An embedding whose word table is still in the file.
pub(super) struct Draft {
    words: Stored,
    positions: Option<Positions>,
    constant: Option<Vec<f32>>,
    pub(super) norm: LayerNorm,
}

impl Draft {
    /// Moves the word table out of the file.
    pub(super) fn finish(self, graph: &mut GraphProto) -> Fused<Embedding> {
        let Draft { words, positions, mut constant, norm } = self;
        let taken = words.take(graph).ok_or_else(|| Unfused::new("the word embedding cannot be read"))?;
        let (words, shift) = taken;
        if shift != 0.0 {
            let constant = constant.get_or_insert_with(|| vec![0.0; words.columns()]);
            constant.iter_mut().for_each(|element| *element += shift);
        }
        Ok(Embedding { words: Arc::new(words), positions, constant, norm })
    }
}

/// The embedding, and the value it makes.
pub(super) fn fuse_embedding<'p>(glue: &Glue<'_, 'p>) -> Fused<(Draft, &'p str)> {
    let mut norms =
        glue.regions.anchors.order.iter().copied().filter_map(|output| match glue.regions.anchors.get(output) {
            Some(Anchor::Norm { input, norm }) if glue.regions.varies(output) => Some((output, *input, norm)),
            _ => None,
        });
    let (output, input, norm) = norms.next().ok_or_else(|| Unfused::new("it has no layer norm"))?;
    let region = glue.regions.back_from(input);
    let (word_rows, table) = find_words(glue, &region)?;
    let columns = table.shape().map_or(0, |(_, columns)| columns);
    if columns != norm.gamma.len() {
        return Err(Unfused::new(format!(
            "the embedding `{word_rows}` has another width than the layer norm after it"
        )));
    }
    let sum = Sum { glue, region: &region, word_rows, columns };
    let (positions, constant) = sum.split()?;
    sum.check_lengths(positions.as_ref(), constant.as_deref())?;
    let words = table.stored().ok_or_else(|| Unfused::new(format!("the table of `{word_rows}` cannot be read")))?;
    Ok((Draft { words, positions, constant, norm: norm.clone() }, output))
}

/// The table gathered by the token ids.
fn find_words<'a, 'p>(glue: &'a Glue<'_, 'p>, region: &Region<'p>) -> Fused<(&'p str, &'a Weights<'p>)> {
    let mut found = None;
    for source in region.data() {
        let by_types = match glue.regions.anchors.get(source) {
            Some(Anchor::Embedding { indices, table }) if glue.regions.varies(source) => {
                let indices = glue.regions.back_from(indices);
                match indices.data().collect::<Vec<_>>().as_slice() {
                    [IDS] if found.is_none() => {
                        found = Some((source, table));
                        continue;
                    }
                    [TYPES] => true,
                    _ => false,
                }
            }
            _ => source == MASK || source == TYPES,
        };
        if !by_types {
            return Err(Unfused::new(format!("the first layer norm also reads `{source}`")));
        }
    }
    found.ok_or_else(|| Unfused::new("no embedding is gathered by `input_ids` before the first layer norm"))
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
        let run = |words: &[f32]| self.run(words, Sample::SMALL).map_err(|error| self.cannot(&error));
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
                    return Ok((Some(Positions { table: Arc::new(matrix), offset }), non_zero(constant)));
                }
            }
        }
        Err(Unfused::new(format!("`{}` depends on positions in an unknown way", self.region.value)))
    }

    /// The same sum at every length that the positions reach to.
    fn check_lengths(&self, positions: Option<&Positions>, constant: Option<&[f32]>) -> Fused<()> {
        let (glue, columns) = (self.glue, self.columns);
        if let Some(positions) = positions {
            glue.ladder.limit(positions.table.rows().saturating_sub(positions.offset));
        }
        let table = positions.map(|positions| (positions.table.to_f32(), positions.offset));
        let text = format!("embedding {:?} {}", table.as_ref().map(|table| table.1), glue.signature(self.region));
        glue.ladder.climb(&text, self.region.value, glue.regions.is_token_wise(self.region), |sample| {
            let words = random(&[sample.rows, sample.tokens, columns], 5);
            let found = self.run(&words, sample)?;
            let mut expected = words;
            for (row, sum) in expected.chunks_exact_mut(columns).enumerate() {
                let position = table.as_ref().map(|(values, offset)| {
                    values.chunks_exact(columns).nth(row % sample.tokens + offset).unwrap_or_default()
                });
                for part in position.into_iter().chain(constant) {
                    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                }
            }
            let unmasked = |values: &[f32]| sample.unmasked(values, sample.tokens, columns).concat();
            Ok(super::glue::all_close(&unmasked(&found), &unmasked(&expected)))
        })
    }

    fn cannot(&self, error: &TractError) -> Unfused {
        Unfused::new(format!("`{}` cannot be computed: {error:#}", self.region.value))
    }

    fn run(&self, words: &[f32], sample: Sample) -> TractResult<Vec<f32>> {
        let shape = [sample.rows, sample.tokens, self.columns];
        let mut feeds = self.feeds(sample)?;
        feeds.insert(self.word_rows, tensor(&shape, words)?);
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
