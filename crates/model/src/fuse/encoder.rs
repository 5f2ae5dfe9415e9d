//! The chain of encoder layers, from the embedding's norm to the head.

use super::anchors::{Anchor, Weights};
use super::embedding::fuse_embedding;
use super::glue::{Glue, elements, random, scaled, tensor};
use super::ladder::Sample;
use super::region::Region;
use super::{Fused, Unfused};
use crate::head::HeadGraph;
use crate::program::{Attention, Block, Body, FeedForward, Head, Layer, Place, Program, Stack};
use crate::weights::{Linear, Matrix};
use grice_kernels::{Activation, Isa, LayerNorm, vector};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_core::internal::{ensure, format_err};

/// A program whose word table is still in the file.
pub(super) struct Draft {
    embedding: super::embedding::Draft,
    layers: Vec<Layer>,
    head: super::head::Draft,
}

impl Draft {
    /// Moves the word table out of the file.
    pub(super) fn finish(self, graph: &mut GraphProto) -> Fused<Program> {
        let Draft { embedding, layers, head: super::head::Draft { graph: head, layers: head_layers } } = self;
        let encoder = Stack { embedding: embedding.finish(graph)?, layers, last: None };
        Ok(Program { encoder, head: Head { layers: head_layers, graph: Some(HeadGraph(Arc::new(head))) } })
    }
}

/// The whole program that makes `output`.
pub(super) fn fuse_encoder<'p>(glue: &Glue<'_, 'p>, output: &'p str) -> Fused<Draft> {
    let (mut embedding, mut hidden) = fuse_embedding(glue)?;
    let mut encoder = Encoder::new(glue, embedding.norm.gamma.len());
    if let Some((projection, projected)) = encoder.projection_of(hidden)? {
        encoder = Encoder::new(glue, projection.outputs());
        embedding.projection = Some(projection);
        hidden = projected;
    }
    let mut layers = Vec::new();
    while let Some((layer, next)) = encoder.fuse_layer(hidden)? {
        layers.push(layer);
        hidden = next;
    }
    if layers.is_empty() {
        return Err(Unfused::new(format!("no encoder layer reads the embedding `{hidden}`")));
    }
    let head = encoder.fuse_head(hidden, output)?;
    Ok(Draft { embedding, layers, head })
}

/// A dense or normalising anchor, and the piece of the graph that makes its input.
pub(super) struct Site<'p> {
    pub(super) output: &'p str,
    pub(super) input: Region<'p>,
}

pub(super) struct Encoder<'a, 'p> {
    pub(super) glue: &'a Glue<'a, 'p>,
    pub(super) columns: usize,
    pub(super) linears: Vec<Site<'p>>,
    norms: Vec<Site<'p>>,
    /// Matrices already read, by name: position projections share the weights of queries and keys.
    matrices: RefCell<HashMap<&'p str, Arc<Matrix>>>,
    activations: RefCell<HashMap<String, Option<Activation>>>,
    pub(super) attentions: super::attention::Known,
}

impl<'a, 'p> Encoder<'a, 'p> {
    fn new(glue: &'a Glue<'a, 'p>, columns: usize) -> Self {
        let (mut linears, mut norms) = (Vec::new(), Vec::new());
        for &output in &glue.regions.anchors.order {
            if !glue.regions.varies(output) {
                continue;
            }
            match glue.regions.anchors.get(output) {
                Some(Anchor::Linear { input, .. }) => {
                    linears.push(Site { output, input: glue.regions.back_from(input) });
                }
                Some(Anchor::Norm { input, .. }) => norms.push(Site { output, input: glue.regions.back_from(input) }),
                _ => (),
            }
        }
        let (matrices, activations) = Default::default();
        Encoder { glue, columns, linears, norms, matrices, activations, attentions: Default::default() }
    }

