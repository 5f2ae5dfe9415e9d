//! The quality gate: compares a quantized model with its source, and keeps the worst layers in fp32.
//!
//! First all layers are quantized. If the score is below the floor, the layers that look noisiest are measured, each quantized alone;
//! then the worst is kept in fp32, then the two worst, and so on, until the floor is reached or too many weights would be kept.

use crate::calibrate::Activations;
use crate::score::{Answers, Column, Rows, Score, check_answers, compare, logit_noise};
use crate::source::{LayerKind, Left, Mode, Source};
use crate::write::Ranges;
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeSet;

/// Runs models. Closures implement it, so that this crate needs no engine.
pub trait Evaluate {
    /// Logits of an ONNX file for rows of token ids, in order.
    ///
    /// # Errors
    /// Why it cannot be run, in one line.
    fn logits(&mut self, onnx: &[u8], rows: &[Vec<u32>]) -> Result<Answers, String>;
}

impl<F: FnMut(&[u8], &[Vec<u32>]) -> Result<Answers, String>> Evaluate for F {
    fn logits(&mut self, onnx: &[u8], rows: &[Vec<u32>]) -> Result<Answers, String> {
        self(onnx, rows)
    }
}

/// The requirements for a quantized model, and the limits of the search.
#[derive(Clone, Debug)]
pub struct Gate<'r> {
    /// How logits become decisions.
    pub columns: &'r [Column],
    /// The rows to measure with.
    pub rows: &'r Rows,
    /// The minimum [`Score::kept`].
    pub floor: f64,
    /// The maximum share of weights that may stay in fp32.
    pub kept_share_max: f64,
    /// The number of layers to measure alone.
    pub layers_measured_max: usize,
    /// The number of rows for that.
    pub rows_measured_max: usize,
}

impl<'r> Gate<'r> {
    /// A gate with the default limits: a fifth of the weights, 24 layers measured with 32 rows.
    pub fn new(columns: &'r [Column], rows: &'r Rows, floor: f64) -> Gate<'r> {
        Gate { columns, rows, floor, kept_share_max: 0.2, layers_measured_max: 24, rows_measured_max: 32 }
    }
}

/// The current action of the gate, for display.
#[derive(Clone, Copy, Debug)]
pub enum Phase<'l> {
    /// Runs the fp32 model.
    Before,
    /// Quantizes all layers and runs the model.
    Whole,
    /// Quantizes one layer alone and runs the model.
    Measuring {
        /// Name of the layer.
        layer: &'l str,
        /// Its number, from 1.
        place: usize,
        /// The number of layers.
        of: usize,
    },
    /// Keeps one more layer in fp32 and runs the model.
    Keeping {
        /// Name of the layer.
        layer: &'l str,
    },
}

/// The effect of quantizing one layer alone on the logits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// Name of the layer.
    pub name: String,
    /// How it uses its weights.
    pub kind: LayerKind,
    /// Its number of weights.
    pub weights: usize,
    /// Root mean square difference of the logits.
    pub logit_rms: f64,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How the model was quantized.
    pub mode: Mode,
    /// The minimum score.
    pub floor: f64,
    /// Whether the model reaches it.
    pub passed: bool,
    /// Number of rows.
    pub rows: usize,
    /// The comparison.
    pub score: Score,
    /// Share of the layers' weights that are quantized.
    pub quantized_share: f64,
    /// Layers kept in fp32 for quality, the worst first.
    pub kept: Vec<Effect>,
    /// The measured layers, the worst first; empty if that was not necessary.
    pub measured: Vec<Effect>,
    /// Weights that cannot be quantized.
    pub left: Vec<Left>,
}

/// A quantized file and its quality.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The ONNX file: the best attempt, even if it does not pass.
    pub onnx: Vec<u8>,
    /// Its quality.
    pub report: Report,
}

