//! The format `compressed-tensors` of llm-compressor and vLLM.

use super::config::Config;
use serde_json::{Value, json};

/// How a checkpoint of the format `compressed-tensors` is quantized.
pub(super) struct Quantized {
    ignored: Vec<String>,
    pub(super) scheme: Scheme,
    /// Whether tables of embeddings are in 8 bits with a scale for each row.
    tables: bool,
}

/// The form of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// 8 bits with a scale for each output; activations are rounded with a scale for each token.
    Int8,
    /// 4 bits with a scale for each group of so many inputs of an output.
    Int4 {
        group: usize,
        /// Whether the weights are those of `Conv1D`, packed with their outputs first. The format does not know this field, so others refuse it.
        transposed: bool,
    },
}

/// The field of 4-bit weights that are packed in another layout than their family's.
pub(super) const TRANSPOSED: &str = "transposed";

/// The largest group that kernels take.
const GROUP_MAX: usize = 4096;

impl Quantized {
    /// Whether a dense layer is not quantized.
    pub(super) fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored == name)
    }

    /// Whether a table of embeddings is in 8 bits.
    pub(super) fn has_table(&self, name: &str) -> bool {
        self.tables && !self.ignores(name)
    }

    /// What `quantization_config` says. Supported are 8-bit weights with a scale for each output and activations with a scale for each token,
    /// and 4-bit weights in groups; beside them tables of embeddings in 8 bits.
    pub(super) fn read(config: &Config) -> Result<Option<Quantized>, String> {
        let Some(quantization) = config.object("quantization_config")? else { return Ok(None) };
        quantization.only("quant_method", &[json!("compressed-tensors")])?;
        quantization.only("format", &[json!("int-quantized"), json!("pack-quantized")])?;
        quantization.only("quantization_status", &[json!("compressed"), json!("frozen")])?;
        quantization.only("kv_cache_scheme", &[])?;
        quantization.only("transform_config", &[json!({})])?;
        if let Some(sparsity) = quantization.object("sparsity_config")? {
            sparsity.only("format", &[json!("dense")])?;
        }
        let groups = quantization.object("config_groups")?;
        let unsupported = || {
            "config.json: field `quantization_config`: only one group of quantized weights is supported, and beside it \
             `group_1` of the target Embedding"
                .to_owned()
        };
        let groups = groups.ok_or_else(unsupported)?;
        let tables = groups.object("group_1")?;
        if groups.fields().len() != 1 + usize::from(tables.is_some()) {
            return Err(unsupported());
        }
        let group = groups.object("group_0")?.ok_or_else(unsupported)?;
        let format = quantization.get("format").cloned().unwrap_or_default();
        group.only("format", std::slice::from_ref(&format))?;
        group.only("targets", &[json!(["Linear"])])?;
        group.only("output_activations", &[])?;
        let weights = group.object("weights")?.ok_or_else(unsupported)?;
        let scheme = match format == json!("pack-quantized") {
            true => int4(&group, &weights)?,
            false => int8(&weights, &group.object("input_activations")?.ok_or_else(unsupported)?)?,
        };
        let ignored = quantization.get("ignore").and_then(Value::as_array);
        let ignored = ignored.map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        if let Some(tables) = &tables {
            check_tables(tables, &format, &tables.object("weights")?.ok_or_else(unsupported)?)?;
        }
        Ok(Some(Quantized { ignored: ignored.unwrap_or_default(), scheme, tables: tables.is_some() }))
    }
}

fn check_tables(group: &Config, format: &Value, weights: &Config) -> Result<(), String> {
    // What is missing would be taken for what is supported.
    if group.get("targets") != Some(&json!(["Embedding"])) {
        return Err("config.json: field `quantization_config`: `group_1` must have the target Embedding".to_owned());
    }
    group.only("format", std::slice::from_ref(format))?;
    group.only("input_activations", &[])?;
    group.only("output_activations", &[])?;
    integers(weights, 8, "channel", false)?;
    weights.only("group_size", &[])
}

fn int8(weights: &Config, activations: &Config) -> Result<Scheme, String> {
    for (scheme, strategy, dynamic) in [(weights, "channel", false), (activations, "token", true)] {
        integers(scheme, 8, strategy, dynamic)?;
        scheme.only("group_size", &[])?;
        scheme.only("actorder", &[json!(false)])?;
        scheme.only(TRANSPOSED, &[json!(false)])?;
    }
    Ok(Scheme::Int8)
}

fn int4(group: &Config, weights: &Config) -> Result<Scheme, String> {
    group.only("input_activations", &[])?;
    integers(weights, 4, "group", false)?;
    // Which inputs were rounded first says nothing of how they are stored.
    weights.only("actorder", &[json!(false), json!("static"), json!("weight")])?;
    let (group, transposed) = (weights.size("group_size")?, weights.flag_or(TRANSPOSED, false)?);
    match group.is_multiple_of(8) && group <= GROUP_MAX {
        true => Ok(Scheme::Int4 { group, transposed }),
        false => Err(weights.wrong("group_size", &format!("{group} is no multiple of 8 up to {GROUP_MAX}"))),
    }
}

/// Symmetric integers.
fn integers(scheme: &Config, bits: u32, strategy: &str, dynamic: bool) -> Result<(), String> {
    scheme.only("num_bits", &[json!(bits)])?;
    scheme.only("type", &[json!("int")])?;
    scheme.only("symmetric", &[json!(true)])?;
    scheme.only("strategy", &[json!(strategy)])?;
    scheme.only("dynamic", &[json!(dynamic)])
}
