//! Attention, recognised by what it computes out of queries, keys and values.
//!
//! All that can differ is tried: which projection is which, how many heads, how scores are scaled, how positions take part. Five tokens
//! tell these apart. How far distances are bucketed, and how far a query sees, shows only in longer sequences, which are run next; and
//! what is found must hold in sequences of every length, so that attention to neighbours only is not taken for attention to all.

use super::anchors::Anchor;
use super::constants::float;
use super::distances::{FAR, biases, compares, rotaries};
use super::encoder::Encoder;
use super::glue::{MASK, all_close, elements, random, tensor};
use super::recipe::{Kind, MAX_POSITIONS, Recipe, RelativeRecipe, Table, recipes, relative_kinds};
use super::region::{Region, Step};
use super::sample::{Sample, TOKENS};
use super::unfused::Fused;
use crate::program::{ScorePositions, Scores, Sees, Unfused};
use grice_kernels::{ByDistance, Kernels, Queries, Rounding, Rows, ShapeError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ensure;

/// What was found for a piece, by its signature.
pub(super) type Known = RefCell<HashMap<String, Recipe>>;

/// Tokens of row 1 that are masked.
const MASKED: usize = 2;
/// Scores of one piece in more bytes than this are not computed to compare them.
const SCORE_BYTES: usize = 3 << 29;

/// The attention that makes the value of `region`, and which of its projections is query, key and value: three dense layers, or one whose
/// thirds they are. Queries have `width` columns.
pub(super) fn fuse_attention<'p>(
    encoder: &Encoder<'_, 'p>,
    known: &Known,
    region: &Region<'p>,
    projections: &[&'p str],
    width: usize,
) -> Fused<(Scores, [(&'p str, usize); 3])> {
    // In the order in which the piece reads them, which is the same in pieces of the same signature.
    let ordered: Vec<&str> = region.sources.iter().copied().filter(|source| projections.contains(source)).collect();
    let constants: Vec<&str> = region
        .data()
        .filter(|source| *source != MASK && !projections.contains(source) && !encoder.glue.regions.varies(source))
        .collect();
    let read: Vec<&str> = ordered.iter().chain(&constants).copied().collect();
    if !encoder.glue.reads_only(region, &read) || ordered.len() != projections.len() {
        return Err(Unfused::new(format!(
            "attention `{}` reads [{}], more than queries, keys, values and positions",
            region.value,
            region.sources.join(", ")
        )));
    }
    let tables = constants.iter().map(|constant| table(encoder, constant)).collect::<Fused<Vec<Table>>>()?;
    let signature = encoder.glue.signature(region);
    let found = known.borrow().get(&signature).cloned();
    let recipe = match found {
        Some(recipe) => recipe,
        None => {
            let trial = Trial { encoder, region, projections: &ordered, constants: &constants, tables: &tables, width };
            let text_of = |recipe: &Recipe| format!("attention {} {signature}", recipe.text());
            let recipe = trial.find(|recipe| encoder.glue.ladder.knows(&text_of(recipe)))?;
            let text = text_of(&recipe);
            let kernels = Kernels::new(1);
            encoder.glue.ladder.check(&text, region.value, false, |sample| trial.holds(&kernels, &recipe, sample))?;
            known.borrow_mut().insert(signature, recipe.clone());
            recipe
        }
    };
    let place = |place: usize| match ordered.as_slice() {
        &[only] => (only, place * width),
        several => (several[place], 0),
    };
    Ok((recipe.scores(width, &tables, encoder.glue.ladder.up_to()), recipe.order.map(place)))
}

/// A dense layer applied to constants: `[slots, columns]`.
fn table<'p>(encoder: &Encoder<'_, 'p>, output: &'p str) -> Fused<Table> {
    let linear = encoder.linear(output)?;
    let cannot = || Unfused::new(format!("the positions projected by `{output}` cannot be computed"));
    let Some(Anchor::Linear { input, .. }) = encoder.glue.regions.anchors.get(output) else {
        return Err(cannot());
    };
    let positions = encoder.glue.constant_value(input, TOKENS, encoder.columns)?;
    let positions = elements(&positions).map_err(|_| cannot())?;
    let (inputs, outputs) = (linear.inputs(), linear.outputs());
    if outputs != encoder.columns || positions.is_empty() || positions.len() % inputs != 0 {
        return Err(cannot());
    }
    let mut table = vec![0.0; positions.len() / inputs * outputs];
    crate::fold::project(&positions, &linear, &mut table).map_err(|_| cannot())?;
    Ok(Arc::new(table))
}

/// One piece under trial.
struct Trial<'t, 'p> {
    encoder: &'t Encoder<'t, 'p>,
    region: &'t Region<'p>,
    /// Three, or one that is all three side by side.
    projections: &'t [&'p str],
    constants: &'t [&'p str],
    tables: &'t [Table],
    width: usize,
}

