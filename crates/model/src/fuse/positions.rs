//! How many tokens a graph has positions for, found by computing the positions: the rows that it looks up for a sequence, whatever
//! the spelling and wherever they start.

use super::anchors::{Anchor, Anchors};
use super::glue::{Feeds, IDS, MASK};
use super::graph::{Graph, is};
use super::probe::Probe;
use super::region::Regions;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

/// Long enough to tell a count from anything else.
const TOKENS: usize = 5;
/// No padding token: no vocabulary has as many rows.
const WORD: i64 = 1 << 30;

/// The most tokens that every table of positions has a row for; `None` if the graph has no such table, or goes on beyond its end (by
/// clamping, say).
pub(crate) fn positions_of(model: &ModelProto) -> Option<usize> {
    let count = || {
        let graph = Graph::new(model.graph.as_ref()?);
        let anchors = Anchors::find(&graph);
        let regions = Regions::new(&graph, &anchors);
        let probe = Probe::new(&graph, &anchors, &model.opset_import);
        Tables { regions: &regions, probe: &probe }.fewest()
    };
    catch_unwind(AssertUnwindSafe(count)).unwrap_or(None)
}

struct Tables<'a, 'p> {
    regions: &'a Regions<'a, 'p>,
    probe: &'a Probe<'a, 'p>,
}

impl<'p> Tables<'_, 'p> {
    fn fewest(&self) -> Option<usize> {
        let gathered = self.regions.anchors.order.iter().filter_map(|output| match self.regions.anchors.get(output) {
            Some(Anchor::Embedding { indices, table }) => self.gathered(indices, table.shape()?.0),
            _ => None,
        });
        let nodes = self.regions.graph.proto.node.iter().filter(|node| is(node, "Slice"));
        let sliced = nodes.filter_map(|node| {
            let table = super::constants::matrix_dims(self.regions.graph.constant_input(node, 0)?)?;
            self.sliced(node.output.first()?, *table.first().filter(|_| table.len() == 2)?)
        });
        gathered.chain(sliced).min()
    }

    /// Of a table of `rows` rows that is looked up by `indices`.
    fn gathered(&self, indices: &'p str, rows: usize) -> Option<usize> {
        let few = self.indices(indices, TOKENS)?;
        let first = *few.first()?;
        let count = usize::try_from(first).ok().and_then(|first| rows.checked_sub(first))?;
        let counts_up = (0..).zip(few.iter()).all(|(place, &index)| index == first + place);
        if few.len() != TOKENS || !counts_up {
            return None;
        }
        let Some(beyond) = self.indices(indices, count + 1) else { return Some(count) };
        let ends = beyond.len() != count + 1 || beyond.iter().any(|&index| index >= rows as i64);
        ends.then_some(count)
    }

    /// Of a table of `rows` rows that is cut to the sequence's length.
    fn sliced(&self, output: &'p str, rows: usize) -> Option<usize> {
        let has_row_for_each = |tokens: usize| Some(self.value(output, tokens)?.shape().contains(&tokens));
        (has_row_for_each(TOKENS)? && !has_row_for_each(rows + 1)?).then_some(rows)
    }

    fn indices(&self, value: &'p str, tokens: usize) -> Option<Vec<i64>> {
        let indices = self.value(value, tokens)?;
        let indices = indices.cast_to::<i64>().ok()?;
        Some(indices.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec())
    }

    /// What the graph makes for one sequence without padding.
    fn value(&self, value: &'p str, tokens: usize) -> Option<Tensor> {
        let region = self.regions.between("", value);
        // A constant, or an input as it is.
        if region.steps.is_empty() {
            return None;
        }
        let mut feeds = Feeds::new();
        for &source in &region.sources {
            let element = match source {
                IDS => WORD,
                MASK => 1,
                _ => 0,
            };
            feeds.insert(source, Tensor::from_shape(&[1, tokens], &vec![element; tokens]).ok()?);
        }
        self.probe.run(&region, &feeds).ok()
    }
}
