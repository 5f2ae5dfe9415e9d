//! `doctor`: what this machine offers, whether this build works, and what would be used.

use crate::args::{Common, Doctor};
use crate::error::{CliError, Result};
use crate::model::{cores, load_detector, open_bundle, threads};
use crate::output::write_stdout;
use crate::present::headline;
use crate::terminal::Terminal;
use grice_core::Turn;
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How long a server may take to say that it is ready.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);
const GPU: &str = "this build has no GPU engine";

/// All findings, as `--json` prints them.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
    cores: usize,
    cpu_features: Vec<CpuFeature>,
    embedded_model: bool,
    gpu: &'static str,
    model: ModelHealth,
    /// What would be used, and why.
    choice: String,
}

#[derive(Serialize)]
struct CpuFeature {
    name: &'static str,
    present: bool,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum ModelHealth {
    /// Loaded, and gave a verdict.
    Works {
        name: String,
        precision: &'static str,
        /// What computes: the instruction set, or `tract`.
        kernels: &'static str,
        load_ms: f64,
        detect_ms: f64,
        verdict: String,
    },
    /// None was named and none is compiled in.
    Absent { cause: String },
    /// Cannot be used.
    Broken { cause: String },
}

/// Looks around and reports.
///
/// # Errors
/// [`CliError::Unhealthy`] if the model is there and does not work; [`CliError::NotReady`] of `--health`.
pub(crate) fn run(args: &Doctor, common: &Common) -> Result<()> {
    if let Some(url) = &args.health {
        return grice_server::check_health(url, HEALTH_PATIENCE).map_err(CliError::NotReady);
    }
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        cores: cores(),
        cpu_features: list_cpu_features(),
        embedded_model: cfg!(feature = "embedded-model"),
        gpu: GPU,
        model: check_model(common),
        choice: choice(common),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&findings).unwrap_or_default() + "\n"
    } else {
        show_findings(&findings, Terminal::of_stdout(common.color))
    };
    write_stdout(text.as_bytes())?;
    if matches!(findings.model, ModelHealth::Broken { .. }) { Err(CliError::Unhealthy) } else { Ok(()) }
}

fn check_model(common: &Common) -> ModelHealth {
    match try_model(common) {
        Ok(health) => health,
        Err(CliError::NoModel) => ModelHealth::Absent { cause: CliError::NoModel.to_string() },
        Err(error) => ModelHealth::Broken { cause: error.to_string() },
    }
}

fn try_model(common: &Common) -> Result<ModelHealth> {
    let start = Instant::now();
    let mut detector = load_detector(&open_bundle(common)?, common, &[])?;
    let load_ms = milliseconds(start);
    let turn = Turn::new("What did you think of the film?", "Yes.");
    // The first verdict also fills caches; the second is what a turn takes.
    detector.detect(&turn)?;
    let start = Instant::now();
    let verdict = detector.detect(&turn)?;
    let detect_ms = milliseconds(start);
    let name = format!("{} {}", detector.manifest().name, detector.manifest().version).trim_end().to_owned();
    let info = detector.engine_info();
    let (precision, kernels) = (info.precision.name(), info.kernels);
    Ok(ModelHealth::Works { name, precision, kernels, load_ms, detect_ms, verdict: headline(&verdict) })
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e5).round() / 100.0
}

fn choice(common: &Common) -> String {
    let threads = threads(common);
    let why = if common.threads.is_some() { "as asked for" } else { "one for each core available" };
    format!("the CPU engine with {threads} threads ({why}), because {GPU}")
}

/// Those that the kernels make use of or that explain a machine's speed.
fn list_cpu_features() -> Vec<CpuFeature> {
    #[cfg(target_arch = "x86_64")]
    return vec![
        CpuFeature { name: "sse4.1", present: std::is_x86_feature_detected!("sse4.1") },
        CpuFeature { name: "avx2", present: std::is_x86_feature_detected!("avx2") },
        CpuFeature { name: "fma", present: std::is_x86_feature_detected!("fma") },
        CpuFeature { name: "avx512f", present: std::is_x86_feature_detected!("avx512f") },
        CpuFeature { name: "avx512vnni", present: std::is_x86_feature_detected!("avx512vnni") },
        CpuFeature { name: "avxvnni", present: std::is_x86_feature_detected!("avxvnni") },
    ];
    #[cfg(target_arch = "aarch64")]
    return vec![
        CpuFeature { name: "neon", present: std::arch::is_aarch64_feature_detected!("neon") },
        CpuFeature { name: "dotprod", present: std::arch::is_aarch64_feature_detected!("dotprod") },
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Vec::new();
}

fn show_findings(findings: &Findings, terminal: Terminal) -> String {
    let good = |text: &str| terminal.paint(terminal.good(), text);
    let bad = |text: &str| terminal.paint(terminal.bad(), text);
    let mut text = format!("grice {} on {} {}\n", findings.version, findings.os, findings.arch);
    let features: Vec<String> = findings
        .cpu_features
        .iter()
        .map(|feature| if feature.present { good(feature.name) } else { format!("no {}", feature.name) })
        .collect();
    let features = if features.is_empty() { "none looked for".to_owned() } else { features.join(", ") };
    _ = writeln!(text, "cpu       {} cores; {features}", findings.cores);
    _ = writeln!(text, "gpu       {}", findings.gpu);
    _ = writeln!(text, "embedded  {}", if findings.embedded_model { "a model is compiled in" } else { "no model" });
    match &findings.model {
        ModelHealth::Works { name, precision, kernels, load_ms, detect_ms, verdict } => {
            _ = writeln!(text, "model     {} {name} ({precision}): {verdict}", good("works:"));
            _ = writeln!(text, "          loaded in {load_ms} ms, one turn in {detect_ms} ms ({kernels} kernels)");
        }
        ModelHealth::Absent { cause } => _ = writeln!(text, "model     {}", terminal.paint(terminal.note(), cause)),
        ModelHealth::Broken { cause } => _ = writeln!(text, "model     {} {cause}", bad("broken:")),
    }
    _ = writeln!(text, "choice    {}", findings.choice);
    text
}
