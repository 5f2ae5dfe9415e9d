//! `compile`: prepares a model ahead of time, for any processor or for one GPU.

use crate::args::{Common, Compile};
use crate::error::{CliError, Result};
use crate::model::{open_bundle, quietly};
use crate::output::write_stdout;
use grice_core::Device;

/// Compiles, and reports sizes and times.
///
/// # Errors
/// [`CliError::CompileDevice`]; errors of the bundle; why no GPU can be used.
pub(crate) fn run(args: &Compile, common: &Common) -> Result<()> {
    let bundle = open_bundle(common)?;
    let text = match args.device {
        Device::Cpu => compile_program(&bundle, args.json, common)?,
        Device::Gpu(_) => compile(&bundle, args.json, common)?,
        Device::Auto => return Err(CliError::CompileDevice),
    };
    write_stdout(text.as_bytes())
}

/// For any processor: the file is the same for all.
fn compile_program(bundle: &grice_core::Bundle, json: bool, common: &Common) -> Result<String> {
    let options = grice_core::Options { precision: common.precision, ..Default::default() };
    let compiled = quietly(|| grice_core::compile_program(bundle, &options, clock))?.map_err(CliError::Core)?;
    if json {
        let report = serde_json::json!({
            "path": compiled.path.display().to_string(),
            "bytes": compiled.bytes,
            "precision": compiled.precision,
            "import_ms": ms(compiled.import),
            "write_ms": ms(compiled.write),
            "load_ms": ms(compiled.load),
        });
        return Ok(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n");
    }
    Ok(format!(
        "wrote     {} ({})\nfor       any processor, {}\nloads in  {} ms (the ONNX file in {} ms)\n",
        compiled.path.display(),
        megabytes(compiled.bytes),
        compiled.precision,
        ms(compiled.load),
        ms(compiled.import),
    ))
}

#[cfg(feature = "gpu")]
fn compile(bundle: &grice_core::Bundle, json: bool, common: &Common) -> Result<String> {
    use crate::model::gpu_cache;
    let options = grice_core::Options {
        precision: common.precision,
        device: common.device,
        gpu_cache: gpu_cache(),
        ..Default::default()
    };
    let compiled = quietly(|| grice_core::compile(bundle, &options, clock))?.map_err(CliError::Core)?;
    if json {
        let report = serde_json::json!({
            "path": compiled.path.display().to_string(),
            "bytes": compiled.bytes,
            "adapter": compiled.adapter,
            "precision": compiled.precision,
            "weight_bytes": compiled.weight_bytes,
            "import_ms": ms(compiled.import),
            "plan_ms": ms(compiled.plan),
            "write_ms": ms(compiled.write),
            "load_ms": ms(compiled.load),
        });
        return Ok(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n");
    }
    Ok(format!(
        "wrote     {} ({})\nfor       {}, {}\non device {}\nstart     {} ms, without it {} ms (reading the ONNX file {}, preparing it {})\n",
        compiled.path.display(),
        megabytes(compiled.bytes),
        compiled.adapter,
        compiled.precision,
        megabytes(compiled.weight_bytes),
        ms(compiled.load),
        ms(compiled.import + compiled.plan),
        ms(compiled.import),
        ms(compiled.plan),
    ))
}

fn ms(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn clock() -> std::time::Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(not(feature = "gpu"))]
fn compile(_: &grice_core::Bundle, _: bool, _: &Common) -> Result<String> {
    Err(CliError::Core(grice_core::Error::Gpu("this build has no GPU engine; build with the feature `gpu`".to_owned())))
}
