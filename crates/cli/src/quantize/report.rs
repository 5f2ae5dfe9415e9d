//! The report, as text, as JSON and for the manifest.

use crate::terminal::Terminal;
use grice_core::Precision;
use grice_quantize::{Effect, Judged, Method, Mode, Report};
use serde_json::{Value, json};
use std::fmt::Write;

/// Number of worst layers in an error message.
const NAMED_MAX: usize = 5;

/// A quantized model and its report.
pub(crate) struct Outcome {
    /// The ONNX file.
    pub(crate) onnx: Vec<u8>,
    mode: Mode,
    method: Option<Method>,
    samples: Option<usize>,
    judgement: Option<Judgement>,
}

struct Judgement {
    report: Report,
    /// Which rows.
    by: &'static str,
    forced: bool,
}

impl Outcome {
    /// With measured quality.
    pub(crate) fn judged(
        judged: Judged,
        method: Option<Method>,
        samples: Option<usize>,
        by: &'static str,
        force: bool,
    ) -> Outcome {
        let forced = force && !judged.report.passed;
        let mode = judged.report.mode;
        let judgement = Some(Judgement { report: judged.report, by, forced });
        Outcome { onnx: judged.onnx, mode, method, samples, judgement }
    }

    /// Without measured quality.
    pub(crate) fn unjudged(mode: Mode, method: Option<Method>, samples: Option<usize>, onnx: Vec<u8>) -> Outcome {
        Outcome { onnx, mode, method, samples, judgement: None }
    }

    /// The precision of the weights.
    pub(crate) fn precision(&self) -> Precision {
        match self.mode {
            Mode::Dynamic | Mode::Static => Precision::Int8,
            Mode::Fp16 => Precision::Fp16,
        }
    }

    /// Whether it reaches the floor; `false` if it was not measured.
    pub(crate) fn passed(&self) -> bool {
        self.judgement.as_ref().is_some_and(|judgement| judgement.report.passed)
    }

    /// The JSON of `--json` and of the manifest.
    pub(crate) fn json(&self) -> Value {
        let mut json = json!({ "mode": self.mode });
        if let Some(judgement) = &self.judgement {
            json = serde_json::to_value(&judgement.report).unwrap_or(json);
            json["judged_by"] = json!(judgement.by);
            json["forced"] = json!(judgement.forced);
        } else {
            json["judged_by"] = Value::Null;
        }
        if let (Some(method), Some(samples)) = (self.method, self.samples) {
            json["calibration"] = json!({ "method": method, "samples": samples });
        }
        json
    }

    /// The text form.
    pub(crate) fn show(&self, terminal: Terminal) -> String {
        let mode = format!("{:?}", self.mode).to_lowercase();
        let megabytes = self.onnx.len() as f64 / 1e6;
        let mut text = format!("{}: {megabytes:.2} MB\n", terminal.paint(terminal.strong(), &mode));
        if let (Some(method), Some(samples)) = (self.method, self.samples) {
            _ = writeln!(text, "calibrated    {samples} samples, {}", format!("{method:?}").to_lowercase());
        }
        let Some(judgement) = &self.judgement else {
            _ = writeln!(text, "quality       {}", terminal.paint(terminal.note(), "not measured"));
            return text;
        };
        let report = &judgement.report;
        let score = &report.score;
        let (style, verdict) = if report.passed { (terminal.good(), "reaches") } else { (terminal.bad(), "is below") };
        let verdict = terminal.paint(style, verdict);
        let what = if score.macro_f1_after.is_some() { "of macro F1 kept" } else { "of the decisions unchanged" };
        _ = writeln!(text, "quality       {:.4} {what}: {verdict} the floor of {}", score.kept, report.floor);
        if let (Some(before), Some(after)) = (score.macro_f1_before, score.macro_f1_after) {
            _ = writeln!(text, "macro F1      {after:.4}, {before:.4} before");
        }
        let agreement = score.agreement.iter().map(|(name, share)| format!("{name} {share:.4}"));
        _ = writeln!(text, "agreement     {}", agreement.collect::<Vec<_>>().join(", "));
        _ = writeln!(text, "mean KL       {:.2e} nats", score.mean_kl);
        _ = writeln!(text, "rows          {} ({} rows)", report.rows, judgement.by);
        _ = writeln!(text, "quantized     {:.1} % of the layers' weights", report.quantized_share * 100.0);
        for layer in &report.kept {
            _ = writeln!(text, "kept fp32     {} (moves logits by {:.4})", layer.name, layer.logit_rms);
        }
        for left in &report.left {
            _ = writeln!(text, "left fp32     {}: {}", left.name, left.reason);
        }
        text
    }

    /// The reason for not writing the model.
    pub(crate) fn refusal(&self) -> String {
        let Some(Judgement { report, .. }) = &self.judgement else {
            return "the quality of the model was not measured".to_owned();
        };
        let worst = |layer: &Effect| format!("{} (moves logits by {:.4})", layer.name, layer.logit_rms);
        let worst: Vec<String> = report.measured.iter().take(NAMED_MAX).map(worst).collect();
        format!(
            "the quantized model keeps {:.4}, below the floor of {}; nothing was written. The worst layers: {}. \
             Try another --mode or --method, a lower --floor, or --force",
            report.score.kept,
            report.floor,
            worst.join(", ")
        )
    }
}
