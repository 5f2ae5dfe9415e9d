//! Opens and loads the model in the options.

use crate::args::{Common, Threshold};
use crate::error::{CliError, Result};
use crate::terminal::Terminal;
use grice_core::{Bundle, Detector, Options, PerMaxim, Writer, panic_text};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::PathBuf;

/// The bundle of `--model`, or the built-in one.
///
/// # Errors
/// [`CliError::NoModel`], or core's error for the bundle.
pub(crate) fn open_bundle(common: &Common) -> Result<Bundle> {
    match &common.model {
        Some(path) => Ok(Bundle::open(path)?),
        None => open_embedded(),
    }
}

/// Loads a bundle with the options, and replaces thresholds of the manifest by the given ones.
///
/// # Errors
/// Core's error for the bundle, or [`CliError::LoadPanic`].
pub(crate) fn load_detector(bundle: &Bundle, common: &Common, thresholds: &[Threshold]) -> Result<Detector> {
    let (precision, device) = (common.precision, common.device);
    let threads = Some(threads(common));
    let options = Options { precision, threads, thresholds: by_maxim(thresholds), device, gpu_cache: gpu_cache() };
    let detector = quietly(|| Detector::load(bundle, &options))?.map_err(CliError::Core)?;
    tell_device(detector.fallback_reason(), detector.warnings(), common);
    Ok(detector)
}

/// The values of `--thresholds`; for a repeated maxim, the last one.
pub(crate) fn by_maxim(thresholds: &[Threshold]) -> PerMaxim<Option<f32>> {
    let last = |maxim| thresholds.iter().rev().find(|threshold| threshold.maxim == maxim);
    PerMaxim::from_fn(|maxim| last(maxim).map(|threshold| threshold.value))
}

/// Prints on stderr why `--device auto` selected the processor, and the warnings of a GPU.
pub(crate) fn tell_device(fallback_reason: Option<&str>, warnings: &[String], common: &Common) {
    if common.quiet {
        return;
    }
    let terminal = Terminal::of_stderr(common.color);
    let fallback = fallback_reason.map(|reason| format!("running on the CPU: {reason}"));
    for text in fallback.iter().chain(warnings) {
        // If stderr is closed, the message cannot be shown.
        _ = writeln!(std::io::stderr(), "{} {text}", terminal.paint(terminal.note(), "note:"));
    }
}

/// The number of threads for the model.
pub(crate) fn threads(common: &Common) -> usize {
    common.threads.unwrap_or_else(cores)
}

/// The folder of the GPU's cache: `GRICE_CACHE_DIR`, otherwise the cache folder of the system.
pub(crate) fn gpu_cache() -> Option<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let system = || match std::env::consts::OS {
        "windows" => folder("LOCALAPPDATA"),
        "macos" => folder("HOME").map(|home| home.join("Library/Caches")),
        _ => folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache"))),
    };
    folder("GRICE_CACHE_DIR").or_else(|| system().map(|folder| folder.join("grice")))
}

/// The number of cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Runs code that reads a model file. A broken file may make the importer panic; this becomes a normal error,
/// and the panic's message is not printed.
///
/// # Errors
/// [`CliError::LoadPanic`].
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    set_hook(hook);
    outcome.map_err(|panic| CliError::LoadPanic(panic_text(&*panic).to_owned()))
}

#[cfg(feature = "embedded-model")]
fn open_embedded() -> Result<Bundle> {
    Ok(Bundle::embedded()?)
}

#[cfg(not(feature = "embedded-model"))]
fn open_embedded() -> Result<Bundle> {
    Err(CliError::NoModel)
}

/// The built-in model that repairs and answers.
///
/// # Errors
/// [`CliError::NoWriter`] if there is none.
#[cfg(feature = "embedded-model")]
pub(crate) fn open_embedded_writer() -> Result<Writer> {
    Ok(Writer::embedded()?)
}

#[cfg(not(feature = "embedded-model"))]
pub(crate) fn open_embedded_writer() -> Result<Writer> {
    Err(CliError::NoWriter)
}
