//! `grice.json`: labels, temperatures, thresholds and the text template of a bundle (`docs/bundle.md`).

use crate::{Error, Family, Maxim, PerMaxim, Precision, Proof, Result, THRESHOLD_EXPECTED, is_threshold, utf16_hint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The formats that this build reads. They are equal for detectors; the second one has other tasks as well.
const FORMATS: std::ops::RangeInclusive<u32> = 1..=2;
/// The shortest sequence that leaves room for a template and a few words.
const MAX_TOKENS_LEAST: usize = 16;
/// Far beyond any encoder here; keeps a broken manifest from asking for quadratic attention over a book.
const MAX_TOKENS_MOST: usize = 8192;

/// What a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Task {
    /// Says which maxims a response violates.
    Detect,
}

/// The parsed and checked manifest.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// Version of the manifest's own format.
    pub format: u32,
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// What the bundle is for.
    pub task: Task,
    /// The encoder's architecture.
    pub family: Family,
    /// How a dialogue turn becomes text.
    pub template: String,
    /// How one turn of a context becomes text.
    pub turn_template: String,
    /// Evidence made only of these items counts as absent.
    pub evidence_ignored: Vec<String>,
    /// The maxims, in the order of the graph's output columns.
    pub labels: Vec<Maxim>,
    /// probability = sigmoid(logit / temperature).
    pub temperatures: PerMaxim<f32>,
    /// violated when probability > threshold.
    pub thresholds: PerMaxim<f32>,
    /// The longest sequence in tokens, special tokens included.
    pub max_tokens: usize,
    /// Which file serves which precision, relative to the bundle.
    pub models: BTreeMap<Precision, String>,
    /// `sha256:<hex>` of files, by their path.
    pub digests: BTreeMap<String, String>,
    /// That the fused programs of files equal their graphs at every length, by path.
    pub fused: BTreeMap<String, Proof>,
    /// Evaluation figures, free form.
    pub quality: serde_json::Value,
}

/// The manifest as it is written, before it is checked.
#[derive(Deserialize)]
struct Written {
    format: u32,
    name: String,
    #[serde(default)]
    version: String,
    task: Task,
    family: Family,
    template: String,
    turn_template: Option<String>,
    #[serde(default)]
    evidence_ignored: Vec<String>,
    labels: Vec<String>,
    temperatures: Option<PerMaxim<f64>>,
    thresholds: Option<PerMaxim<f64>>,
    max_tokens: usize,
    #[serde(default)]
    models: BTreeMap<Precision, String>,
    #[serde(default)]
    digests: BTreeMap<String, String>,
    #[serde(default)]
    fused: BTreeMap<String, Proof>,
    #[serde(default)]
    quality: serde_json::Value,
}

impl Manifest {
    /// Reads and checks `grice.json`.
    ///
    /// # Errors
    /// [`Error::ManifestSyntax`], [`Error::ManifestField`] or [`Error::ManifestNumber`], naming the field.
    pub fn parse(json: &[u8]) -> Result<Manifest> {
        Manifest::parse_beside(json, &|_| false)
    }

    /// As [`Manifest::parse`]. Where the manifest names no model, the files beside it that have the names of one are taken; `has`
    /// says which paths there are.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn parse_beside(json: &[u8], has: &dyn Fn(&str) -> bool) -> Result<Manifest> {
        // The hint is about commands, which browsers do not have.
        #[cfg(not(target_family = "wasm"))]
        check_task(json)?;
        let mut written: Written = serde_json::from_slice(json)
            .map_err(|error| Error::ManifestSyntax(utf16_hint(json).unwrap_or_else(|| error.to_string())))?;
        if !FORMATS.contains(&written.format) {
            let (first, last) = (FORMATS.start(), FORMATS.end());
            return Err(field(
                "format",
                format!("this build reads formats {first} to {last}, found {}", written.format),
            ));
        }
        check_template("template", &written.template, &["{context}", "{evidence}", "{response}"], "{response}")?;
        let turn_template = written.turn_template.unwrap_or_else(|| "[{speaker}]: {text}".to_owned());
        check_template("turn_template", &turn_template, &["{speaker}", "{text}"], "{text}")?;
        if !(MAX_TOKENS_LEAST..=MAX_TOKENS_MOST).contains(&written.max_tokens) {
            let range = format!("must lie in {MAX_TOKENS_LEAST}..={MAX_TOKENS_MOST}, found {}", written.max_tokens);
            return Err(field("max_tokens", range));
        }
        if written.models.is_empty() {
            written.models = find_models(has);
        }
        if written.models.is_empty() {
            let problem = "names no ONNX file, and none of a usual name lies in the bundle (onnx/model.onnx, say)";
            return Err(field("models", problem.to_owned()));
        }
        for path in written.models.values().chain(written.digests.keys()) {
            check_path(path)?;
        }
        Ok(Manifest {
            format: written.format,
            name: written.name,
            version: written.version,
            task: written.task,
            family: written.family,
            template: written.template,
            turn_template,
            evidence_ignored: written.evidence_ignored,
            labels: parse_labels(&written.labels)?,
            temperatures: numbers("temperatures", written.temperatures, 1.0, "a number above 0", |t| t > 0.0)?,
            thresholds: numbers("thresholds", written.thresholds, 0.5, THRESHOLD_EXPECTED, |t| is_threshold(t as f32))?,
            max_tokens: written.max_tokens,
            models: written.models,
            digests: written.digests,
            fused: written.fused,
            quality: written.quality,
        })
    }

    /// The precision to run when none is asked for: the most exact one that the bundle holds.
    pub fn default_precision(&self) -> Precision {
        self.models.keys().next().copied().unwrap_or(Precision::Fp32)
    }
}