    /// The layer that reads `hidden` and the value it makes; none if only the head is left.
    fn fuse_layer(&self, hidden: &'p str) -> Fused<Option<(Layer, &'p str)>> {
        if self.glue.tokens_of(hidden) == 1 {
            return Ok(None);
        }
        let readers = self.dense_readers(hidden);
        let projections = match readers.as_slice() {
            [] => return Ok(None),
            &[first, second, third] => [first, second, third],
            // A last layer whose queries, and all that follows them, are of token 0 only.
            &[first, second] if let [query] = self.first_token_readers(hidden).as_slice() => {
                self.glue.mark_single(query);
                [first, second, query]
            }
            others => {
                let reason = format!("{} dense layers read `{hidden}`: {}", others.len(), others.join(", "));
                return Err(Unfused::new(format!("{reason}; expected queries, keys and values")));
            }
        };
        let output = self.linears.iter().find(|site| {
            let data: Vec<&str> = site.input.data().collect();
            projections.iter().all(|projection| data.contains(projection))
        });
        let output = output.ok_or_else(|| Unfused::new(format!("no dense layer follows attention on `{hidden}`")))?;
        let is_single = projections.iter().any(|projection| self.glue.tokens_of(projection) == 1);
        let mark = |anchor: &'p str| {
            if is_single {
                self.glue.mark_single(anchor)
            }
        };
        mark(output.output);
        let (attention, [query, key, value]) = self.fuse_attention(&output.input, projections)?;
        let (attended, attention_norm) = self.norm_of_sum(output.output, hidden)?;
        mark(attended);
        let (up, down, activation) = self.feed_forward(attended)?;
        mark(down);
        let (next, norm) = self.norm_of_sum(down, attended)?;
        mark(next);
        let attention = Attention {
            query: self.linear(query)?,
            key: self.linear(key)?,
            value: self.linear(value)?,
            output: self.linear(output.output)?,
            scores: attention,
        };
        let feed_forward = FeedForward { gate: None, up: self.linear(up)?, activation, down: self.linear(down)? };
        self.check_shapes(&attention, &feed_forward, hidden)?;
        let (norms, place) = ([attention_norm, norm], Place::After);
        if norms.iter().any(|norm| norm.gamma.len() != self.columns) {
            return Err(self.misfit(hidden));
        }
        let bodies = [Body::Attention(Box::new(attention)), Body::FeedForward(feed_forward)];
        let blocks = norms.into_iter().zip(bodies).map(|(norm, body)| Block { norm: Some(norm), place, body });
        Ok(Some((blocks.collect(), next)))
    }

    /// The one dense layer that reads the embedding and makes it wider, and the value it makes.
    fn projection_of(&self, hidden: &'p str) -> Fused<Option<(Linear, &'p str)>> {
        let &[output] = self.dense_readers(hidden).as_slice() else { return Ok(None) };
        let projection = self.linear(output)?;
        let widens = projection.inputs() == self.columns && projection.outputs() > self.columns;
        Ok(widens.then_some((projection, output)))
    }

    /// Dense layers applied to `value` as it is.
    fn dense_readers(&self, value: &'p str) -> Vec<&'p str> {
        let readers = self.linears.iter().filter(|site| self.glue.is_same(&site.input, value, self.columns));
        readers.map(|site| site.output).collect()
    }

    /// Dense layers applied to token 0 of `value`, its axis kept.
    fn first_token_readers(&self, value: &'p str) -> Vec<&'p str> {
        let is_reader = |site: &&Site<'p>| self.glue.is_first_token(&site.input, value, self.columns, true);
        self.linears.iter().filter(is_reader).map(|site| site.output).collect()
    }

    /// The layer norm of `part + rest`.
    fn norm_of_sum(&self, part: &'p str, rest: &'p str) -> Fused<(&'p str, LayerNorm)> {
        let site = self.norms.iter().find(|site| self.glue.is_sum(&site.input, [part, rest], self.columns));
        let anchor = site.and_then(|site| Some((site.output, self.glue.regions.anchors.get(site.output)?)));
        match anchor {
            Some((output, Anchor::Norm { norm, .. })) => Ok((output, norm.clone())),
            _ => Err(Unfused::new(format!("no layer norm of `{part}` plus `{rest}`"))),
        }
    }

    fn feed_forward(&self, hidden: &'p str) -> Fused<(&'p str, &'p str, Activation)> {
        let readers = self.dense_readers(hidden);
        let &[up] = readers.as_slice() else {
            return Err(Unfused::new(format!("{} dense layers read `{hidden}`, not one", readers.len())));
        };
        if self.glue.tokens_of(hidden) == 1 {
            self.glue.mark_single(up);
        }
        let site = self.linears.iter().find(|site| self.glue.reads_only(&site.input, &[up]));
        let site = site.ok_or_else(|| Unfused::new(format!("no dense layer follows `{up}`")))?;
        let activation = self.activation(&site.input, up)?;
        Ok((up, site.output, activation))
    }

    /// What a piece does to each element of `up`, if that is a known activation.
    pub(super) fn activation(&self, region: &Region<'p>, up: &'p str) -> Fused<Activation> {
        let signature = self.glue.signature(region);
        if let Some(Some(known)) = self.activations.borrow().get(&signature) {
            return Ok(*known);
        }
        let unknown = || Unfused::new(format!("`{}` is no activation that grice knows", region.value));
        let run = |sample| self.run_activation(region, up, sample);
        let (values, found) = run(Sample::SMALL).map_err(|_| unknown())?;
        let candidates =
            [Activation::Identity, Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Tanh];
        let mut known = candidates.into_iter().filter(|candidate| {
            let mut expected = values.clone();
            apply(*candidate, &mut expected);
            all_close_enough(&found, &expected)
        });
        let activation = known.next().ok_or_else(unknown)?;
        let is_token_wise = self.glue.regions.is_token_wise(region);
        let text = format!("{activation:?} {signature}");
        self.glue.ladder.check(&text, region.value, is_token_wise, |sample| {
            let (mut expected, found) = run(sample)?;
            apply(activation, &mut expected);
            Ok(all_close_enough(&found, &expected))
        })?;
        self.activations.borrow_mut().insert(signature, Some(activation));
        Ok(activation)
    }

    /// The values that a piece is fed, and what it makes of them, of tokens that are not masked.
    fn run_activation(&self, region: &Region<'p>, up: &'p str, sample: Sample) -> TractResult<(Vec<f32>, Vec<f32>)> {
        let mut feeds = self.glue.feeds(region, sample, self.columns)?;
        let shape = feeds.get(up).map(|tensor| tensor.shape().to_vec()).ok_or_else(|| format_err!("not read"))?;
        // Out to where every candidate has levelled off.
        let values = scaled(random(&shape, 6), 4.0 * sample.factor);
        feeds.insert(up, tensor(&shape, &values)?);
        let found = elements(&self.glue.probe.run(region, &feeds)?)?;
        ensure!(found.len() == values.len(), "it makes {} elements", found.len());
        let tokens = self.glue.tokens_in(up, sample.tokens);
        let columns = shape.last().copied().unwrap_or(1);
        let unmasked = |values: &[f32]| sample.unmasked(values, tokens, columns).concat();
        Ok((unmasked(&values), unmasked(&found)))
    }

    pub(super) fn linear(&self, output: &'p str) -> Fused<Linear> {
        let cannot = |what: &str| Unfused::new(format!("the {what} of the dense layer `{output}` cannot be read"));
        let Some(Anchor::Linear { weights, bias, .. }) = self.glue.regions.anchors.get(output) else {
            return Err(Unfused::new(format!("`{output}` is no dense layer")));
        };
        let bias = bias.map(|bias| bias.read().ok_or_else(|| cannot("bias"))).transpose()?;
        Ok(Linear { weights: self.matrix(weights).ok_or_else(|| cannot("weights"))?, bias })
    }

    fn matrix(&self, weights: &Weights<'p>) -> Option<Arc<Matrix>> {
        if let Some(known) = self.matrices.borrow().get(weights.name()) {
            return Some(known.clone());
        }
        let matrix = Arc::new(weights.read()?);
        self.matrices.borrow_mut().insert(weights.name(), matrix.clone());
        Some(matrix)
    }

    fn check_shapes(&self, attention: &Attention, feed_forward: &FeedForward, hidden: &str) -> Fused<()> {
        let columns = self.columns;
        let Attention { query, key, value, output, .. } = attention;
        let FeedForward { up, down, .. } = feed_forward;
        let square = [query, key, value, output];
        let fits = square.into_iter().all(|linear| (linear.inputs(), linear.outputs()) == (columns, columns))
            && up.inputs() == columns
            && (down.inputs(), down.outputs()) == (up.outputs(), columns);
        if fits { Ok(()) } else { Err(self.misfit(hidden)) }
    }

    fn misfit(&self, hidden: &str) -> Unfused {
        Unfused::new(format!("the dense layers after `{hidden}` do not fit its {} columns", self.columns))
    }
}

fn apply(activation: Activation, values: &mut [f32]) {
    let isa = Isa::best();
    match activation {
        Activation::Identity => (),
        Activation::Gelu => vector::gelu(isa, values),
        Activation::GeluTanh => vector::gelu_tanh(isa, values),
        Activation::Relu => vector::relu(isa, values),
        Activation::Tanh => vector::tanh(isa, values),
        Activation::Silu => vector::silu(isa, values),
    }
}

/// GELU and its tanh approximation differ by up to 5e-4, which must be told apart.
fn all_close_enough(found: &[f32], expected: &[f32]) -> bool {
    let pairs = found.iter().zip(expected);
    found.len() == expected.len() && pairs.into_iter().all(|(a, b)| (a - b).abs() <= 2e-5 * b.abs().max(1.0))
}
