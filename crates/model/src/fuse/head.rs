//! The head: what follows token 0 of the last hidden states, as a graph of its own for tract, and as dense layers where that is what
//! it is.
//!
//! Heads side by side (one for each maxim, say) become one chain: their first layers side by side, and from the second on matrices
//! with a block for each head and zeros elsewhere, which is little work beside an encoder and a fraction of the calls.

use super::encoder::{Encoder, Site};
use super::glue::{elements, random, tensor};
use super::norms::Normed;
use super::sample::ROWS;
use super::unfused::Fused;
use crate::program::{Dense, Unfused};
use crate::weights::{Linear, Matrix, Values};
use grice_kernels::Activation;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tract_onnx::prelude::TypedModel;

/// Elements that a matrix of blocks may have for each element of a block: as many heads side by side.
const BLOCKS_MAX: usize = 16;

/// Both forms.
pub(super) struct Draft {
    pub(super) graph: TypedModel,
    pub(super) layers: Fused<Vec<Dense>>,
}

/// A dense layer of a head.
struct Block {
    /// What it makes.
    output: String,
    linear: Linear,
    /// The row of the whole matrix at which its rows begin: 0, or where what it reads begins.
    start: usize,
}

/// What makes `output` out of token 0 of `hidden`.
pub(super) fn fuse_head<'p>(encoder: &Encoder<'_, 'p>, hidden: &'p str, output: &'p str) -> Fused<Draft> {
    let finder = Finder { encoder };
    let first = finder.first_token(hidden)?;
    let region = encoder.glue.regions.between(first, output);
    if region.sources != [first] {
        let others: Vec<&str> = region.sources.iter().copied().filter(|source| *source != first).collect();
        return Err(Unfused::new(format!("the head reads more than token 0: {}", others.join(", "))));
    }
    let graph = encoder.glue.probe.typed(&region, encoder.columns);
    let graph = graph.map_err(|error| Unfused::new(format!("the head cannot be imported: {error:#}")))?;
    Ok(Draft { graph, layers: finder.layers(hidden, output) })
}

struct Finder<'e, 'p> {
    encoder: &'e Encoder<'e, 'p>,
}