/// Quantizes `source`, the parsed form of `onnx`, so that it passes the gate with as few layers in fp32 as possible.
/// [`Report::passed`] says whether it passes.
///
/// # Errors
/// [`Error::Evaluate`] for a model that cannot run, [`Error::Judge`] for answers that cannot be compared, and the errors of
/// [`Source::write`].
pub fn quantize_within(
    source: &Source,
    onnx: &[u8],
    calibrated: Option<(&Activations, &Ranges)>,
    gate: &Gate<'_>,
    evaluate: &mut impl Evaluate,
    progress: &mut impl FnMut(Phase<'_>),
) -> Result<Judged> {
    progress(Phase::Before);
    let before = evaluate.logits(onnx, &gate.rows.ids).map_err(Error::Evaluate)?;
    check_answers("the fp32 model", gate.columns, gate.rows, &before)?;
    let none = Ranges::new();
    let ranges = calibrated.map_or(&none, |(_, ranges)| ranges);
    let mut search = Search { source, ranges, gate, evaluate, before: &before };
    progress(Phase::Whole);
    let mut best = search.attempt(&[])?;
    let mut measured = Vec::new();
    if best.score.kept < gate.floor {
        let observed;
        let activations = match calibrated {
            Some((activations, _)) => activations,
            None => {
                observed = Activations::observe(source, &search.few_rows(), || {})?;
                &observed
            }
        };
        measured = search.measure(activations, progress)?;
        best = search.keep_worst(best, &measured, progress)?;
    }
    let effects = |places: &[(usize, f64)]| places.iter().map(|&(place, rms)| effect(source, place, rms)).collect();
    let kept: Vec<(usize, f64)> = measured.iter().filter(|(place, _)| best.kept.contains(place)).copied().collect();
    let all: usize = source.layers().iter().map(|layer| layer.weights).sum();
    let kept_weights: usize = best.kept.iter().map(|&place| source.layers()[place].weights).sum();
    let report = Report {
        mode: source.mode(),
        floor: gate.floor,
        passed: best.score.kept >= gate.floor,
        rows: gate.rows.ids.len(),
        score: best.score,
        quantized_share: 1.0 - kept_weights as f64 / all.max(1) as f64,
        kept: effects(&kept),
        measured: effects(&measured),
        left: source.left().to_vec(),
    };
    Ok(Judged { onnx: best.onnx, report })
}

fn effect(source: &Source, place: usize, logit_rms: f64) -> Effect {
    let layer = &source.layers()[place];
    Effect { name: layer.name.clone(), kind: layer.kind, weights: layer.weights, logit_rms }
}

/// Writes and measures one choice of layers.
struct Attempt {
    kept: Vec<usize>,
    onnx: Vec<u8>,
    score: Score,
}

struct Search<'s, E> {
    source: &'s Source,
    ranges: &'s Ranges,
    gate: &'s Gate<'s>,
    evaluate: &'s mut E,
    before: &'s Answers,
}

impl<E: Evaluate> Search<'_, E> {
    fn attempt(&mut self, kept: &[usize]) -> Result<Attempt> {
        let onnx = self.source.write(&kept.iter().copied().collect(), self.ranges)?;
        let after = self.evaluate.logits(&onnx, &self.gate.rows.ids).map_err(Error::Evaluate)?;
        let score = compare(self.gate.columns, self.gate.rows, self.before, &after)?;
        Ok(Attempt { kept: kept.to_vec(), onnx, score })
    }

    /// The layers that look noisiest, with the root mean square that each alone adds to the logits; the worst first.
    fn measure(
        &mut self,
        activations: &Activations,
        progress: &mut impl FnMut(Phase<'_>),
    ) -> Result<Vec<(usize, f64)>> {
        let noise = self.source.estimate_noise(activations, self.ranges)?;
        let mut candidates: Vec<usize> = (0..noise.len()).collect();
        candidates.sort_by(|&a, &b| noise[b].total_cmp(&noise[a]));
        candidates.truncate(self.gate.layers_measured_max);
        let rows = self.few_rows();
        let before: Answers = self.few_places().map(|place| self.before[place].clone()).collect();
        let mut measured = Vec::new();
        for (done, &place) in candidates.iter().enumerate() {
            let layer = &self.source.layers()[place].name;
            progress(Phase::Measuring { layer, place: done + 1, of: candidates.len() });
            let others: BTreeSet<usize> = (0..noise.len()).filter(|&other| other != place).collect();
            let onnx = self.source.write(&others, self.ranges)?;
            let after = self.evaluate.logits(&onnx, &rows).map_err(Error::Evaluate)?;
            measured.push((place, logit_noise(&before, &after).sqrt()));
        }
        measured.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(measured)
    }

    /// Keeps one layer after the other in fp32 until the floor is reached; otherwise returns the best attempt.
    fn keep_worst(
        &mut self,
        whole: Attempt,
        measured: &[(usize, f64)],
        progress: &mut impl FnMut(Phase<'_>),
    ) -> Result<Attempt> {
        let layers = self.source.layers();
        let all: usize = layers.iter().map(|layer| layer.weights).sum();
        let kept_max = (all as f64 * self.gate.kept_share_max) as usize;
        let (mut kept, mut kept_weights, mut best) = (Vec::new(), 0, whole);
        for &(place, rms) in measured {
            if rms == 0.0 || kept_weights + layers[place].weights > kept_max {
                continue;
            }
            kept.push(place);
            kept_weights += layers[place].weights;
            progress(Phase::Keeping { layer: &layers[place].name });
            let attempt = self.attempt(&kept)?;
            if attempt.score.kept > best.score.kept {
                best = attempt;
            }
            if best.score.kept >= self.gate.floor {
                break;
            }
        }
        Ok(best)
    }

    /// Selects rows evenly.
    fn few_places(&self) -> impl Iterator<Item = usize> + use<E> {
        let (all, few) = (self.gate.rows.ids.len(), self.gate.rows_measured_max.max(1));
        (0..all.min(few)).map(move |place| place * all / all.min(few))
    }

    fn few_rows(&self) -> Vec<Vec<u32>> {
        self.few_places().map(|place| self.gate.rows.ids[place].clone()).collect()
    }
}
