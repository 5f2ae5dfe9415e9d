//! `compile`.

use clap::Args as ClapArgs;
use grice_core::Device;

const COMPILE_EXAMPLES: &str = "\
Examples:
  grice compile --device cpu --model bundle
  grice compile --device gpu --model bundle
  grice compile --device gpu:1 --model bundle --precision int8 --json
  grice detect --device gpu --model bundle --response \"Yes.\"

For the CPU it writes the model's fused program beside the ONNX file, onnx/model_int8.grice say: the same file for every \
processor, for GPUs and for browsers, which every command opens in place of the ONNX file. The ONNX file may then be left out.

For a GPU it writes one file beside the ONNX file in the bundle's folder, onnx/model_int8.gpu say (beside a .tar bundle; in \
GRICE_CACHE_DIR for the model compiled in): the weights as this GPU holds them, the tiles chosen for it, its compiled \
shaders, and the CPU's answers to a few sequences, by which every start is checked. Commands with --device gpu or auto use \
it from then on. On another adapter, driver or release of grice, for another model, or if a byte of it changed, it is left \
aside with a note and the ONNX file is used; compile again then.";

/// Arguments of `compile`.
#[derive(Debug, ClapArgs)]
#[command(after_help = COMPILE_EXAMPLES)]
pub(crate) struct Compile {
    /// What to compile for: cpu (any processor), gpu, or gpu:N for adapter N of `grice doctor`
    #[arg(long, value_name = "DEVICE", default_value = "gpu")]
    pub(crate) device: Device,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
