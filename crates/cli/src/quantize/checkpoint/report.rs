//! What is said of a checkpoint that was written, as text and as JSON.

use super::judge::Judgement;
use crate::terminal::Terminal;
use grice_quantize::checkpoint::Converted;
use grice_quantize::{Form, TextScore};
use serde_json::json;
use std::fmt::Write;

/// A checkpoint that was written.
pub(super) struct Outcome {
    pub(super) form: Form,
    pub(super) converted: Converted,
    /// Without rows there is none.
    pub(super) judgement: Option<Judgement>,
}

impl Outcome {
    /// The JSON of `--json`, which is also in the folder.
    pub(super) fn json(&self) -> String {
        let Converted { family, layers, left, bytes_before, bytes } = &self.converted;
        let report = json!({
            "form": self.form.name(),
            "group": match self.form { Form::Int4 { group } => Some(group), _ => None },
            "family": family,
            "bytes": bytes,
            "bytes_before": bytes_before,
            "quantized_layers": layers,
            "left": left,
            "quality": self.judgement,
        });
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    }

    /// The text form.
    pub(super) fn show(&self, terminal: Terminal) -> String {
        let Converted { family, layers, left, bytes_before, bytes } = &self.converted;
        let [before, now] = [*bytes_before, *bytes].map(|bytes| bytes as f64 / 1e6);
        let form = terminal.paint(terminal.strong(), self.form.name());
        let mut text = format!("{form}: {family}, {now:.2} MB, {before:.2} MB before\n");
        if matches!(self.form, Form::Int8 | Form::Int4 { .. }) {
            _ = writeln!(text, "quantized     {layers} layers; embeddings, norms and the vocabulary stay as they are");
        }
        for layer in left {
            _ = writeln!(text, "left          {}: {}", layer.name, layer.reason);
        }
        let Some(Judgement { rows, score, passed, .. }) = &self.judgement else {
            _ = writeln!(text, "quality       {}", terminal.paint(terminal.note(), "not measured"));
            return text;
        };
        let (style, verdict) = if *passed { (terminal.good(), "within") } else { (terminal.bad(), "outside") };
        let TextScore { tokens, perplexity_before, perplexity_after, mean_kl, agreement } = score;
        _ = writeln!(text, "quality       {} the bounds", terminal.paint(style, verdict));
        _ = writeln!(text, "perplexity    {perplexity_after:.4}, {perplexity_before:.4} before");
        _ = writeln!(text, "mean KL       {mean_kl:.2e} nats");
        _ = writeln!(text, "agreement     {agreement:.4} of the greedy tokens are equal");
        _ = writeln!(text, "rows          {rows}, {tokens} tokens");
        text
    }

    /// The reason for not writing the model, if there is one.
    pub(super) fn refusal(&self) -> Option<String> {
        let judgement = self.judgement.as_ref().filter(|judgement| !judgement.passed)?;
        Some(format!(
            "the quantized model is too far from the original: {}; nothing was written. Try another --to, other bounds, or --force",
            judgement.broken.join("; ")
        ))
    }
}
