//! An engine that keeps tokens where a real one keeps keys and values, so it notices a want that continues what is not there.

use crate::toy::{Toy, VOCABULARY};
use grice_core::generate::{DecodeError, DecodeOptions, Decoding, Generated, Progress, Start};
use std::sync::Arc;

/// What the engine has run for each want of the last step.
#[derive(Clone, Default)]
pub(crate) struct Engine {
    kept: Vec<Vec<u32>>,
    /// How often it ran.
    pub(crate) runs: usize,
}

impl Engine {
    /// Runs the wants of a decoding. Its logits, `[rows, vocabulary]`.
    pub(crate) fn run(&mut self, toy: &Toy, decoding: &Decoding) -> Vec<f32> {
        let (mut kept, mut logits) = (Vec::new(), Vec::new());
        for want in decoding.wants() {
            assert!(!want.tokens.is_empty());
            let mut tokens = if want.kept == 0 { Vec::new() } else { self.kept[want.parent][..want.kept].to_vec() };
            tokens.extend(want.tokens);
            for end in tokens.len() + 1 - want.asked()..=tokens.len() {
                logits.extend(toy.logits(&tokens[..end]));
            }
            kept.push(tokens);
        }
        self.kept = kept;
        self.runs += 1;
        logits
    }

    /// Takes a decoding one step further.
    pub(crate) fn step(&mut self, toy: &Toy, decoding: &mut Decoding) -> Result<Progress, DecodeError> {
        let mut logits = self.run(toy, decoding);
        decoding.advance(&mut logits)
    }

    /// Takes a decoding to its end.
    pub(crate) fn finish(&mut self, toy: &Toy, decoding: &mut Decoding) -> Vec<Generated> {
        loop {
            if let Progress::Done(generated) = self.step(toy, decoding).unwrap() {
                return generated;
            }
        }
    }
}

/// The start of a toy's sequence.
pub(crate) fn start(toy: &Toy, prompt: &[u32]) -> Start {
    let source = (!toy.source.is_empty()).then(|| Arc::from(toy.source.as_slice()));
    Start { prompt: prompt.into(), source, vocabulary: VOCABULARY }
}

/// A decoding at its start.
pub(crate) fn begin(toy: &Toy, prompt: &[u32], options: &DecodeOptions) -> Decoding {
    Decoding::new(Arc::new(options.clone()), start(toy, prompt)).unwrap()
}

/// What a toy generates.
pub(crate) fn generate(toy: &Toy, prompt: &[u32], options: &DecodeOptions) -> Vec<Generated> {
    Engine::default().finish(toy, &mut begin(toy, prompt, options))
}
