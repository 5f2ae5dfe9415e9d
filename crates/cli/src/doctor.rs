//! `doctor`: shows the hardware, checks that this build works, and shows which device it would use.

use crate::args::{Common, Doctor};
use crate::error::{CliError, Result};
use crate::model::{cores, load_detector, open_bundle, threads};
use crate::output::write_stdout;
use crate::present::headline;
use crate::terminal::Terminal;
use grice_core::{Device, Turn};
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Time limit for a server's answer to the health check.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// All findings, as `--json` prints them.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
    cores: usize,
    cpu_features: Vec<CpuFeature>,
    embedded_model: bool,
    gpus: Vec<Gpu>,
    /// Why there are none.
    no_gpu: Option<&'static str>,
    model: ModelHealth,
    /// The device that would be used, and why.
    choice: String,
}

#[derive(Serialize)]
struct CpuFeature {
    name: &'static str,
    present: bool,
}

/// An adapter, numbered as in `--device gpu:N`.
#[derive(Serialize)]
struct Gpu {
    index: usize,
    name: String,
    kind: String,
    backend: &'static str,
    driver: String,
    features: Vec<&'static str>,
    binding_bytes_max: u64,
    /// Why it cannot be used.
    unfit: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum ModelHealth {
    /// Loaded, and gave a verdict.
    Works {
        name: String,
        precision: &'static str,
        device: &'static str,
        /// The kernels: the instruction set, or `tract`.
        kernels: &'static str,
        /// The GPU's name.
        adapter: Option<String>,
        load_ms: f64,
        detect_ms: f64,
        verdict: String,
        /// Why `auto` selected the processor.
        fallback_reason: Option<String>,
    },
    /// No model was named, and there is no built-in one.
    Absent { cause: String },
    /// Cannot be used.
    Broken { cause: String },
}

/// Checks everything and reports.
///
/// # Errors
/// [`CliError::Unhealthy`] if the model does not work; [`CliError::NotReady`] for `--health`.
pub(crate) fn run(args: &Doctor, common: &Common) -> Result<()> {
    if let Some(url) = &args.health {
        return grice_server::check_health(url, HEALTH_PATIENCE).map_err(CliError::NotReady);
    }
    let (gpus, no_gpu) = list_gpus();
    let model = check_model(common);
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        cores: cores(),
        cpu_features: list_cpu_features(),
        embedded_model: cfg!(feature = "embedded-model"),
        choice: choice(common, &model),
        gpus,
        no_gpu,
        model,
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
    // The first verdict also fills caches, so measure the second.
    detector.detect(&turn)?;
    let start = Instant::now();
    let verdict = detector.detect(&turn)?;
    let detect_ms = milliseconds(start);
    let name = format!("{} {}", detector.manifest().name, detector.manifest().version).trim_end().to_owned();
    let info = detector.engine_info();
    Ok(ModelHealth::Works {
        name,
        precision: info.precision.name(),
        device: info.device,
        kernels: info.kernels,
        adapter: detector.adapter().map(str::to_owned),
        load_ms,
        detect_ms,
        verdict: headline(&verdict),
        fallback_reason: detector.fallback_reason().map(str::to_owned),
    })
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e5).round() / 100.0
}

fn choice(common: &Common, model: &ModelHealth) -> String {
    let threads = threads(common);
    let why = if common.threads.is_some() { "from --threads" } else { "one per available core" };
    let cpu = format!("the CPU engine with {threads} threads ({why})");
    let (adapter, fallback) = match model {
        ModelHealth::Works { adapter, fallback_reason, .. } => (adapter.as_deref(), fallback_reason.as_deref()),
        _ => (None, None),
    };
    match (common.device, adapter, fallback) {
        (Device::Cpu, ..) => format!("{cpu}; use --device auto or gpu for a GPU"),
        (_, Some(adapter), _) => format!("the GPU engine on {adapter}; its answers agree with the CPU's"),
        (_, _, Some(reason)) => format!("{cpu}, because {reason}"),
        _ => cpu,
    }
}

#[cfg(feature = "gpu")]
fn list_gpus() -> (Vec<Gpu>, Option<&'static str>) {
    let gpu = |adapter: grice_core::Adapter| Gpu {
        index: adapter.index,
        kind: adapter.kind.to_string(),
        binding_bytes_max: adapter.limits.binding_bytes_max,
        name: adapter.name,
        backend: adapter.backend,
        driver: adapter.driver,
        features: adapter.features,
        unfit: adapter.unfit,
    };
    let found: Vec<Gpu> = grice_core::find_adapters().into_iter().map(gpu).collect();
    let none = found.is_empty().then_some("none found; a driver for Vulkan, Metal or DirectX 12 is needed");
    (found, none)
}

#[cfg(not(feature = "gpu"))]
fn list_gpus() -> (Vec<Gpu>, Option<&'static str>) {
    (Vec::new(), Some("this build has no GPU engine"))
}

/// Names of processor features, and whether each is present.
pub(crate) fn cpu_features() -> Vec<(&'static str, bool)> {
    list_cpu_features().into_iter().map(|feature| (feature.name, feature.present)).collect()
}

/// The features that the kernels use or that explain the speed.
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

fn list_or_none(names: &[&str]) -> String {
    if names.is_empty() { "no optional features".to_owned() } else { names.join(", ") }
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
    let features = if features.is_empty() { "no features checked".to_owned() } else { features.join(", ") };
    _ = writeln!(text, "cpu       {} cores; {features}", findings.cores);
    for (place, gpu) in findings.gpus.iter().enumerate() {
        let heading = if place == 0 { "gpu " } else { "    " };
        let Gpu { index, name, kind, backend, driver, .. } = gpu;
        _ = writeln!(text, "{heading}      {index}: {name} ({kind}, {backend}; {driver})");
        _ = match &gpu.unfit {
            Some(reason) => writeln!(text, "             {}", bad(&format!("cannot be used: {reason}"))),
            None => writeln!(text, "             {}", list_or_none(&gpu.features)),
        };
    }
    if let Some(reason) = findings.no_gpu {
        _ = writeln!(text, "gpu       {reason}");
    }
    _ = writeln!(text, "embedded  {}", if findings.embedded_model { "a model is built in" } else { "no model" });
    match &findings.model {
        ModelHealth::Works { name, precision, device, kernels, adapter, load_ms, detect_ms, verdict, .. } => {
            _ = writeln!(text, "model     {} {name} ({precision}): {verdict}", good("works:"));
            let place = adapter.as_ref().map_or_else(String::new, |adapter| format!(" on {adapter}"));
            _ = writeln!(
                text,
                "          loaded in {load_ms} ms, one turn in {detect_ms} ms ({device}, {kernels} kernels{place})"
            );
        }
        ModelHealth::Absent { cause } => _ = writeln!(text, "model     {}", terminal.paint(terminal.note(), cause)),
        ModelHealth::Broken { cause } => _ = writeln!(text, "model     {} {cause}", bad("broken:")),
    }
    _ = writeln!(text, "choice    {}", findings.choice);
    text
}