/// What exporters call the file of each precision, in `onnx/` or at the top; the first that is there is taken. Files of fewer bits than
/// eight are run as int8 where there is no other.
const FILE_NAMES: [(Precision, &[&str]); 3] = [
    (Precision::Fp32, &["model.onnx"]),
    (Precision::Fp16, &["model_fp16.onnx"]),
    (
        Precision::Int8,
        &[
            "model_int8.onnx",
            "model_quantized.onnx",
            "model_uint8.onnx",
            "model_q4.onnx",
            "model_q4f16.onnx",
            "model_bnb4.onnx",
        ],
    ),
];

fn find_models(has: &dyn Fn(&str) -> bool) -> BTreeMap<Precision, String> {
    let find = |names: &[&str]| {
        let paths = names.iter().flat_map(|name| [format!("onnx/{name}"), (*name).to_owned()]);
        paths.into_iter().find(|path| has(path))
    };
    FILE_NAMES.iter().filter_map(|(precision, names)| Some((*precision, find(names)?))).collect()
}

fn field(field: &'static str, problem: String) -> Error {
    Error::ManifestField { field, problem }
}

fn parse_labels(names: &[String]) -> Result<Vec<Maxim>> {
    let expected = "must be the four maxims quantity, quality, relation and manner, each once";
    let labels: Option<Vec<Maxim>> =
        names.iter().map(|name| Maxim::ALL.into_iter().find(|maxim| maxim.name() == name)).collect();
    match labels {
        Some(labels) if labels.len() == 4 && Maxim::ALL.iter().all(|maxim| labels.contains(maxim)) => Ok(labels),
        _ => Err(field("labels", format!("{expected}, found [{}]", names.join(", ")))),
    }
}

/// A bundle for another task is whole, but not of use here.
#[cfg(not(target_family = "wasm"))]
fn check_task(json: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Only {
        task: String,
    }
    let command = match serde_json::from_slice::<Only>(json) {
        Ok(Only { task }) if task == "repair" => "repair",
        Ok(Only { task }) if task == "generate" => "generate",
        // All else is told while the whole is read.
        _ => return Ok(()),
    };
    let problem = format!("the model is for `{command}`, and a detector is needed here; see `grice {command} --help`");
    Err(field("task", problem))
}

/// Checks that a template has each placeholder at most once, and the one that it needs.
///
/// # Errors
/// [`Error::ManifestField`] with the field's name.
pub fn check_template(name: &'static str, template: &str, known: &[&str], needed: &str) -> Result<()> {
    for placeholder in known {
        if template.matches(placeholder).count() > 1 {
            return Err(field(name, format!("`{placeholder}` stands in it more than once")));
        }
    }
    if !template.contains(needed) {
        return Err(field(name, format!("`{needed}` is missing from it")));
    }
    Ok(())
}

/// Paths stay inside the bundle: relative, forward slashes, no `..`.
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\0', ':'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn check_path(path: &str) -> Result<()> {
    if is_inside(path) { Ok(()) } else { Err(field("models", format!("`{path}` is not a path inside the bundle"))) }
}

fn numbers(
    field: &'static str,
    values: Option<PerMaxim<f64>>,
    default: f32,
    expected: &'static str,
    accept: impl Fn(f64) -> bool,
) -> Result<PerMaxim<f32>> {
    let Some(values) = values else { return Ok(PerMaxim::from_fn(|_| default)) };
    for (maxim, &found) in values.iter() {
        // Checked after narrowing too: 1e-300 is above zero only as long as it is an f64.
        if !accept(found) || !accept(f64::from(found as f32)) || !(found as f32).is_finite() {
            return Err(Error::ManifestNumber { field, maxim, expected, found });
        }
    }
    Ok(PerMaxim::from_fn(|maxim| *values.get(maxim) as f32))
}
