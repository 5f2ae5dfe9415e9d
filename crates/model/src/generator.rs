//! A model that writes text: a decoder, and for T5 an encoder whose output the decoder reads.

use crate::program::{Attention, Body, Scores, Sees, Stack};
use crate::weights::{Along, Linear, Matrix};
use crate::{Error, Precision, Result};
use std::sync::Arc;

/// A program that makes logits of the next token. Its weights stand as [`Program`](crate::Program)'s do; steps follow from it in the
/// same way.
#[derive(Clone, Debug)]
pub struct Generator {
    /// Token ids of a source → hidden states that cross-attention reads; none in decoder-only models.
    pub encoder: Option<Stack>,
    /// Token ids → hidden states. Each of its layers has one attention that sees earlier tokens, and after it, where there is an encoder,
    /// one that sees the source.
    pub decoder: Stack,
    /// Hidden states → logits.
    pub vocabulary: Vocabulary,
}

/// The product that makes logits, `[hidden, vocabulary]`.
#[derive(Clone, Debug)]
pub enum Vocabulary {
    /// The decoder's table of words, transposed.
    Tied,
    /// Weights of its own.
    Own(Linear),
}

impl Generator {
    /// Columns of a hidden state.
    pub fn hidden(&self) -> usize {
        self.decoder.hidden()
    }

    /// How many logits there are.
    pub fn vocabulary(&self) -> usize {
        match &self.vocabulary {
            Vocabulary::Tied => self.decoder.embedding.words.rows(),
            Vocabulary::Own(linear) => linear.outputs(),
        }
    }

    /// The most tokens of prompt and answer together, where positions have a row or an angle of their own.
    pub fn longest(&self) -> Option<usize> {
        self.decoder.longest()
    }

    /// The most tokens of a source, where that is bounded.
    pub fn longest_source(&self) -> Option<usize> {
        self.encoder.as_ref()?.longest()
    }

    /// How the weights of the decoder's dense layers are stored.
    pub fn precision(&self) -> Precision {
        self.decoder.linears().next().map_or(Precision::Fp32, |linear| linear.weights.precision())
    }

    /// Bytes of all weights; what two parts share counts once.
    pub fn weight_bytes(&self) -> usize {
        let stacks = self.encoder.iter().chain([&self.decoder]);
        let linears = stacks.clone().flat_map(Stack::linears).chain(self.vocabulary.own());
        let matrices = linears.map(|linear| &linear.weights).chain(stacks.map(|stack| &stack.embedding.words));
        let mut known = std::collections::HashSet::new();
        matrices.filter(|matrix| known.insert(Arc::as_ptr(matrix))).map(|matrix| matrix.bytes()).sum()
    }

    /// The generator with its dense layers and tables in another precision; what is in that precision already stays as it is, and in 8
    /// bits also what is in 4. In 8 bits each output of a dense layer has a scale.
    ///
    /// # Errors
    /// [`Error::Precision`] if weights are stored in fewer bits already.
    pub fn to_precision(mut self, precision: Precision) -> Result<Generator> {
        let stored = self.precision();
        if stored == precision && precision == Precision::Fp32 {
            return Ok(self);
        }
        let error = || Error::Precision {
            stored,
            asked: precision,
            reason: "what was rounded away cannot be made up".to_owned(),
        };
        let mut rounded = std::collections::HashMap::new();
        let mut convert = |matrix: &mut Arc<Matrix>, along: Along| {
            // 4 bits are fewer than 8, and what is beside them is still rounded.
            let is_kept = matrix.precision() == Precision::Int4 && precision == Precision::Int8;
            if is_kept || matrix.precision() == precision {
                return Ok::<(), Error>(());
            }
            let key = (Arc::as_ptr(matrix), along == Along::Rows);
            let known = match rounded.get(&key) {
                Some((_, known)) => Arc::clone(known),
                None => {
                    let new = Arc::new(matrix.to_precision(precision, along).ok_or_else(error)?);
                    // An old matrix with other owners is kept until the end, so no other takes its place in memory.
                    if Arc::strong_count(matrix) > 1 {
                        rounded.insert(key, (matrix.clone(), new.clone()));
                    }
                    new
                }
            };
            *matrix = known;
            Ok(())
        };
        for stack in self.encoder.iter_mut().chain([&mut self.decoder]) {
            for linear in stack.linears_mut() {
                convert(&mut linear.weights, Along::Columns)?;
            }
            convert(&mut stack.embedding.words, Along::Rows)?;
        }
        if let Vocabulary::Own(linear) = &mut self.vocabulary {
            convert(&mut linear.weights, Along::Columns)?;
        }
        Ok(self)
    }