/// Inputs, and what the piece makes of them.
struct Run {
    sample: Sample,
    projections: Vec<Vec<f32>>,
    found: Vec<f32>,
}

impl<'p> Trial<'_, 'p> {
    /// The recipe. How far a query sees is measured, unless the recipe by which it sees all is known to be right.
    fn find(&self, is_known: impl Fn(&Recipe) -> bool) -> Fused<Recipe> {
        let recipe = self.find_where(Sees::All);
        if recipe.as_ref().is_ok_and(is_known) {
            return recipe;
        }
        match self.sees().map_err(|error| self.unknown(&format!(" ({error:#})")))? {
            Sees::All => recipe,
            sees => self.find_where(sees),
        }
    }

    fn unknown(&self, detail: &str) -> Unfused {
        Unfused::new(format!("attention `{}` is of a kind unknown to grice{detail}", self.region.value))
    }

    fn find_where(&self, sees: Sees) -> Fused<Recipe> {
        let unknown = |detail: &str| self.unknown(detail);
        let failed = |error: TractError| unknown(&format!(" ({error:#})"));
        let small = |tokens| self.run(Sample { tokens, kept: tokens - MASKED, ..Sample::SMALL });
        let run = small(TOKENS).map_err(failed)?;
        let kernels = Kernels::new(1);
        let kinds = self.kinds();
        let mut recipe = recipes(self.width, sees, &kinds)
            .find(|recipe| self.fits(&kernels, recipe, &run))
            .ok_or_else(|| unknown(" in heads and scale"))?;
        let Kind::Relative(relative) = recipe.kind else { return Ok(recipe) };
        let slots = self.tables[0].len() / self.width;
        // Far enough for distances beyond the middle of the buckets.
        let mid = slots / 4;
        let run = small(mid + mid / 2 + 8).map_err(failed)?;
        let max_positions = self.hinted_positions(mid).into_iter().chain(MAX_POSITIONS);
        let buckets = max_positions.map(|max_position| (slots / 2, max_position)).chain([(0, slots / 2)]);
        for (buckets, max_position) in buckets {
            recipe.kind = Kind::Relative(RelativeRecipe { buckets, max_position, ..relative });
            if self.fits(&kernels, &recipe, &run) {
                return Ok(recipe);
            }
        }
        Err(unknown(" in its relative positions"))
    }

    fn kinds(&self) -> Vec<Kind> {
        let glue = self.encoder.glue;
        let mut kinds = relative_kinds(self.constants.len());
        if self.constants.is_empty() {
            kinds.extend(rotaries(glue, self.region).into_iter().map(Kind::Rotary));
            kinds.extend(biases(glue, self.region, self.encoder.columns).into_iter().map(Kind::Bias));
        }
        kinds
    }

    /// How far a query sees. With zeros for queries and keys, the mean of all values that it sees comes out; the value of token 0 alone is not
    /// zero.
    fn sees(&self) -> TractResult<Sees> {
        // Where positions are projected, comparisons are theirs.
        if !self.constants.is_empty() || !compares(self.encoder.glue, self.region) {
            return Ok(Sees::All);
        }
        let tokens = self.encoder.glue.ladder.up_to().clamp(TOKENS, FAR + 1);
        let sample = Sample { rows: 1, tokens, kept: tokens, factor: 1.0 };
        for value in 0..3 {
            let mut projections = self.zeros(sample);
            let (place, offset) = if self.projections.len() == 1 { (0, value * self.width) } else { (value, 0) };
            projections[place][offset..][..self.width].fill(1.0);
            let found = self.run_with(sample, projections)?.found;
            let seen: Vec<bool> = found.chunks_exact(self.width).map(|row| row[0] > 0.0).collect();
            let reach = seen.iter().take_while(|seen| **seen).count();
            match reach {
                // It was no value.
                0 => continue,
                reach if reach == seen.len() => return Ok(Sees::All),
                reach => return Ok(Sees::Window(reach - 1)),
            }
        }
        Ok(Sees::All)
    }

    /// What exporters leave of the last distance: `ln((max_position − 1) / mid)` as a constant.
    fn hinted_positions(&self, mid: usize) -> Vec<usize> {
        let graph = self.encoder.glue.regions.graph;
        let nodes = self.region.steps.iter().filter_map(|step| match step {
            Step::Node(index) => Some(&graph.proto.node[*index]),
            Step::Linear(_) => None,
        });
        let inputs = nodes.flat_map(|node| &node.input).filter(|name| !name.is_empty());
        let scalars = inputs.filter_map(|name| float(graph.constant(name)?));
        let positions = scalars.map(|value| (value.exp() * mid as f32 + 1.0).round());
        positions.filter(|position| (2.0..=1e6).contains(position)).map(|position| position as usize).collect()
    }

    /// Whether the recipe makes the same as the piece in sequences of another length.
    fn holds(&self, kernels: &Kernels, recipe: &Recipe, sample: Sample) -> TractResult<bool> {
        let scores = sample.rows * recipe.heads * sample.tokens * sample.tokens;
        ensure!(scores * size_of::<f32>() <= SCORE_BYTES, "its scores fill the memory");
        for &constant in self.constants {
            if !self.is_same_table(constant, sample.tokens) {
                return Ok(false);
            }
        }
        Ok(self.fits(kernels, recipe, &self.run(sample)?))
    }

    /// Whether constants are projected that do not change with the number of tokens.
    fn is_same_table(&self, constant: &'p str, tokens: usize) -> bool {
        let glue = self.encoder.glue;
        let Some(Anchor::Linear { input, .. }) = glue.regions.anchors.get(constant) else {
            return true;
        };
        let value = |tokens| glue.constant_value(input, tokens, self.encoder.columns).ok();
        let (few, many) = (value(TOKENS), value(tokens));
        few.zip(many).is_some_and(|(few, many)| few.shape() == many.shape() && few == many)
    }

    /// The form of what a projection makes.
    fn shape(&self, projection: &'p str, sample: Sample) -> [usize; 3] {
        let columns = if self.projections.len() == 1 { 3 * self.width } else { self.width };
        [sample.rows, self.encoder.glue.tokens_in(projection, sample.tokens), columns]
    }

    fn zeros(&self, sample: Sample) -> Vec<Vec<f32>> {
        let shapes = self.projections.iter().map(|projection| self.shape(projection, sample));
        shapes.map(|shape| vec![0.0; shape.iter().product()]).collect()
    }

    fn run(&self, sample: Sample) -> TractResult<Run> {
        let mut projections = Vec::new();
        for (seed, projection) in self.projections.iter().enumerate() {
            let shape = self.shape(projection, sample);
            let mut values = random(&shape, 7 + seed as u64);
            // Whichever is the query, scores are as much larger.
            for row in values.chunks_exact_mut(shape[2]).filter(|_| seed == 0) {
                row[..self.width].iter_mut().for_each(|value| *value *= sample.factor);
            }
            projections.push(values);
        }
        self.run_with(sample, projections)
    }

    fn run_with(&self, sample: Sample, projections: Vec<Vec<f32>>) -> TractResult<Run> {
        let (glue, width) = (self.encoder.glue, self.width);
        let Sample { rows, tokens, .. } = sample;
        let mut feeds = glue.feeds(self.region, sample, self.encoder.columns)?;
        feeds.insert(MASK, Tensor::from_shape(&[rows, tokens], &sample.mask())?);
        for (projection, values) in self.projections.iter().zip(&projections) {
            feeds.insert(projection, tensor(&self.shape(projection, sample), values)?);
        }
        for (constant, table) in self.constants.iter().zip(self.tables) {
            let slots = table.len() / width;
            feeds.insert(constant, tensor(&self.constant_shape(constant, slots), table)?);
        }
        let found = elements(&glue.probe.run(self.region, &feeds)?)?;
        let tokens_made = if self.single_query().is_some() { 1 } else { tokens };
        ensure!(found.len() == rows * tokens_made * width, "it makes {} elements", found.len());
        Ok(Run { sample, projections, found })
    }

    /// Projected positions have a leading axis of one in most exports.
    fn constant_shape(&self, constant: &'p str, slots: usize) -> Vec<usize> {
        let glue = self.encoder.glue;
        let input = match glue.regions.anchors.get(constant) {
            Some(Anchor::Linear { input, .. }) => *input,
            _ => constant,
        };
        let value = glue.constant_value(input, TOKENS, self.encoder.columns);
        let mut shape = value.map(|value| value.shape().to_vec()).unwrap_or_else(|_| vec![1, slots, 0]);
        if let Some(last) = shape.last_mut() {
            *last = self.encoder.columns;
        }
        shape
    }

    /// The place of the projection that has one token for each sequence.
    fn single_query(&self) -> Option<usize> {
        self.projections.iter().position(|projection| self.encoder.glue.tokens_of(projection) == 1)
    }

    /// Whether attention by the recipe makes the same of the sample, where tokens are not masked.
    fn fits(&self, kernels: &Kernels, recipe: &Recipe, run: &Run) -> bool {
        let sample = run.sample;
        let queries = match self.single_query() {
            Some(place) if place != recipe.order[0] => return false,
            Some(_) => Queries::First,
            None => Queries::All,
        };
        let parts = recipe.order.map(|place| self.part(run, place));
        let lengths = [sample.tokens, sample.kept].into_iter().take(sample.rows);
        let offsets: Vec<u32> = std::iter::once(0)
            .chain(lengths.scan(0, |end, length| {
                *end += length as u32;
                Some(*end)
            }))
            .collect();
        let scores = recipe.scores(self.width, self.tables, sample.tokens);
        let made = if queries == Queries::First { 1 } else { sample.tokens };
        let found = sample.unmasked(&run.found, made, self.width).concat();
        attend(kernels, parts, &offsets, queries, &scores).is_ok_and(|out| all_close(&found, &out))
    }

    /// Queries, keys or values: the rows of tokens that are not masked.
    fn part(&self, run: &Run, place: usize) -> Vec<f32> {
        let (number, offset) = if self.projections.len() == 1 { (0, place * self.width) } else { (place, 0) };
        let [_, tokens, columns] = self.shape(self.projections[number], run.sample);
        let rows = run.sample.unmasked(&run.projections[number], tokens, columns);
        rows.into_iter().flat_map(|row| &row[offset..][..self.width]).copied().collect()
    }
}

