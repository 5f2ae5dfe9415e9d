//! Attention, recognised by what it computes out of queries, keys and values.
//!
//! All that can differ is tried: which projection is which, how many heads, how scores are scaled, how relative positions are
//! added. Five tokens tell these apart. How far distances are bucketed shows only in longer sequences, which are run next; and what is
//! found must hold in sequences of every length, so that attention to neighbours only is not taken for attention to all.

use super::encoder::Encoder;
use super::glue::{MASK, all_close};
use super::glue::{TOKENS, elements, random, scaled, tensor};
use super::ladder::Sample;
use super::region::Region;
use super::{Fused, Unfused};
use crate::program::{Relative, ScorePositions, Scores, Sees};
use grice_kernels::{Kernels, Queries, Rounding, Rows};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ensure;

/// What was found for a piece, by its signature: places of queries, keys and values among the piece's sources, and how they
/// are combined.
pub(super) type Known = RefCell<HashMap<String, Recipe>>;

/// Distances that DeBERTa checkpoints in the wild reach to, tried when the graph does not say.
const MAX_POSITIONS: [usize; 6] = [512, 1024, 2048, 256, 128, 64];
/// Tokens of row 1 that are masked.
const MASKED: usize = 2;
/// Scores of one piece in more bytes than this are not computed to compare them.
const SCORE_BYTES: usize = 3 << 29;

/// How a piece combines its sources, whatever their names.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// Places of queries, keys and values among the projections.
    order: [usize; 3],
    heads: usize,
    scale: f32,
    /// Places of the projected position keys and queries among the constant sources.
    relative: Option<RelativeRecipe>,
}

#[derive(Clone, Copy, Debug)]
struct RelativeRecipe {
    keys: Option<usize>,
    queries: Option<usize>,
    buckets: usize,
    max_position: usize,
}

/// A projection of constants, such as relative positions by a key matrix.
type Table = Arc<Vec<f32>>;

impl<'p> Encoder<'_, 'p> {
    /// The attention that makes the value of `region`, and which projection is query, key and value.
    pub(super) fn fuse_attention(
        &self,
        region: &Region<'p>,
        projections: [&'p str; 3],
    ) -> Fused<(Scores, [&'p str; 3])> {
        // In the order in which the piece reads them, which is the same in pieces of the same signature.
        let ordered: Vec<&str> = region.sources.iter().copied().filter(|source| projections.contains(source)).collect();
        let constants: Vec<&str> = region
            .data()
            .filter(|source| *source != MASK && !projections.contains(source) && !self.glue.regions.varies(source))
            .collect();
        let known: Vec<&str> = ordered.iter().chain(&constants).copied().collect();
        if !self.glue.reads_only(region, &known) || ordered.len() != 3 {
            return Err(Unfused::new(format!(
                "attention `{}` reads [{}], more than queries, keys, values and positions",
                region.value,
                region.sources.join(", ")
            )));
        }
        let tables = constants.iter().map(|constant| self.table(constant)).collect::<Fused<Vec<Table>>>()?;
        let signature = self.glue.signature(region);
        let known = self.attentions.borrow().get(&signature).cloned();
        let recipe = match known {
            Some(recipe) => recipe,
            None => {
                let trial =
                    Trial { encoder: self, region, projections: &ordered, constants: &constants, tables: &tables };
                let recipe = trial.find()?;
                let text = format!("attention {recipe:?} {signature}");
                let kernels = Kernels::new(1);
                self.glue.ladder.check(&text, region.value, false, |sample| trial.holds(&kernels, &recipe, sample))?;
                self.attentions.borrow_mut().insert(signature, recipe.clone());
                recipe
            }
        };
        let order = recipe.order.map(|place| ordered[place]);
        Ok((recipe.attention(self.columns, &tables), order))
    }

    /// A dense layer applied to constants: `[slots, columns]`.
    fn table(&self, output: &'p str) -> Fused<Table> {
        let linear = self.linear(output)?;
        let cannot = || Unfused::new(format!("the positions projected by `{output}` cannot be computed"));
        let Some(super::anchors::Anchor::Linear { input, .. }) = self.glue.regions.anchors.get(output) else {
            return Err(cannot());
        };
        let positions = self.glue.constant_value(input, TOKENS, self.columns)?;
        let positions = elements(&positions).map_err(|_| cannot())?;
        let (inputs, outputs) = (linear.inputs(), linear.outputs());
        if outputs != self.columns || positions.is_empty() || positions.len() % inputs != 0 {
            return Err(cannot());
        }
        let mut table = vec![0.0; positions.len() / inputs * outputs];
        crate::fold::project(&positions, &linear, &mut table).map_err(|_| cannot())?;
        Ok(Arc::new(table))
    }
}

impl Recipe {
    fn attention(&self, columns: usize, tables: &[Table]) -> Scores {
        let relative = self.relative.map(|recipe| {
            let table = |place: Option<usize>| place.map(|place| tables[place].clone());
            let (keys, queries) = (table(recipe.keys), table(recipe.queries));
            let slots = keys.as_ref().or(queries.as_ref()).map_or(0, |table| table.len() / columns);
            let (buckets, max_position) = (recipe.buckets, recipe.max_position);
            Relative { keys, queries, span: slots / 2, buckets, max_position }
        });
        let (heads, head_dim) = (self.heads, columns / self.heads);
        let positions = relative.map_or(ScorePositions::None, ScorePositions::Disentangled);
        Scores { heads, key_heads: heads, head_dim, scale: self.scale, sees: Sees::All, positions }
    }
}

/// One piece under trial.
struct Trial<'t, 'p> {
    encoder: &'t Encoder<'t, 'p>,
    region: &'t Region<'p>,
    projections: &'t [&'p str],
    constants: &'t [&'p str],
    tables: &'t [Table],
}

