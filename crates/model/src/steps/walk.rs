//! From a program to its steps.

use super::{Action, Memory, Op, Operand, Parts, Rows, Slot, Step, Steps, Then};
use crate::program::{
    Attention, Block, Body, Dense, FeedForward, Head, Place, Pooling, Program, Readout, Relative, ScorePositions,
    Scores, Sees, Stack,
};
use crate::weights::Linear;
use grice_kernels::{Activation, LayerNorm};
use std::sync::Arc;

impl Program {
    /// Its steps and what they name. The steps end in vectors, or in logits if the head is dense layers that make `labels` of them, and in
    /// the hidden states of token 0 otherwise.
    pub fn into_steps(self, labels: usize) -> (Steps, Parts) {
        let hidden = self.hidden();
        let Program { encoder: Stack { embedding, layers, last }, readout } = self;
        let columns = embedding.columns();
        let is_attention: Vec<bool> =
            layers.iter().flatten().map(|block| matches!(block.body, Body::Attention(_))).collect();
        let is_mean = matches!(readout, Readout::Pooled { pooling: Pooling::Mean, .. });
        let picks_at = is_attention.iter().rposition(|is| *is).filter(|_| !is_mean);
        let mut walk = Walk::new(hidden, picks_at);
        let projection = embedding.projection.clone();
        walk.embed(columns, projection);
        for (number, layer) in layers.into_iter().enumerate() {
            walk.layer = Some(number);
            layer.into_iter().for_each(|block| walk.block(block));
        }
        walk.layer = None;
        let head = match readout {
            Readout::Classes(head) => {
                walk.finish(last);
                walk.head(head, labels)
            }
            Readout::Pooled { pooling, normalised } => {
                walk.pool(last, pooling, normalised);
                None
            }
        };
        let (list, answer) = walk.take_list();
        let steps = walk.steps(list, answer, columns);
        let Walk { linears, norms, attentions, .. } = walk;
        (steps, Parts { embedding, linears, norms, attentions, head })
    }
}

/// The list so far, and where the hidden states lie.
pub(super) struct Walk {
    list: Vec<Step>,
    pub(super) layer: Option<usize>,
    /// Hidden states.
    x: Operand,
    hidden: usize,
    /// Blocks so far.
    blocks: usize,
    /// The block from which on only token 0 is asked for, or in text generation the last tokens.
    pub(super) picks_at: Option<usize>,
    /// The last attention that kept its keys and values.
    pub(super) kept: Option<usize>,
    pub(super) linears: Vec<Vec<Linear>>,
    pub(super) norms: Vec<LayerNorm>,
    pub(super) attentions: Vec<Scores>,
}

impl Walk {
    pub(super) fn new(hidden: usize, picks_at: Option<usize>) -> Walk {
        let x = Operand::whole(Slot::Hidden, Rows::Tokens, hidden);
        let (list, linears, norms, attentions) = Default::default();
        Walk { list, layer: None, x, hidden, blocks: 0, picks_at, kept: None, linears, norms, attentions }
    }

    /// The list and where its result is; the next list begins.
    pub(super) fn take_list(&mut self) -> (Vec<Step>, Operand) {
        let answer = std::mem::replace(&mut self.x, Operand::whole(Slot::Hidden, Rows::Tokens, self.hidden));
        (self.layer, self.blocks) = (None, 0);
        (std::mem::take(&mut self.list), answer)
    }

    /// A list with the sizes of what it names.
    pub(super) fn steps(&self, list: Vec<Step>, answer: Operand, embedding: usize) -> Steps {
        let heads = |scores: &Scores| [scores.heads, scores.key_heads, scores.head_dim];
        Steps {
            list,
            answer,
            embedding,
            hidden: self.hidden,
            linears: self.linears.iter().map(|parts| size_of(parts)).collect(),
            norms: self.norms.iter().map(|norm| norm.gamma.len()).collect(),
            attentions: self.attentions.iter().map(heads).collect(),
        }
    }

    fn push(&mut self, op: Op, action: Action) {
        self.list.push(Step { layer: self.layer, op, action });
    }

