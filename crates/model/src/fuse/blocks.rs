//! The chain of residual blocks, from the embedding to the head.
//!
//! Whether norms stand before or after bodies is told by the sums: after a body, the next norm is of its result plus either what the body
//! read (post-norm) or what that was made from by the norm before it (pre-norm).

use super::attention::{Known, fuse_attention};
use super::encoder::Encoder;
use super::norms::Normed;
use super::unfused::Fused;
use crate::program::{Attention, Block, Body, FeedForward, Layer, Place, Unfused};
use crate::weights::Linear;
use grice_kernels::LayerNorm;

/// What was found.
pub(super) struct Chain<'p> {
    /// The norm at the start, if it belongs to no block.
    pub(super) first: Option<LayerNorm>,
    pub(super) layers: Vec<Layer>,
    pub(super) last: Option<LayerNorm>,
    /// The last hidden states.
    pub(super) output: &'p str,
}

/// Hidden states between two blocks.
pub(super) struct Stream<'p> {
    /// What the next body reads.
    pub(super) value: &'p str,
    /// The norm that made it, and of what.
    pub(super) normed: Option<(&'p str, LayerNorm)>,
}

/// A block of which the norm after it may not be known yet.
struct Open {
    before: Option<LayerNorm>,
    body: Body,
    after: Option<LayerNorm>,
}

/// A body, and the value it makes.
type Made<'p> = (Body, &'p str);

impl<'p> From<Normed<'p>> for Stream<'p> {
    fn from(Normed { output, input, norm }: Normed<'p>) -> Self {
        Stream { value: output, normed: Some((input, norm)) }
    }
}

/// All blocks from `stream` on.
pub(super) fn fuse_blocks<'p>(encoder: &Encoder<'_, 'p>, mut stream: Stream<'p>) -> Fused<Chain<'p>> {
    let bodies = Bodies { encoder, attentions: Known::default() };
    let (mut first, mut blocks) = (None, Vec::<Open>::new());
    while let Some((body, made)) = bodies.fuse(stream.value, blocks.last())? {
        let before = stream.normed.as_ref().map(|(input, _)| *input);
        let rests: Vec<&str> = std::iter::once(stream.value).chain(before).collect();
        let (place, next) = encoder.norm_of_sum(made, &rests)?;
        if encoder.glue.tokens_of(made) == 1 {
            encoder.glue.mark_single(next.output);
            encoder.glue.mark_single(next.input);
        }
        let norm = stream.normed.map(|(_, norm)| norm);
        let before = match (place, blocks.last_mut()) {
            (1, _) => norm,
            (_, None) => {
                first = norm;
                None
            }
            (_, Some(block)) => {
                block.put_after(norm, stream.value)?;
                None
            }
        };
        blocks.push(Open { before, body, after: None });
        stream = next.into();
    }
    let mut last = stream.normed.map(|(_, norm)| norm);
    match blocks.last_mut() {
        None => return Err(Unfused::new(format!("no encoder layer reads the embedding `{}`", stream.value))),
        Some(block) if block.before.is_none() => block.put_after(last.take(), stream.value)?,
        Some(_) => {}
    }
    let wide = |norm: &LayerNorm| norm.gamma.len() != encoder.columns;
    let mut norms = blocks.iter().flat_map(|block| block.before.iter().chain(&block.after)).chain(&last);
    if norms.any(wide) {
        return Err(misfit(stream.value, encoder.columns));
    }
    Ok(Chain { first, layers: layers_of(blocks), last, output: stream.value })
}

/// A layer begins with each attention.
fn layers_of(blocks: Vec<Open>) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for Open { before, body, after } in blocks {
        if layers.is_empty() || matches!(body, Body::Attention(_)) {
            layers.push(Layer::new());
        }
        let (norm, place) = if after.is_some() { (after, Place::After) } else { (before, Place::Before) };
        if let Some(layer) = layers.last_mut() {
            layer.push(Block { norm, place, body });
        }
    }
    layers
}

impl Open {
    fn put_after(&mut self, norm: Option<LayerNorm>, value: &str) -> Fused<()> {
        if self.before.is_some() && norm.is_some() {
            return Err(Unfused::new(format!("the block before `{value}` has a norm before and one after it")));
        }
        self.after = norm;
        Ok(())
    }
}

fn misfit(value: &str, columns: usize) -> Unfused {
    Unfused::new(format!("the layers after `{value}` do not fit its {columns} columns"))
}

/// Finds bodies.
struct Bodies<'e, 'p> {
    encoder: &'e Encoder<'e, 'p>,
    attentions: Known,
}

