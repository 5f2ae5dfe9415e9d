//! The format `compressed-tensors` of llm-compressor and vLLM.

use super::config::Config;
use serde_json::{Value, json};

/// How a checkpoint of the format `compressed-tensors` is quantized: 8-bit weights with a scale for each output.
pub(super) struct Quantized {
    ignored: Vec<String>,
}

impl Quantized {
    /// Whether a dense layer is not quantized.
    pub(super) fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored == name)
    }

    /// What `quantization_config` says. Only 8-bit weights with a scale for each output and activations with a scale for each token are
    /// supported.
    pub(super) fn read(config: &Config) -> Result<Option<Quantized>, String> {
        let Some(quantization) = config.object("quantization_config")? else { return Ok(None) };
        quantization.only("quant_method", &[json!("compressed-tensors")])?;
        quantization.only("format", &[json!("int-quantized")])?;
        quantization.only("quantization_status", &[json!("compressed"), json!("frozen")])?;
        quantization.only("kv_cache_scheme", &[])?;
        let groups = quantization.object("config_groups")?;
        let unsupported =
            || "config.json: field `quantization_config`: only one group of 8-bit weights is supported".to_owned();
        let group =
            groups.as_ref().and_then(|groups| groups.object("group_0").transpose()).ok_or_else(unsupported)??;
        group.only("targets", &[json!(["Linear"])])?;
        group.only("output_activations", &[])?;
        for (side, strategy, dynamic) in [("weights", "channel", false), ("input_activations", "token", true)] {
            let scheme = group.object(side)?.ok_or_else(unsupported)?;
            scheme.only("num_bits", &[json!(8)])?;
            scheme.only("type", &[json!("int")])?;
            scheme.only("symmetric", &[json!(true)])?;
            scheme.only("strategy", &[json!(strategy)])?;
            scheme.only("dynamic", &[json!(dynamic)])?;
            scheme.only("group_size", &[])?;
            scheme.only("actorder", &[json!(false)])?;
        }
        let ignored = quantization.get("ignore").and_then(Value::as_array);
        let ignored = ignored.map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        Ok(Some(Quantized { ignored: ignored.unwrap_or_default() }))
    }
}
