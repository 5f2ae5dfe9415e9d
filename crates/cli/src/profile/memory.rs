//! `profile memory`: the memory of a process after loading and while running, as the system reports it.
//!
//! A process keeps the buffers of earlier batches, so independent measurements run in separate processes.

use super::statistics::rounded;
use super::{load_subject, synthetic_batch};
use crate::args::{Common, ProfileMemory, Shape};
use crate::error::{CliError, Result};
use crate::output::{check_writable, write_file, write_stdout};
use crate::terminal::Terminal;
use crate::workers::Workers;
use grice_core::{Engine, Precision};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::process::{Command, Stdio};

/// All measurements, as `--json` prints them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Footprint {
    pub(crate) model: String,
    pub(crate) precision: Precision,
    #[serde(flatten)]
    pub(crate) workers: Workers,
    /// Size of the ONNX file, if it is a separate file.
    pub(crate) file_bytes: Option<u64>,
    /// Resident before anything was loaded.
    pub(crate) baseline_bytes: u64,
    /// Peak of resident memory while loading.
    pub(crate) load_peak_bytes: u64,
    /// Resident after loading, before the first run.
    pub(crate) loaded_bytes: u64,
    pub(crate) load_ms: f64,
    pub(crate) results: Vec<AfterRun>,
}

/// One shape.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AfterRun {
    pub(crate) batch_size: usize,
    pub(crate) sequence_length: usize,
    /// Resident after it ran.
    pub(crate) resident_bytes: u64,
    /// Growth since loading.
    pub(crate) growth_bytes: u64,
    /// On a GPU: weights and the current buffers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device_bytes: Option<u64>,
}

pub(super) fn run(args: &ProfileMemory, common: &Common) -> Result<()> {
    args.output.as_deref().map_or(Ok(()), check_writable)?;
    let footprint = measure(&args.shapes, common)?;
    let json = serde_json::to_string_pretty(&footprint).unwrap_or_default() + "\n";
    if let Some(path) = &args.output {
        write_file(path, json.as_bytes())?;
    }
    let text = if args.json { json } else { show(&footprint, Terminal::of_stdout(common.color)) };
    write_stdout(text.as_bytes())
}

fn measure(shapes: &[Shape], common: &Common) -> Result<Footprint> {
    let baseline = books()?;
    let mut subject = load_subject(common)?;
    let loaded = books()?;
    let mut results = Vec::new();
    for &shape in shapes {
        let batch = synthetic_batch(&shape.lengths(), subject.vocabulary)?;
        subject.engine.forward(&batch).map_err(|error| CliError::Core(error.into()))?;
        let resident_bytes = books()?.resident;
        results.push(AfterRun {
            batch_size: shape.rows,
            sequence_length: shape.tokens,
            resident_bytes,
            growth_bytes: resident_bytes.saturating_sub(loaded.resident),
            device_bytes: subject.engine.device_bytes(),
        });
    }
    let file = common.model.as_deref().filter(|path| super::is_onnx(path));
    Ok(Footprint {
        model: subject.name,
        precision: subject.precision,
        workers: subject.workers,
        file_bytes: file.and_then(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()),
        baseline_bytes: baseline.resident,
        load_peak_bytes: loaded.peak,
        loaded_bytes: loaded.resident,
        load_ms: rounded(subject.load.as_secs_f64() * 1e3),
        results,
    })
}

/// The footprint of the same model in another precision, measured in a separate process.
///
/// # Errors
/// [`CliError::Child`] if that process fails.
pub(crate) fn footprint_in_child(common: &Common, precision: Precision, shape: Shape) -> Result<Footprint> {
    let failed = |cause: String| CliError::Child { what: "profile memory", cause };
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(["profile", "memory", "--json", "--shapes", &shape.to_string(), "--precision", precision.name()]);
    command.args(["--threads", &crate::model::threads(common).to_string(), "--device", &common.device.to_string()]);
    if let Some(model) = &common.model {
        command.arg("--model").arg(model);
    }
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// The system's report on this process.
pub(crate) struct Books {
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

/// Lets the peak begin again at what is resident now. Where the system does not allow that, the peak stays that of the whole process.
pub(crate) fn reset_peak() {
    // proc_pid_clear_refs(5): 5 resets the peak.
    if cfg!(target_os = "linux") {
        _ = std::fs::write("/proc/self/clear_refs", "5");
    }
}

#[cfg(target_os = "linux")]
pub(crate) fn books() -> Result<Books> {
    let place = "/proc/self/status";
    let status = std::fs::read_to_string(place).map_err(|source| CliError::Read { place: place.to_owned(), source })?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    match (field("VmRSS:"), field("VmHWM:")) {
        (Some(resident), Some(peak)) => Ok(Books { resident, peak }),
        _ => Err(CliError::NoMemoryBooks),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn books() -> Result<Books> {
    Err(CliError::NoMemoryBooks)
}

fn show(footprint: &Footprint, terminal: Terminal) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = format!("{} ({}), {}\n\n", footprint.model, footprint.precision, footprint.workers);
    if let Some(bytes) = footprint.file_bytes {
        _ = writeln!(text, "file            {:>7.1} MiB", mebibytes(bytes));
    }
    _ = writeln!(text, "before loading  {:>7.1} MiB", mebibytes(footprint.baseline_bytes));
    _ = writeln!(text, "peak of loading {:>7.1} MiB", mebibytes(footprint.load_peak_bytes));
    _ = writeln!(text, "loaded          {:>7.1} MiB", mebibytes(footprint.loaded_bytes));
    _ = writeln!(text, "\n{}", terminal.paint(terminal.strong(), "batch × tokens     resident       growth"));
    for result in &footprint.results {
        let shape = format!("{}×{}", result.batch_size, result.sequence_length);
        let (resident, growth) = (mebibytes(result.resident_bytes), mebibytes(result.growth_bytes));
        let device =
            result.device_bytes.map_or_else(String::new, |bytes| format!(" {:>8.1} MiB on the GPU", mebibytes(bytes)));
        _ = writeln!(text, "{shape:<15} {resident:>7.1} MiB {growth:>8.1} MiB{device}");
    }
    text
}
