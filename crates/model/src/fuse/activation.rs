//! What a piece does to each element of what a dense layer makes, found by running it.

use super::glue::{Glue, elements, random, scaled, tensor};
use super::region::Region;
use super::sample::Sample;
use super::unfused::Fused;
use crate::program::Unfused;
use grice_kernels::{Activation, Isa, vector};
use std::cell::RefCell;
use std::collections::HashMap;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_core::internal::{ensure, format_err};

const CANDIDATES: [Activation; 6] = [
    Activation::Identity,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Tanh,
    Activation::Silu,
];

/// `activation(x)`, or `activation(gate) · up`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) activation: Activation,
    /// Which of the two halves is the gate, where there are two.
    pub(super) gate: Option<usize>,
}

/// What was found for pieces, by their signatures.
pub(super) struct Activations<'a, 'p> {
    glue: &'a Glue<'a, 'p>,
    known: RefCell<HashMap<String, Found>>,
}

/// What a piece was fed, one half after the other, and what it made: of tokens that are not masked.
struct Run {
    halves: Vec<Vec<f32>>,
    found: Vec<f32>,
}

impl<'a, 'p> Activations<'a, 'p> {
    pub(super) fn new(glue: &'a Glue<'a, 'p>) -> Self {
        Activations { glue, known: RefCell::default() }
    }

    /// What a piece does to each element of `up`, if that is a known activation.
    pub(super) fn plain(&self, region: &Region<'p>, up: &'p str) -> Fused<Activation> {
        Ok(self.find(region, &[up], &[None])?.activation)
    }

    /// What a piece makes of a gate and what it lets through: two sources, or the two halves of one.
    pub(super) fn gated(&self, region: &Region<'p>, sources: &[&'p str]) -> Fused<Found> {
        self.find(region, sources, &[Some(0), Some(1)])
    }

    fn find(&self, region: &Region<'p>, sources: &[&'p str], gates: &[Option<usize>]) -> Fused<Found> {
        // Which source comes first in the piece is part of what was found.
        let order: Vec<bool> = region.data().map(|source| sources.first() == Some(&source)).collect();
        let signature = self.glue.signature(region);
        let key = format!("{gates:?} {order:?} {signature}");
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(*known);
        }
        let unknown = || Unfused::new(format!("`{}` is no activation that grice knows", region.value));
        let run = |sample| self.run(region, sources, gates.len() > 1, sample);
        let small = run(Sample::SMALL).map_err(|_| unknown())?;
        let candidates =
            CANDIDATES.iter().flat_map(|&activation| gates.iter().map(move |&gate| Found { activation, gate }));
        let found = candidates.into_iter().find(|found| small.is(found)).ok_or_else(unknown)?;
        let text = match found {
            Found { activation, gate: None } => format!("{activation:?} {signature}"),
            Found { .. } => format!("{found:?} {order:?} {signature}"),
        };
        let is_token_wise = self.glue.regions.is_token_wise(region);
        self.glue.ladder.check(&text, region.value, is_token_wise, |sample| Ok(run(sample)?.is(&found)))?;
        self.known.borrow_mut().insert(key, found);
        Ok(found)
    }

    fn run(&self, region: &Region<'p>, sources: &[&'p str], halved: bool, sample: Sample) -> TractResult<Run> {
        let mut feeds = self.glue.feeds(region, sample, 1)?;
        let mut halves = Vec::new();
        for (seed, source) in sources.iter().enumerate() {
            let fed = feeds.get(source).ok_or_else(|| format_err!("`{source}` is not read"))?;
            let shape = fed.shape().to_vec();
            // Out to where every candidate has levelled off.
            let values = scaled(random(&shape, 6 + seed as u64), 4.0 * sample.factor);
            feeds.insert(source, tensor(&shape, &values)?);
            let (tokens, columns) = (self.glue.tokens_in(source, sample.tokens), shape.last().copied().unwrap_or(1));
            let rows = sample.unmasked(&values, tokens, columns);
            match halved && sources.len() == 1 {
                false => halves.push(rows.concat()),
                true => {
                    let width = (columns / 2).max(1);
                    let half = |part| rows.iter().flat_map(move |row| row.chunks(width).nth(part));
                    halves.extend([0, 1].map(|part| half(part).flatten().copied().collect()));
                }
            }
        }
        let made = elements(&self.glue.probe.run(region, &feeds)?)?;
        let tokens = sources.iter().map(|source| self.glue.tokens_in(source, sample.tokens)).min().unwrap_or(1);
        let columns = made.len() / (sample.rows * tokens).max(1);
        let found = sample.unmasked(&made, tokens, columns).concat();
        ensure!(halves.iter().all(|half| half.len() == found.len()), "it makes {} elements", made.len());
        Ok(Run { halves, found })
    }
}

impl Run {
    /// GELU and its tanh approximation differ by up to 5e-4, which must be told apart. What a gate lets through is as far off as it is large.
    fn is(&self, found: &Found) -> bool {
        let gate = found.gate.unwrap_or(0);
        let mut expected = self.halves[gate].clone();
        apply(found.activation, &mut expected);
        let factors = found.gate.map(|gate| &self.halves[1 - gate]);
        self.found.iter().zip(&expected).enumerate().all(|(place, (found, expected))| {
            let factor = factors.map_or(1.0, |factors| factors[place]);
            let expected = expected * factor;
            (found - expected).abs() <= 2e-5 * expected.abs().max(factor.abs()).max(1.0)
        })
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
