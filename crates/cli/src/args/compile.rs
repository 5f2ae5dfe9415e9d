//! `compile`.

use clap::Args as ClapArgs;
use grice_core::Device;

const COMPILE_EXAMPLES: &str = "\
Examples:
  grice compile --device cpu --model bundle
  grice compile --device gpu --model bundle
  grice compile --device gpu:1 --model bundle --precision int8 --json
  grice detect --device gpu --model bundle --response \"Yes.\"

For the CPU, the command writes the model's fused program next to the ONNX file, for example onnx/model_int8.grice. The file works \
on every processor, on GPUs and in browsers. All commands open it instead of the ONNX file, which you may then remove.

For a GPU, the command writes one file next to the ONNX file, for example onnx/model_int8.gpu (for a .tar bundle: next to it; for \
the built-in model: in GRICE_CACHE_DIR). The file holds the weights in this GPU's layout, the chosen tiles, the compiled \
shaders, and the CPU's answers to a few sequences, which every start checks. Commands with --device gpu or auto use \
the file. If the adapter, driver, grice release or model differs, or if the file has changed, grice ignores it with a note and \
uses the ONNX file; then compile again.";

/// Arguments of `compile`.
#[derive(Debug, ClapArgs)]
#[command(after_help = COMPILE_EXAMPLES)]
pub(crate) struct Compile {
    /// Device to compile for: cpu (any processor), gpu, or gpu:N (adapter N of `grice doctor`)
    #[arg(long, value_name = "DEVICE", default_value = "gpu")]
    pub(crate) device: Device,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
