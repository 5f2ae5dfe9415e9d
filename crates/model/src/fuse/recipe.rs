//! How attention combines queries, keys and values: what can differ, and what is tried in which order.

use crate::program::{Relative, ScorePositions, Scores, Sees};
use grice_kernels::{Rotary, ScoreBias};
use std::sync::Arc;

/// Distances that DeBERTa checkpoints in the wild reach to, tried when the graph does not say.
pub(super) const MAX_POSITIONS: [usize; 6] = [512, 1024, 2048, 256, 128, 64];

/// Every assignment of three sources to queries, keys and values; the usual first.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A projection of constants, such as relative positions by a key matrix.
pub(super) type Table = Arc<Vec<f32>>;

/// How a piece combines its sources, whatever their names.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// Places of queries, keys and values among the projections, or among the thirds of the only one.
    pub(super) order: [usize; 3],
    pub(super) heads: usize,
    pub(super) scale: f32,
    pub(super) sees: Sees,
    pub(super) kind: Kind,
}

/// How scores depend on where tokens stand.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Plain,
    Relative(RelativeRecipe),
    /// For sequences of any length.
    Rotary(Rotary),
    Bias(ScoreBias),
}

/// Places of the projected position keys and queries among the constant sources.
#[derive(Clone, Copy, Debug)]
pub(super) struct RelativeRecipe {
    pub(super) keys: Option<usize>,
    pub(super) queries: Option<usize>,
    pub(super) buckets: usize,
    pub(super) max_position: usize,
}

impl Recipe {
    /// The attention with `width` columns of queries, for sequences of up to so many tokens.
    pub(super) fn scores(&self, width: usize, tables: &[Table], tokens: usize) -> Scores {
        let positions = match &self.kind {
            Kind::Plain => ScorePositions::None,
            Kind::Relative(recipe) => {
                let table = |place: Option<usize>| place.map(|place| tables[place].clone());
                let (keys, queries) = (table(recipe.keys), table(recipe.queries));
                let slots = keys.as_ref().or(queries.as_ref()).map_or(0, |table| table.len() / width);
                let RelativeRecipe { buckets, max_position, .. } = *recipe;
                ScorePositions::Disentangled(Relative { keys, queries, span: slots / 2, buckets, max_position })
            }
            Kind::Rotary(rotary) => ScorePositions::Rotary(Rotary { positions: tokens, ..*rotary }),
            Kind::Bias(bias) => ScorePositions::Bias(bias.clone()),
        };
        let (heads, scale, sees) = (self.heads, self.scale, self.sees);
        Scores { heads, key_heads: heads, head_dim: width / heads, scale, sees, positions }
    }

    /// What proofs call it.
    pub(super) fn text(&self) -> String {
        let Recipe { order, heads, scale, sees, kind } = self;
        let relative = match kind {
            Kind::Relative(relative) => Some(relative),
            _ => None,
        };
        let mut text =
            format!("Recipe {{ order: {order:?}, heads: {heads}, scale: {scale:?}, relative: {relative:?} }}");
        if *sees != Sees::All {
            text += &format!(" {sees:?}");
        }
        match kind {
            // The numbers are the piece's own.
            Kind::Rotary(_) | Kind::Bias(_) => text + &format!(" {kind:?}"),
            Kind::Plain | Kind::Relative(_) => text,
        }
    }
}

/// All that attention with `width` columns of queries may be, the usual first.
pub(super) fn recipes(width: usize, sees: Sees, kinds: &[Kind]) -> impl Iterator<Item = Recipe> {
    heads_by_likelihood(width).into_iter().flat_map(move |heads| {
        let dim = (width / heads) as f32;
        let scales = [1.0, 3.0, 2.0].map(|terms: f32| (dim * terms).sqrt().recip()).into_iter().chain([1.0]);
        let fits = move |kind: &&Kind| match kind {
            Kind::Rotary(rotary) => rotary.columns <= width / heads,
            Kind::Bias(bias) => bias.heads() == heads,
            Kind::Plain | Kind::Relative(_) => true,
        };
        scales.flat_map(move |scale| {
            ORDERS.into_iter().flat_map(move |order| {
                let kinds = kinds.iter().filter(fits).cloned();
                kinds.map(move |kind| Recipe { order, heads, scale, sees, kind })
            })
        })
    })
}

/// None, or each way to take so many constants for position keys and queries; distances as they are.
pub(super) fn relative_kinds(constants: usize) -> Vec<Kind> {
    let kind = |keys, queries| Kind::Relative(RelativeRecipe { keys, queries, buckets: 0, max_position: 0 });
    match constants {
        0 => vec![Kind::Plain],
        1 => vec![kind(Some(0), None), kind(None, Some(0))],
        2 => vec![kind(Some(0), Some(1)), kind(Some(1), Some(0))],
        _ => Vec::new(),
    }
}

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
