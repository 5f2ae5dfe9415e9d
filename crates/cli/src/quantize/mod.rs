//! `quantize`: converts an fp32 model to a smaller one, and checks its quality.
//!
//! ```text
//! origin ─► samples ─► (calibrate) ─► quantize and judge ─► report ─► target
//! ```

mod checkpoint;
mod origin;
mod report;
mod samples;
mod target;

use crate::args::{Common, Quantize, QuantizeMethod, QuantizeMode};
use crate::error::{CliError, Result};
use crate::model::{quietly, threads};
use crate::output::write_stdout;
use crate::progress::Spinner;
use crate::terminal::Terminal;
use grice_core::{Batch, Engine, Options, plan_engine};
use grice_quantize::{
    Activations, Answers, Evaluate, Gate, Judged, Method, Mode, Phase, Ranges, Rows, Source, quantize_within,
};
use origin::Origin;
use report::Outcome;
use samples::{Samples, read_samples};
use std::collections::BTreeSet;
use target::Target;

/// Sequences per batch.
const ROWS_TOGETHER: usize = 64;

/// Quantizes a model and writes it.
///
/// # Errors
/// [`CliError::BelowFloor`] if the model is not good enough (nothing is written); errors of the model or the rows.
pub(crate) fn run(args: &Quantize, common: &Common) -> Result<()> {
    if let Some(form) = args.to {
        return checkpoint::run(form, args, common);
    }
    let Some(mode) = args.mode else {
        return Err(CliError::QuantizeForm("name a form with --mode or --to".to_owned()));
    };
    checkpoint::refuse(common)?;
    if mode == QuantizeMode::Static && args.calibration.is_none() {
        return Err(CliError::NoCalibration);
    }
    if args.data.is_none() && args.calibration.is_none() && !args.force {
        return Err(CliError::NoQualityData);
    }
    let mut origin = Origin::open(common)?;
    // Checks that do not need the model come first, because quantizing takes minutes.
    let target = Target::choose(args, mode, &origin)?;
    let spinner = Spinner::new(common.quiet);
    spinner.say("reading rows");
    let encoder = origin.load_encoder(common)?;
    let calibration = args.calibration.as_deref();
    let calibration = calibration.map(|path| read_samples(path, &encoder, Some(args.samples.get()))).transpose()?;
    let data = args.data.as_deref().map(|path| read_samples(path, &encoder, None)).transpose()?;
    drop(encoder);
    let outcome = quantize(args, mode, common, &origin, calibration.as_ref(), data.as_ref(), &spinner)?;
    drop(spinner);
    let text = if args.json {
        serde_json::to_string_pretty(&outcome.json()).unwrap_or_default() + "\n"
    } else {
        outcome.show(Terminal::of_stdout(common.color))
    };
    write_stdout(text.as_bytes())?;
    if !outcome.passed() && !args.force {
        return Err(CliError::BelowFloor(outcome.refusal()));
    }
    target.write(&origin, &outcome)
}

fn quantize(
    args: &Quantize,
    mode: QuantizeMode,
    common: &Common,
    origin: &Origin,
    calibration: Option<&Samples>,
    data: Option<&Samples>,
    spinner: &Spinner,
) -> Result<Outcome> {
    let failed = |source| CliError::Quantize { place: origin.place(), source };
    let onnx = origin.onnx()?;
    let source = Source::read(&onnx, mode.into()).map_err(failed)?;
    let mut calibrated: Option<(Activations, Ranges)> = None;
    if let Some(samples) = calibration.filter(|_| source.mode() == Mode::Static) {
        let mut done = 0;
        let observed = quietly(|| {
            Activations::observe(&source, &samples.ids, || {
                done += 1;
                spinner.say(&format!("calibrating: {done} of {} samples", samples.ids.len()));
            })
        })?;
        let activations = observed.map_err(failed)?;
        let ranges = activations.ranges(args.method.into());
        calibrated = Some((activations, ranges));
    }
    let method = calibrated.is_some().then(|| Method::from(args.method));
    let samples = calibrated.as_ref().map(|(activations, _)| activations.samples());
    let Some(judges) = data.or(calibration) else {
        let none = Ranges::new();
        let bytes = source.write(&BTreeSet::new(), calibrated.as_ref().map_or(&none, |(_, ranges)| ranges));
        return Ok(Outcome::unjudged(source.mode(), method, samples, bytes.map_err(failed)?));
    };
    let columns = origin.columns(source.columns());
    let rows = Rows { ids: judges.ids.clone(), labels: judges.labels.as_ref().and_then(|labels| origin.order(labels)) };
    let gate = Gate::new(&columns, &rows, args.floor);
    let options = Options { threads: Some(threads(common)), ..Options::default() };
    // This tests the ranges in a static file, which engines that fuse it may ignore.
    let as_written = source.mode() == Mode::Static;
    let mut evaluate = OnEngine { place: origin.place(), labels: columns.len(), as_written, options };
    let calibrated = calibrated.as_ref().map(|(activations, ranges)| (activations, ranges));
    let mut progress = |step: Phase<'_>| spinner.say(&describe(step));
    let judged: Judged =
        quantize_within(&source, &onnx, calibrated, &gate, &mut evaluate, &mut progress).map_err(failed)?;
    let judged_by = if data.is_some() { "data" } else { "calibration" };
    Ok(Outcome::judged(judged, method, samples, judged_by, args.force))
}

fn describe(step: Phase<'_>) -> String {
    match step {
        Phase::Before => "judging the fp32 model".to_owned(),
        Phase::Whole => "judging the quantized model".to_owned(),
        Phase::Measuring { layer, place, of } => {
            format!("below the floor; measuring layer {place} of {of}: {layer}")
        }
        Phase::Keeping { layer } => format!("keeping in fp32: {layer}"),
    }
}

/// Core's engine, with a new plan for each file.
struct OnEngine {
    place: String,
    labels: usize,
    as_written: bool,
    options: Options,
}

impl Evaluate for OnEngine {
    fn logits(&mut self, onnx: &[u8], rows: &[Vec<u32>]) -> Result<Answers, String> {
        let run = || -> grice_core::Result<Answers> {
            let mut engine = plan_engine(&self.place, onnx, self.labels, self.as_written, &self.options)?;
            let mut answers = Vec::with_capacity(rows.len());
            for rows in rows.chunks(ROWS_TOGETHER) {
                let logits =
                    engine.forward(&Batch::pack(rows).map_err(|error| grice_core::Error::Batch(error.into()))?)?;
                answers.extend((0..logits.rows()).map(|row| logits.row(row).to_vec()));
            }
            Ok(answers)
        };
        quietly(run).map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

impl From<QuantizeMode> for Mode {
    fn from(mode: QuantizeMode) -> Mode {
        match mode {
            QuantizeMode::Dynamic => Mode::Dynamic,
            QuantizeMode::Static => Mode::Static,
            QuantizeMode::Fp16 => Mode::Fp16,
        }
    }
}

impl From<QuantizeMethod> for Method {
    fn from(method: QuantizeMethod) -> Method {
        match method {
            QuantizeMethod::Minmax => Method::MinMax,
            QuantizeMethod::Entropy => Method::Entropy,
            QuantizeMethod::Percentile => Method::Percentile,
        }
    }
}