impl<'p> Bodies<'_, 'p> {
    /// The body that reads `value`; none if only the head is left.
    fn fuse(&self, value: &'p str, before: Option<&Open>) -> Fused<Option<Made<'p>>> {
        let glue = self.encoder.glue;
        let is_single = glue.tokens_of(value) == 1;
        if is_single && matches!(before, Some(Open { body: Body::FeedForward(_), .. })) {
            return Ok(None);
        }
        let mut readers = self.encoder.dense_readers(value);
        // A last layer whose queries, and all that follows them, are of token 0 only.
        if let (&[_, _], false) = (readers.as_slice(), is_single)
            && let &[query] = self.encoder.first_token_readers(value).as_slice()
        {
            glue.mark_single(query);
            readers.push(query);
        }
        if is_single {
            readers.iter().for_each(|reader| glue.mark_single(reader));
        }
        match readers.as_slice() {
            [] => Ok(None),
            &[only] => self.one_reader(only, value).map(Some),
            &[gate, up] => self.gated([gate, up], value).map(Some),
            &[_, _, _] => self.attention(&readers, value).map(Some),
            others => {
                let reason = format!("{} dense layers read `{value}`: {}", others.len(), others.join(", "));
                Err(Unfused::new(format!("{reason}; expected queries, keys and values, or a feed-forward network")))
            }
        }
    }

    /// Queries, keys and values in one product, or a gate and what it lets through, or the first half of a feed-forward network.
    fn one_reader(&self, up: &'p str, value: &'p str) -> Fused<Made<'p>> {
        let encoder = self.encoder;
        let site = encoder.reader_of(&[up]).ok_or_else(|| Unfused::new(format!("no dense layer follows `{up}`")))?;
        let wide = encoder.size_of(up).map_or(0, |(_, outputs)| outputs);
        let narrow = encoder.size_of(site.output).map_or(0, |(inputs, _)| inputs);
        if wide == 3 * narrow {
            return self.attention(&[up], value);
        }
        if wide == 2 * narrow {
            return self.gated([up, up], value);
        }
        if !encoder.glue.reads_only(&site.input, &[up]) {
            return Err(Unfused::new(format!("`{}` reads more than `{up}`", site.output)));
        }
        let activation = encoder.activations.plain(&site.input, up)?;
        let up = encoder.linear(up)?;
        self.feed_forward(
            FeedForward { gate: None, up, activation, down: encoder.linear(site.output)? },
            site.output,
            value,
        )
    }

    /// A feed-forward network with a gate: two dense layers, or the halves of one.
    fn gated(&self, [first, second]: [&'p str; 2], value: &'p str) -> Fused<Made<'p>> {
        let encoder = self.encoder;
        let sources = if first == second { vec![first] } else { vec![first, second] };
        let site = encoder.reader_of(&sources).filter(|site| encoder.glue.reads_only(&site.input, &sources));
        let site =
            site.ok_or_else(|| Unfused::new(format!("no dense layer reads `{}` alone", sources.join("` and `"))))?;
        let found = encoder.activations.gated(&site.input, &sources)?;
        let halves: [Linear; 2] = match encoder.size_of(first) {
            Some((_, wide)) if first == second => {
                [encoder.columns_of(first, 0..wide / 2)?, encoder.columns_of(first, wide / 2..wide)?]
            }
            _ => [encoder.linear(first)?, encoder.linear(second)?],
        };
        let [first, second] = halves;
        let (gate, up) = if found.gate == Some(0) { (first, second) } else { (second, first) };
        let down = encoder.linear(site.output)?;
        self.feed_forward(FeedForward { gate: Some(gate), up, activation: found.activation, down }, site.output, value)
    }

    fn feed_forward(&self, feed_forward: FeedForward, made: &'p str, value: &'p str) -> Fused<Made<'p>> {
        let columns = self.encoder.columns;
        let FeedForward { gate, up, down, .. } = &feed_forward;
        let inner = up.outputs();
        let reads = |linear: &Linear| (linear.inputs(), linear.outputs()) == (columns, inner);
        if !gate.iter().chain([up]).all(reads) || (down.inputs(), down.outputs()) != (inner, columns) {
            return Err(misfit(value, columns));
        }
        self.mark(value, made);
        Ok((Body::FeedForward(feed_forward), made))
    }

    fn attention(&self, projections: &[&'p str], value: &'p str) -> Fused<Made<'p>> {
        let (encoder, columns) = (self.encoder, self.encoder.columns);
        let site = encoder.reader_of(projections);
        let site = site.ok_or_else(|| Unfused::new(format!("no dense layer follows attention on `{value}`")))?;
        let output = encoder.linear(site.output)?;
        let width = output.inputs();
        let whole = if projections.len() == 1 { 3 * width } else { width };
        let fits = |projection: &&'p str| encoder.size_of(projection) == Some((columns, whole));
        if !projections.iter().all(fits) || output.outputs() != columns {
            return Err(misfit(value, columns));
        }
        if projections.iter().any(|projection| encoder.glue.tokens_of(projection) == 1) {
            encoder.glue.mark_single(site.output);
        }
        let (scores, places) = fuse_attention(encoder, &self.attentions, &site.input, projections, width)?;
        let [query, key, value] = places.map(|(source, from)| encoder.columns_of(source, from..from + width));
        let attention = Attention { query: query?, key: key?, value: value?, output, scores };
        Ok((Body::Attention(Box::new(attention)), site.output))
    }

    /// Notes that what is made of single tokens is single tokens.
    fn mark(&self, value: &'p str, made: &'p str) {
        if self.encoder.glue.tokens_of(value) == 1 {
            self.encoder.glue.mark_single(made);
        }
    }
}