    pub(super) fn embed(&mut self, columns: usize, projection: Option<Linear>) {
        let to = self.x;
        let Some(projection) = projection else { return self.push(Op::Embed, Action::Embed { to }) };
        let narrow = Operand::whole(Slot::Attended, Rows::Tokens, columns);
        self.push(Op::Embed, Action::Embed { to: narrow });
        self.product(Op::Project, narrow, vec![projection], Then::nothing(), to);
    }

    /// `x = norm(x + body(x))` or `x + body(norm(x))`, into the other of the two buffers.
    pub(super) fn block(&mut self, block: Block) {
        let Block { norm, place, body } = block;
        let norm = norm.map(|norm| self.norm(norm));
        let (before, after) = if place == Place::Before { (norm, None) } else { (None, norm) };
        let input = before.map_or(self.x, |norm| self.normalise(norm, Slot::Normed));
        let then = |residual: Operand| Then { activation: Activation::Identity, residual: Some(residual), norm: after };
        match body {
            Body::Attention(attention) => {
                let output = attention.output.clone();
                let context = self.attend(*attention, input, before);
                let to = self.other();
                self.product(Op::Output, context, vec![output], then(self.x), to);
                self.x = to;
            }
            Body::FeedForward(feed_forward) => {
                let (to, then) = (self.other(), then(self.x));
                self.feed_forward(feed_forward, input, then, to);
                self.x = to;
            }
        }
        self.blocks += 1;
    }

    /// The gate and what it lets through are one product, side by side.
    fn feed_forward(&mut self, feed_forward: FeedForward, x: Operand, then: Then, to: Operand) {
        let FeedForward { gate, up, activation, down } = feed_forward;
        let (rows, columns) = (x.rows, up.outputs());
        let Some(gate) = gate else {
            let inner = Operand::whole(Slot::Wide, rows, columns);
            let (up, down) = (self.linear(vec![up]), self.linear(vec![down]));
            return self.push(Op::FeedForward, Action::FeedForward { x, up, activation, down, then, inner, to });
        };
        let wide = Operand::whole(Slot::Wide, rows, gate.outputs() + columns);
        let inner = Operand::whole(Slot::Context, rows, columns);
        self.product(Op::FeedForward, x, vec![gate, up], Then::nothing(), wide);
        self.push(Op::FeedForward, Action::Gate { x: wide, activation, to: inner });
        self.product(Op::FeedForward, inner, vec![down], then, to);
    }

    /// The encoder of a generator, and the keys and values that the decoder's layers read of what it makes.
    pub(super) fn source(&mut self, encoder: Stack, decoder: &Stack) {
        let Stack { embedding, layers, last } = encoder;
        self.embed(embedding.columns(), embedding.projection);
        for (number, layer) in layers.into_iter().enumerate() {
            self.layer = Some(number);
            layer.into_iter().for_each(|block| self.block(block));
        }
        self.layer = None;
        if let Some(last) = last {
            let norm = self.norm(last);
            self.x = self.normalise(norm, Slot::Normed);
        }
        for (cache, layer) in decoder.layers.iter().enumerate() {
            self.layer = Some(cache);
            let bodies = layer.iter().filter_map(|block| block.body.attention());
            for Attention { key, value, scores, .. } in bodies.filter(|body| body.scores.sees == Sees::Source) {
                let (keys, values) = (key.outputs(), value.outputs());
                let wide = Operand::whole(Slot::Wide, Rows::Tokens, keys + values);
                self.product(Op::Kv, self.x, vec![key.clone(), value.clone()], Then::nothing(), wide);
                let attention = number_of(&mut self.attentions, scores.clone());
                let (k, v) = (wide.part(0, keys), wide.part(keys, values));
                self.push(Op::Keep, Action::Keep { k, v, attention, cache });
            }
        }
    }

    /// The product with the vocabulary of so many words.
    pub(super) fn words(&mut self, words: usize, parts: Vec<Linear>) {
        let to = Operand::whole(Slot::Even, Rows::Sequences, words);
        self.product(Op::Words, self.x, parts, Then::nothing(), to);
        self.x = to;
    }