    /// `[key heads, columns of a head]` of what each layer of the decoder keeps of a token.
    pub fn caches(&self) -> Vec<[usize; 2]> {
        let own = |attention: &&Attention| attention.scores.sees != Sees::Source;
        self.decoder
            .attentions()
            .filter(own)
            .map(|Attention { scores, .. }| [scores.key_heads, scores.head_dim])
            .collect()
    }

    /// The block of the decoder with its last attention to earlier tokens.
    pub(crate) fn last_self_attention(&self) -> Option<usize> {
        let blocks: Vec<&Body> = self.decoder.blocks().map(|block| &block.body).collect();
        blocks.iter().rposition(|body| body.attention().is_some_and(|body| body.scores.sees != Sees::Source))
    }

    /// Whether all parts fit each other, which engines trust.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the layer.
    pub fn check(&self) -> Result<()> {
        check(self).map_err(Error::Checkpoint)
    }
}

impl Vocabulary {
    /// The weights of its own, where it has such.
    pub fn own(&self) -> Option<&Linear> {
        match self {
            Vocabulary::Tied => None,
            Vocabulary::Own(linear) => Some(linear),
        }
    }
}

fn check(generator: &Generator) -> std::result::Result<(), String> {
    let Generator { encoder, decoder, vocabulary } = generator;
    let hidden = decoder.hidden();
    let inputs = vocabulary.own().map_or(decoder.embedding.words.columns(), Linear::inputs);
    if inputs != hidden {
        return Err(format!("its vocabulary takes {inputs} columns, and its decoder makes {hidden}"));
    }
    for (number, layer) in decoder.layers.iter().enumerate() {
        let sees: Vec<&Scores> =
            layer.iter().filter_map(|block| block.body.attention()).map(|body| &body.scores).collect();
        let expected = match (sees.as_slice(), encoder) {
            ([own], None) => matches!(own.sees, Sees::Earlier(_)),
            ([own, source], Some(_)) => {
                let alike = own.key_heads == source.key_heads && own.head_dim == source.head_dim;
                matches!(own.sees, Sees::Earlier(_)) && source.sees == Sees::Source && alike
            }
            _ => false,
        };
        if !expected {
            return Err(format!("layer {number} of its decoder has not the attentions that a decoder has"));
        }
    }
    if encoder.as_ref().is_some_and(|encoder| encoder.attentions().any(reads_memory)) {
        return Err("its encoder has an attention of a decoder".to_owned());
    }
    let stacks = encoder.iter().chain([decoder]);
    for (number, body) in stacks.flat_map(Stack::blocks).map(|block| &block.body).enumerate() {
        check_body(body, hidden).map_err(|problem| format!("block {number}: {problem}"))?;
    }
    Ok(())
}

fn reads_memory(attention: &Attention) -> bool {
    matches!(attention.scores.sees, Sees::Earlier(_) | Sees::Source)
}

fn check_body(body: &Body, hidden: usize) -> std::result::Result<(), String> {
    let fits = match body {
        Body::Attention(attention) => {
            let Attention { query, key, value, output, scores } = &**attention;
            let width = scores.heads.checked_mul(scores.head_dim);
            let key_width = scores.key_heads.checked_mul(scores.head_dim);
            let grouped = scores.key_heads > 0 && scores.heads.is_multiple_of(scores.key_heads);
            let widths = Some(query.outputs()) == width && Some(output.inputs()) == width;
            let key_widths = [key, value].iter().all(|linear| Some(linear.outputs()) == key_width);
            let inputs = [query, key, value].iter().all(|linear| linear.inputs() == hidden);
            grouped && widths && key_widths && inputs && output.outputs() == hidden
        }
        Body::FeedForward(feed_forward) => {
            let (up, down) = (&feed_forward.up, &feed_forward.down);
            let gate =
                feed_forward.gate.as_ref().is_none_or(|gate| [gate.inputs(), gate.outputs()] == [hidden, up.outputs()]);
            gate && up.inputs() == hidden && down.inputs() == up.outputs() && down.outputs() == hidden
        }
    };
    if fits { Ok(()) } else { Err("its weights do not fit its heads or its hidden states".to_owned()) }
}