/// What the kernels make of queries, keys and values, each `[rows, heads · head_dim]`.
fn attend(
    kernels: &Kernels,
    [mut query, mut key, value]: [Vec<f32>; 3],
    offsets: &[u32],
    queries: Queries,
    scores: &Scores,
) -> Result<Vec<f32>, ShapeError> {
    let Scores { heads, head_dim, .. } = *scores;
    let width = heads * head_dim;
    if let Some(rotary) = scores.rotary() {
        let table = rotary.table()?;
        let turn = |rows: &mut [f32]| kernels.rotate(rows, width, 0, heads, head_dim, offsets, &[], &table);
        turn(&mut key)?;
        // Token 0 stands where nothing turns.
        if queries == Queries::All {
            turn(&mut query)?;
        }
    }
    let relative = scores.relative().map(|relative| relative.pack(heads, head_dim)).transpose()?;
    let by_distance = match (&relative, &scores.positions) {
        (Some(relative), _) => ByDistance::Relative(relative),
        (None, ScorePositions::Bias(bias)) => ByDistance::Bias(bias),
        _ => ByDistance::Nothing,
    };
    let mut out = vec![0.0; query.len()];
    let [query, key, value] = [&query, &key, &value].map(|data| Rows { data, stride: width, offset: 0 });
    let shape = scores.shape(Rounding::Stepwise);
    kernels.attention(&query, &key, &value, offsets, queries, &shape, by_distance, &mut out)?;
    Ok(out)
}
