//! The model that the options ask for, opened and loaded.

use crate::args::{Common, Threshold};
use crate::error::{CliError, Result};
use grice_core::{Bundle, Detector, Options, PerMaxim};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// The bundle named by `--model`, or the one compiled in.
///
/// # Errors
/// [`CliError::NoModel`], or what core says of the bundle.
pub(crate) fn open_bundle(common: &Common) -> Result<Bundle> {
    match &common.model {
        Some(path) => Ok(Bundle::open(path)?),
        None => open_embedded(),
    }
}

/// Loads a bundle as the options say, with the manifest's thresholds replaced where others are given.
///
/// # Errors
/// What core says of the bundle, or [`CliError::LoadPanic`].
pub(crate) fn load_detector(bundle: &Bundle, common: &Common, thresholds: &[Threshold]) -> Result<Detector> {
    let mut merged: PerMaxim<f32> = bundle.manifest().thresholds;
    for threshold in thresholds {
        *merged.get_mut(threshold.maxim) = threshold.value;
    }
    let options = Options { precision: common.precision, threads: Some(threads(common)), thresholds: Some(merged) };
    quietly(|| Detector::load(bundle, &options))?.map_err(CliError::Core)
}

/// How many threads to run the model on.
pub(crate) fn threads(common: &Common) -> usize {
    common.threads.unwrap_or_else(cores)
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Runs what reads a model file. A broken file may make the importer panic; that becomes an error with a cause like any other,
/// and the panic's own message stays off the screen.
///
/// # Errors
/// [`CliError::LoadPanic`].
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    set_hook(hook);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        CliError::LoadPanic(text.unwrap_or("no reason given").to_owned())
    })
}

#[cfg(feature = "embedded-model")]
fn open_embedded() -> Result<Bundle> {
    Ok(Bundle::embedded()?)
}

#[cfg(not(feature = "embedded-model"))]
fn open_embedded() -> Result<Bundle> {
    Err(CliError::NoModel)
}
