//! From a generator to its steps: one list for the source, where it has an encoder, and one for the decoder.

use super::walk::Walk;
use super::{Memory, Steps};
use crate::generator::{Generator, Vocabulary};
use crate::program::{Body, Embedding, Scores, Sees, Stack};
use crate::weights::Linear;
use grice_kernels::LayerNorm;

/// The steps of a generator.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorSteps {
    /// From the tokens of a source to the keys and values that cross-attention reads. It leaves nothing else.
    pub source: Option<Steps>,
    /// From new tokens to logits `[asked tokens, vocabulary]`.
    pub decoder: Steps,
    /// The attention whose keys and values each layer keeps: memory numbers are layers of the decoder.
    pub caches: Vec<usize>,
}

/// What the steps of a generator name by number.
#[derive(Clone, Debug)]
pub struct GeneratorParts {
    /// The tables of the encoder.
    pub source: Option<Embedding>,
    /// The tables of the decoder.
    pub decoder: Embedding,
    /// Dense layers of the same input, side by side. The last one is the product with the vocabulary; it has no parts where that is the
    /// transposed table of words of `decoder`.
    pub linears: Vec<Vec<Linear>>,
    /// Normalisations.
    pub norms: Vec<LayerNorm>,
    /// Attentions.
    pub attentions: Vec<Scores>,
}

impl Generator {
    /// Its steps and what they name.
    pub fn into_steps(self) -> (GeneratorSteps, GeneratorParts) {
        let (hidden, words, picks_at) = (self.hidden(), self.vocabulary(), self.last_self_attention());
        let Generator { encoder, decoder, vocabulary } = self;
        let mut walk = Walk::new(hidden, None);
        let source = encoder.map(|encoder| {
            let embedding = encoder.embedding.clone();
            walk.source(encoder, &decoder);
            (walk.take_list(), embedding)
        });
        walk.picks_at = picks_at;
        let Stack { embedding, layers, last } = decoder;
        walk.embed(embedding.columns(), embedding.projection.clone());
        let mut caches = Vec::with_capacity(layers.len());
        for (number, layer) in layers.into_iter().enumerate() {
            walk.layer = Some(number);
            for block in layer {
                let keeps = matches!(&block.body, Body::Attention(body) if body.scores.sees != Sees::Source);
                walk.block(block);
                if keeps {
                    caches.push(walk.kept.unwrap_or_default());
                }
            }
        }
        walk.layer = None;
        walk.finish(last);
        let parts = match vocabulary {
            Vocabulary::Tied => Vec::new(),
            Vocabulary::Own(linear) => vec![linear],
        };
        walk.words(words, parts);
        let list = walk.take_list();
        let steps = |(list, answer), columns| {
            let mut steps = walk.steps(list, answer, columns);
            steps.linears.last_mut().into_iter().for_each(|size| *size = [hidden, words]);
            steps
        };
        let (source_columns, columns) =
            (source.as_ref().map_or(0, |(_, embedding)| embedding.columns()), embedding.columns());
        let (source_list, source_embedding) = source.unzip();
        let steps = GeneratorSteps {
            source: source_list.map(|list| steps(list, source_columns)),
            decoder: steps(list, columns),
            caches,
        };
        let Walk { linears, norms, attentions, .. } = walk;
        (steps, GeneratorParts { source: source_embedding, decoder: embedding, linears, norms, attentions })
    }
}

impl Memory {
    /// Whose keys and values an attention reads, if it reads what was kept.
    pub(super) fn of(sees: Sees) -> Option<Memory> {
        match sees {
            Sees::All | Sees::Window(_) => None,
            Sees::Earlier(_) => Some(Memory::Own),
            Sees::Source => Some(Memory::Source),
        }
    }
}