    /// Cross-attention: only the queries are made of `input`.
    fn cross(&mut self, query: Linear, attention: usize, input: Operand) -> Operand {
        let q = Operand::whole(Slot::Query, input.rows, query.outputs());
        self.product(Op::Query, input, vec![query], Then::nothing(), q);
        self.attend_kept(Op::CrossAttention, q, attention, Memory::Source)
    }

    fn attend_kept(&mut self, op: Op, q: Operand, attention: usize, of: Memory) -> Operand {
        let to = Operand::whole(Slot::Context, q.rows, q.columns);
        let cache = self.layer.unwrap_or_default();
        self.push(op, Action::AttendKept { q, of, attention, cache, to });
        to
    }

    /// What attention makes of `input`, which is `x`, or `x` normalised by `norm`. In the last attention only token 0 asks, and `x`
    /// becomes the rows of token 0.
    fn attend(&mut self, attention: Attention, input: Operand, norm: Option<usize>) -> Operand {
        let Attention { query, key, value, scores, .. } = attention;
        let [queries, keys, values] = [&query, &key, &value].map(Linear::outputs);
        let is_rotary = scores.rotary().is_some();
        let memory = Memory::of(scores.sees);
        let attention = number_of(&mut self.attentions, scores);
        if memory == Some(Memory::Source) {
            return self.cross(query, attention, input);
        }
        let (q, k, v, turned);
        if self.picks_at == Some(self.blocks) {
            let first = Operand { slot: Slot::First, rows: Rows::Sequences, ..self.x };
            self.push(Op::Gather, Action::Pick { x: self.x, to: first });
            self.x = first;
            let asking = match norm {
                None => first,
                Some(norm) => self.normalise(norm, Slot::FirstNormed),
            };
            q = Operand::whole(Slot::Query, Rows::Sequences, queries);
            self.product(Op::Query, asking, vec![query], Then::nothing(), q);
            let wide = Operand::whole(Slot::Wide, Rows::Tokens, keys + values);
            self.product(Op::Kv, input, vec![key, value], Then::nothing(), wide);
            (k, v) = (wide.part(0, keys), wide.part(keys, values));
            // Token 0 is where nothing turns.
            turned = if memory.is_some() { vec![q, k] } else { vec![k] };
        } else {
            let wide = Operand::whole(Slot::Wide, self.x.rows, queries + keys + values);
            self.product(Op::Qkv, input, vec![query, key, value], Then::nothing(), wide);
            q = wide.part(0, queries);
            (k, v) = (wide.part(queries, keys), wide.part(queries + keys, values));
            turned = vec![wide.part(0, queries + keys)];
        }
        for x in turned.into_iter().filter(|_| is_rotary) {
            self.push(Op::Rotate, Action::Rotate { x, attention });
        }
        if let Some(memory) = memory {
            let cache = self.layer.unwrap_or_default();
            self.kept = Some(attention);
            self.push(Op::Keep, Action::Keep { k, v, attention, cache });
            return self.attend_kept(Op::Attention, q, attention, memory);
        }
        let to = Operand::whole(Slot::Context, q.rows, queries);
        self.push(Op::Attention, Action::Attend { q, k, v, attention, to });
        to
    }

    /// The last norm, and token 0 where no attention picked it.
    pub(super) fn finish(&mut self, last: Option<LayerNorm>) {
        if self.x.rows == Rows::Tokens {
            let first = Operand { slot: Slot::First, rows: Rows::Sequences, ..self.x };
            self.push(Op::Gather, Action::Pick { x: self.x, to: first });
            self.x = first;
        }
        if let Some(last) = last {
            let norm = self.norm(last);
            self.x = self.normalise(norm, Slot::FirstNormed);
        }
    }

    /// One vector for each sequence. The last norm is that of tokens, so a mean comes after it.
    fn pool(&mut self, last: Option<LayerNorm>, pooling: Pooling, normalised: bool) {
        match pooling {
            Pooling::Cls => self.finish(last),
            Pooling::Mean => {
                if let Some(last) = last {
                    let norm = self.norm(last);
                    self.x = self.normalise(norm, Slot::Normed);
                }
                let to = Operand { slot: Slot::First, rows: Rows::Sequences, ..self.x };
                self.push(Op::Pool, Action::Pool { x: self.x, to });
                self.x = to;
            }
        }
        if normalised {
            let to = Operand { slot: Slot::Even, ..self.x };
            self.push(Op::Unit, Action::Unit { x: self.x, to });
            self.x = to;
        }
    }

