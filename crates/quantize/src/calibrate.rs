//! Runs the fp32 model on samples, to measure the range of its activations.

use crate::histogram::Histogram;
use crate::source::Source;
use crate::threshold::{Method, choose_range};
use crate::write::Ranges;
use crate::{Error, Result};
use grice_model::{FixedAxes, Observed};
use std::collections::BTreeMap;
use tract_onnx::prelude::*;

/// Statistics of the activations that quantized layers multiply with their weights, by name.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    seen: BTreeMap<String, Activation>,
    samples: usize,
}

/// Statistics of one value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activation {
    histogram: Histogram,
    /// Sum of squares of each channel of the last axis.
    pub(crate) channel_squares: Vec<f64>,
    /// Number of channel vectors.
    pub(crate) vectors: u64,
    /// Sum over samples of the squared width of the range.
    span_squares: f64,
    samples: u64,
}

impl Activations {
    /// Runs the token ids of the samples, each alone and without padding. Calls `progress` after each.
    ///
    /// # Errors
    /// [`Error::NoSamples`], [`Error::Import`] for a graph that cannot be run, [`Error::Run`], and [`Error::NotFiniteActivation`].
    pub fn observe(source: &Source, samples: &[Vec<u32>], mut progress: impl FnMut()) -> Result<Activations> {
        let samples: Vec<&Vec<u32>> = samples.iter().filter(|ids| !ids.is_empty()).collect();
        if samples.is_empty() {
            return Err(Error::NoSamples);
        }
        let names = source.activations();
        let mut runner = Runner::plan(source, &names)?;
        let mut seen = BTreeMap::new();
        for name in &names {
            seen.insert(name.clone(), Activation::default());
        }
        let rows = source.vocabulary().unwrap_or(usize::MAX);
        for (place, ids) in samples.iter().enumerate() {
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= rows) {
                return Err(Error::TokenId { sample: place + 1, id, rows });
            }
            let run =
                |error: TractError| Error::Run { sample: place + 1, cause: format!("{error:#}").replace('\n', " ") };
            let outputs = runner.run(ids).map_err(run)?;
            for (name, output) in names.iter().zip(outputs) {
                let Some(activation) = seen.get_mut(name) else { continue };
                let plain = output.try_as_plain_ram().map_err(run)?;
                let channels = output.shape().last().copied().unwrap_or(1);
                if !activation.add(plain.as_slice::<f32>().map_err(run)?, channels) {
                    return Err(Error::NotFiniteActivation(name.clone()));
                }
            }
            progress();
        }
        Ok(Activations { seen, samples: samples.len() })
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The range of each activation, by a method.
    pub fn ranges(&self, method: Method) -> Ranges {
        self.seen.iter().map(|(name, activation)| (name.clone(), choose_range(&activation.histogram, method))).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Activation> {
        self.seen.get(name)
    }
}

impl Activation {
    fn add(&mut self, values: &[f32], channels: usize) -> bool {
        let finite = self.histogram.add(values);
        self.channel_squares.resize(channels, 0.0);
        let (mut low, mut high) = (0.0f32, 0.0f32);
        for vector in values.chunks_exact(channels.max(1)) {
            for (sum, &value) in self.channel_squares.iter_mut().zip(vector) {
                *sum += f64::from(value) * f64::from(value);
                low = low.min(value);
                high = high.max(value);
            }
            self.vectors += 1;
        }
        self.span_squares += (f64::from(high) - f64::from(low)).powi(2);
        self.samples += 1;
        finite
    }

    /// Mean squared width of the range of a sample.
    pub(crate) fn span_square_mean(&self) -> f64 {
        self.span_squares / (self.samples.max(1)) as f64
    }
}

/// The planned graph with the activations as outputs.
struct Runner {
    state: TypedSimpleState,
    takes_token_types: bool,
}

impl Runner {
    fn plan(source: &Source, names: &[String]) -> Result<Runner> {
        let observed = Observed::import(source.model.clone(), names)?;
        if observed.axes != FixedAxes::default() {
            return Err(Error::FixedAxes);
        }
        let takes_token_types = observed.takes_token_types;
        let plan = || -> TractResult<TypedSimpleState> {
            let mut typed = observed.typed;
            typed.optimize()?;
            typed.into_runnable()?.spawn()
        };
        let graph = |error: TractError| Error::Import(grice_model::Error::Graph(format!("{error:#}")));
        Ok(Runner { state: plan().map_err(graph)?, takes_token_types })
    }

    fn run(&mut self, ids: &[u32]) -> TractResult<TVec<TValue>> {
        let shape = [1, ids.len()];
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let mut inputs = tvec!(
            Tensor::from_shape(&shape, &ids)?.into_tvalue(),
            Tensor::from_shape(&shape, &vec![1i64; ids.len()])?.into_tvalue()
        );
        if self.takes_token_types {
            inputs.push(Tensor::zero::<i64>(&shape)?.into_tvalue());
        }
        self.state.run(inputs)
    }
}