impl<'p> Finder<'_, 'p> {
    /// The value that is token 0 of `hidden`.
    fn first_token(&self, hidden: &'p str) -> Fused<&'p str> {
        let graph = self.encoder.glue.regions.graph;
        let mut waiting = VecDeque::from([hidden]);
        let mut seen = HashSet::new();
        while let Some(value) = waiting.pop_front() {
            let region = self.encoder.glue.regions.back_from(value);
            if !self.encoder.glue.reads_only(&region, &[hidden]) {
                continue;
            }
            if value != hidden && self.encoder.glue.is_first_token(&region, hidden, self.encoder.columns, false) {
                return Ok(value);
            }
            for &node in graph.consumers(value) {
                let outputs = graph.proto.node[node].output.iter().map(|name| graph.resolve(name));
                waiting.extend(outputs.filter(|name| seen.insert(*name)));
            }
        }
        Err(Unfused::new(format!("the head does not read token 0 of `{hidden}`, or not it alone")))
    }

    fn layers(&self, hidden: &'p str, output: &'p str) -> Fused<Vec<Dense>> {
        let Encoder { glue, columns, linears, .. } = self.encoder;
        let is_entry = |site: &&Site<'p>| glue.is_first_token(&site.input, hidden, *columns, false);
        let mut level: Vec<&'p str> = linears.iter().filter(is_entry).map(|site| site.output).collect();
        let mut blocks = level.iter().map(|output| self.block(output, 0)).collect::<Fused<Vec<Block>>>()?;
        if blocks.is_empty() {
            return Err(Unfused::new(format!("no dense layer of the head reads token 0 of `{hidden}`")));
        }
        let (mut inputs, mut layers) = (*columns, Vec::new());
        loop {
            let normed = self.normed(&level)?;
            let read = normed.as_ref().map_or_else(|| level.clone(), |(_, normed)| vec![normed.output]);
            let readers = self.readers(&read)?;
            let Some(between) = self.common_activation(&read, &readers)? else { break };
            let (activation, norm) = match normed {
                None => (between, None),
                Some((activation, normed)) if between == Activation::Identity => (activation, Some(normed.norm)),
                Some((_, normed)) => {
                    return Err(Unfused::new(format!("{between:?} follows the norm `{}` of the head", normed.output)));
                }
            };
            let starts = starts_of(&blocks);
            let dense = stack(&blocks, inputs)?;
            inputs = dense.linear.outputs();
            layers.push(Dense { activation, norm, ..dense });
            let next = readers.iter().map(|(parent, site)| self.block(site.output, starts[*parent]));
            blocks = next.collect::<Fused<Vec<Block>>>()?;
            level = readers.iter().map(|(_, site)| site.output).collect();
        }
        let order = self.columns_of(output, &blocks)?;
        let last = stack(&blocks, inputs)?;
        layers.push(Dense { linear: pick_columns(&last.linear, &order)?, ..last });
        Ok(layers)
    }

    /// The norm of what an activation makes of the only dense layer of a level: ModernBERT's.
    fn normed(&self, level: &[&'p str]) -> Fused<Option<(Activation, Normed<'p>)>> {
        let (&[only], Encoder { glue, norms, activations, .. }) = (level, self.encoder) else { return Ok(None) };
        let Some(site) = norms.iter().find(|site| glue.reads_only(&site.input, &[only])) else { return Ok(None) };
        let activation = activations.plain(&site.input, only)?;
        Ok(self.encoder.normed(site).map(|normed| (activation, normed)))
    }

    fn block(&self, output: &'p str, start: usize) -> Fused<Block> {
        Ok(Block { output: output.to_owned(), linear: self.encoder.linear(output)?, start })
    }

    /// The dense layers that read nothing but one of `level`, with the number of that one. Either each of them is read, or none.
    fn readers(&self, level: &[&'p str]) -> Fused<Vec<(usize, &Site<'p>)>> {
        let parent =
            |site: &Site<'p>| level.iter().position(|output| self.encoder.glue.reads_only(&site.input, &[output]));
        let readers: Vec<_> = self.encoder.linears.iter().filter_map(|site| Some((parent(site)?, site))).collect();
        let unread = (0..level.len()).find(|number| readers.iter().all(|(parent, _)| parent != number));
        match unread {
            Some(number) if !readers.is_empty() => {
                let reason = format!("`{}` of the head has no dense layer after it, and others have", level[number]);
                Err(Unfused::new(reason))
            }
            _ => Ok(readers),
        }
    }

    /// What lies between a level and all that read it; `None` if nothing does.
    fn common_activation(&self, level: &[&'p str], readers: &[(usize, &Site<'p>)]) -> Fused<Option<Activation>> {
        let mut common = None;
        for (parent, site) in readers {
            let activation = self.encoder.activations.plain(&site.input, level[*parent])?;
            if *common.get_or_insert(activation) != activation {
                return Err(Unfused::new(format!("the heads have {common:?} and {activation:?} at the same depth")));
            }
        }
        Ok(common)
    }

    /// Which column of the blocks side by side each column of `output` is.
    fn columns_of(&self, output: &'p str, blocks: &[Block]) -> Fused<Vec<usize>> {
        let unlike = || Unfused::new(format!("`{output}` is not the last dense layers of the head side by side"));
        let region = self.encoder.glue.regions.back_from(output);
        let mut feeds = HashMap::new();
        let mut columns: Vec<Vec<f32>> = Vec::new();
        for (seed, block) in blocks.iter().enumerate() {
            let source = region.sources.iter().copied().find(|source| *source == block.output).ok_or_else(unlike)?;
            let shape = [ROWS, block.linear.outputs()];
            let values = random(&shape, 20 + seed as u64);
            columns.extend((0..shape[1]).map(|column| values.iter().skip(column).step_by(shape[1]).copied().collect()));
            feeds.insert(source, tensor(&shape, &values).map_err(|_| unlike())?);
        }
        if region.sources.len() != feeds.len() {
            return Err(unlike());
        }
        let found = self.encoder.glue.probe.run(&region, &feeds).map_err(|_| unlike())?;
        let &[ROWS, labels] = found.shape() else { return Err(unlike()) };
        let found = elements(&found).map_err(|_| unlike())?;
        let place = |label: usize| {
            let values: Vec<f32> = found.iter().skip(label).step_by(labels).copied().collect();
            columns.iter().position(|column| *column == values).ok_or_else(unlike)
        };
        (0..labels).map(place).collect()
    }
}

/// Where the columns of each block begin.
fn starts_of(blocks: &[Block]) -> Vec<usize> {
    let ends = blocks.iter().scan(0, |end, block| {
        let start = *end;
        *end += block.linear.outputs();
        Some(start)
    });
    ends.collect()
}

/// Blocks as one matrix of `inputs` rows, zero where there is none, with nothing after it.
fn stack(blocks: &[Block], inputs: usize) -> Fused<Dense> {
    let columns: usize = blocks.iter().map(|block| block.linear.outputs()).sum();
    let held: usize = blocks.iter().map(|block| block.linear.inputs() * block.linear.outputs()).sum();
    let total = inputs.checked_mul(columns).filter(|total| *total <= BLOCKS_MAX.saturating_mul(held));
    let total = total.ok_or_else(|| Unfused::new(format!("{} heads side by side are too many", blocks.len())))?;
    let (mut values, mut bias) = (vec![0.0; total], vec![0.0; columns]);
    for (block, first) in blocks.iter().zip(starts_of(blocks)) {
        let Block { output, linear, start } = block;
        let (rows, outputs) = (linear.inputs(), linear.outputs());
        if start + rows > inputs || linear.bias.as_ref().is_some_and(|bias| bias.len() != outputs) {
            return Err(Unfused::new(format!("the dense layer `{output}` does not fit what it reads")));
        }
        let own = linear.weights.to_f32();
        for (row, own) in own.chunks_exact(outputs).enumerate() {
            values[(start + row) * columns + first..][..outputs].copy_from_slice(own);
        }
        if let Some(own) = &linear.bias {
            bias[first..][..outputs].copy_from_slice(own);
        }
    }
    let weights = Matrix::new(inputs, columns, Values::F32(values));
    let weights = weights.ok_or_else(|| Unfused::new("a dense layer of the head is empty"))?;
    let linear = Linear { weights: Arc::new(weights), bias: Some(bias) };
    Ok(Dense { linear, activation: Activation::Identity, norm: None })
}

fn pick_columns(linear: &Linear, order: &[usize]) -> Fused<Linear> {
    let pick = |row: &[f32]| order.iter().map(|&column| row[column]).collect::<Vec<f32>>();
    let rows: Vec<f32> = linear.weights.to_f32().chunks_exact(linear.outputs()).flat_map(pick).collect();
    let weights = Matrix::new(linear.inputs(), order.len(), Values::F32(rows));
    let weights = weights.ok_or_else(|| Unfused::new("the head has no outputs"))?;
    Ok(Linear { weights: Arc::new(weights), bias: linear.bias.as_deref().map(pick) })
}