    /// The head's dense layers; the head itself, without a step, if it is something else.
    fn head(&mut self, head: Head, labels: usize) -> Option<Head> {
        let fits = |layers: &Vec<Dense>| layers.last().is_some_and(|last| last.linear.outputs() == labels);
        if !head.layers.as_ref().is_ok_and(fits) {
            return Some(head);
        }
        for (number, Dense { linear, activation, norm }) in head.layers.into_iter().flatten().enumerate() {
            let slot = if number.is_multiple_of(2) { Slot::Even } else { Slot::Odd };
            let to = Operand::whole(slot, Rows::Sequences, linear.outputs());
            let norm = norm.map(|norm| self.norm(norm));
            self.product(Op::Head, self.x, vec![linear], Then { activation, norm, ..Then::nothing() }, to);
            self.x = to;
        }
        None
    }

    fn product(&mut self, op: Op, x: Operand, parts: Vec<Linear>, then: Then, to: Operand) {
        let linear = self.linear(parts);
        self.push(op, Action::Product { x, linear, then, to });
    }

    fn normalise(&mut self, norm: usize, slot: Slot) -> Operand {
        let (x, to) = (self.x, Operand { slot, ..self.x });
        self.push(Op::Norm, Action::Norm { x, norm, to });
        to
    }

    /// Where the next hidden states go.
    fn other(&self) -> Operand {
        let slot = if self.x.slot == Slot::Hidden { Slot::Attended } else { Slot::Hidden };
        Operand::whole(slot, self.x.rows, self.hidden)
    }

    fn linear(&mut self, parts: Vec<Linear>) -> usize {
        number_of(&mut self.linears, parts)
    }

    fn norm(&mut self, norm: LayerNorm) -> usize {
        number_of(&mut self.norms, norm)
    }
}

/// A part that layers may share.
trait Shared {
    fn is(&self, other: &Self) -> bool;
}

impl Shared for Vec<Linear> {
    fn is(&self, other: &Self) -> bool {
        let same = |(a, b): (&Linear, &Linear)| Arc::ptr_eq(&a.weights, &b.weights) && a.bias == b.bias;
        self.len() == other.len() && self.iter().zip(other).all(same)
    }
}

impl Shared for LayerNorm {
    fn is(&self, other: &Self) -> bool {
        self == other
    }
}

impl Shared for Scores {
    fn is(&self, other: &Self) -> bool {
        let positions = match (&self.positions, &other.positions) {
            (ScorePositions::Disentangled(a), ScorePositions::Disentangled(b)) => a.is(b),
            (a, b) => a == b,
        };
        let sizes = |scores: &Scores| (scores.heads, scores.key_heads, scores.head_dim, scores.scale.to_bits());
        positions && self.sees == other.sees && sizes(self) == sizes(other)
    }
}

impl Shared for Relative {
    fn is(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Vec<f32>>>, b: &Option<Arc<Vec<f32>>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let sizes = |relative: &Relative| (relative.span, relative.buckets, relative.max_position);
        same(&self.keys, &other.keys) && same(&self.queries, &other.queries) && sizes(self) == sizes(other)
    }
}

/// The number of a part, which is added if it is new: layers that share weights share what is packed of them.
fn number_of<T: Shared>(parts: &mut Vec<T>, part: T) -> usize {
    parts.iter().position(|known| known.is(&part)).unwrap_or_else(|| {
        parts.push(part);
        parts.len() - 1
    })
}

fn size_of(parts: &[Linear]) -> [usize; 2] {
    [parts.first().map_or(0, Linear::inputs), parts.iter().map(Linear::outputs).sum()]
}

impl Then {
    fn nothing() -> Then {
        Then { activation: Activation::Identity, residual: None, norm: None }
    }
}