/// Inputs, and what the piece makes of them.
struct Run {
    sample: Sample,
    projections: Vec<Vec<f32>>,
    found: Vec<f32>,
}

impl<'p> Trial<'_, 'p> {
    fn find(&self) -> Fused<Recipe> {
        let unknown = |detail: &str| {
            Unfused::new(format!("attention `{}` is of a kind unknown to grice{detail}", self.region.value))
        };
        let small = |tokens| self.run(Sample { tokens, kept: tokens - MASKED, ..Sample::SMALL });
        let run = small(TOKENS).map_err(|error| unknown(&format!(" ({error:#})")))?;
        let columns = self.encoder.columns;
        let kernels = Kernels::new(1);
        let relatives = self.relative_recipes();
        let mut recipes = heads_by_likelihood(columns).into_iter().flat_map(|heads| {
            let relatives = &relatives;
            let dim = (columns / heads) as f32;
            let scales = [1.0, 3.0, 2.0].map(|terms: f32| (dim * terms).sqrt().recip()).into_iter().chain([1.0]);
            scales.flat_map(move |scale| {
                ORDERS.into_iter().flat_map(move |order| {
                    relatives.iter().map(move |&relative| Recipe { order, heads, scale, relative })
                })
            })
        });
        let mut recipe =
            recipes.find(|recipe| self.fits(&kernels, recipe, &run)).ok_or_else(|| unknown(" in heads and scale"))?;
        let Some(relative) = recipe.relative else { return Ok(recipe) };
        let slots = self.tables[0].len() / columns;
        // Far enough for distances beyond the middle of the buckets.
        let mid = slots / 4;
        let run = small(mid + mid / 2 + 8).map_err(|error| unknown(&format!(" ({error:#})")))?;
        let max_positions = self.hinted_positions(mid).into_iter().chain(MAX_POSITIONS);
        let buckets = max_positions.map(|max_position| (slots / 2, max_position)).chain([(0, slots / 2)]);
        for (buckets, max_position) in buckets {
            recipe.relative = Some(RelativeRecipe { buckets, max_position, ..relative });
            if self.fits(&kernels, &recipe, &run) {
                return Ok(recipe);
            }
        }
        Err(unknown(" in its relative positions"))
    }

    /// None, or each way to take the constants for position keys and queries; distances as they are.
    fn relative_recipes(&self) -> Vec<Option<RelativeRecipe>> {
        let recipe = |keys, queries| Some(RelativeRecipe { keys, queries, buckets: 0, max_position: 0 });
        match self.constants.len() {
            0 => vec![None],
            1 => vec![recipe(Some(0), None), recipe(None, Some(0))],
            2 => vec![recipe(Some(0), Some(1)), recipe(Some(1), Some(0))],
            _ => Vec::new(),
        }
    }

    /// What exporters leave of the last distance: `ln((max_position − 1) / mid)` as a constant.
    fn hinted_positions(&self, mid: usize) -> Vec<usize> {
        let graph = self.encoder.glue.regions.graph;
        let nodes = self.region.steps.iter().filter_map(|step| match step {
            super::region::Step::Node(index) => Some(&graph.proto.node[*index]),
            super::region::Step::Linear(_) => None,
        });
        let inputs = nodes.flat_map(|node| &node.input).filter(|name| !name.is_empty());
        let scalars = inputs.filter_map(|name| super::constants::float(graph.constant(name)?));
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
        let Some(super::anchors::Anchor::Linear { input, .. }) = glue.regions.anchors.get(constant) else {
            return true;
        };
        let value = |tokens| glue.constant_value(input, tokens, self.encoder.columns).ok();
        let (few, many) = (value(TOKENS), value(tokens));
        few.zip(many).is_some_and(|(few, many)| few.shape() == many.shape() && few == many)
    }

    fn run(&self, sample: Sample) -> TractResult<Run> {
        let (glue, columns) = (self.encoder.glue, self.encoder.columns);
        let Sample { rows, tokens, .. } = sample;
        let mut feeds = glue.feeds(self.region, sample, columns)?;
        feeds.insert(MASK, Tensor::from_shape(&[rows, tokens], &sample.mask())?);
        let mut projections = Vec::new();
        for (seed, projection) in self.projections.iter().enumerate() {
            let shape = [rows, glue.tokens_in(projection, tokens), columns];
            // Whichever is the query, scores are as much larger.
            let factor = if seed == 0 { sample.factor } else { 1.0 };
            let values = scaled(random(&shape, 7 + seed as u64), factor);
            feeds.insert(projection, tensor(&shape, &values)?);
            projections.push(values);
        }
        for (constant, table) in self.constants.iter().zip(self.tables) {
            let slots = table.len() / columns;
            feeds.insert(constant, tensor(&self.constant_shape(constant, slots), table)?);
        }
        let found = elements(&glue.probe.run(self.region, &feeds)?)?;
        let tokens_made = if self.single_query().is_some() { 1 } else { tokens };
        ensure!(found.len() == rows * tokens_made * columns, "it makes {} elements", found.len());
        Ok(Run { sample, projections, found })
    }

    /// Projected positions have a leading axis of one in most exports.
    fn constant_shape(&self, constant: &'p str, slots: usize) -> Vec<usize> {
        let glue = self.encoder.glue;
        let input = match glue.regions.anchors.get(constant) {
            Some(super::anchors::Anchor::Linear { input, .. }) => *input,
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
        let columns = self.encoder.columns;
        let queries = match self.single_query() {
            Some(place) if place != recipe.order[0] => return false,
            Some(_) => Queries::First,
            None => Queries::All,
        };
        let sample = run.sample;
        let packed = |values: &[f32], tokens: usize| sample.unmasked(values, tokens, columns).concat();
        let [query, key, value] = recipe.order.map(|place| {
            packed(&run.projections[place], self.encoder.glue.tokens_in(self.projections[place], sample.tokens))
        });
        let rows = |data| Rows { data, stride: columns, offset: 0 };
        let attention = recipe.attention(columns, self.tables);
        let lengths = [sample.tokens, sample.kept].into_iter().take(sample.rows);
        let offsets: Vec<u32> = std::iter::once(0)
            .chain(lengths.scan(0, |end, length| {
                *end += length as u32;
                Some(*end)
            }))
            .collect();
        let mut out = vec![0.0; query.len()];
        let relative = attention.relative().map(|relative| relative.pack(attention.heads, attention.head_dim));
        let Ok(relative) = relative.transpose() else { return false };
        let shape = attention.shape(Rounding::Stepwise);
        let (query, key, value) = (rows(&query), rows(&key), rows(&value));
        let ran =
            kernels.attention(&query, &key, &value, &offsets, queries, &shape, relative.as_ref().into(), &mut out);
        let made = if queries == Queries::First { 1 } else { sample.tokens };
        ran.is_ok() && all_close(&packed(&run.found, made), &out)
    }
}

/// Every assignment of three sources to queries, keys and values; the usual first.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Numbers of heads that divide the columns, those with the usual width first.
fn heads_by_likelihood(columns: usize) -> Vec<usize> {
    let mut heads: Vec<usize> =
        (1..=columns).filter(|heads| columns.is_multiple_of(*heads) && columns / heads <= 512).collect();
    heads.sort_by_key(|heads| match columns / heads {
        64 => 0,
        32 => 1,
        dim if dim >= 8 && dim.is_power_of_two() => 2,
        _ => 3,
    });
    heads
}
