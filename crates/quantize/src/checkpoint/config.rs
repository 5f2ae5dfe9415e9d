//! The new `config.json`.

use super::plan::Plan;
use crate::{Form, LeftLayer};
use grice_model::RawCheckpoint;
use serde_json::{Map, Value, json};

/// The vocabulary's layer, which the format leaves as it is: it may share the table of words.
const VOCABULARY: &str = "lm_head";

/// A configuration that says what its weights have become.
pub(super) fn changed(source: &RawCheckpoint<'_>, form: Form, plan: &Plan) -> Map<String, Value> {
    let mut config = source.config().clone();
    let left = &plan.left;
    match form {
        Form::Int8 => {
            let activations = json!({
                "num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true, "group_size": null,
            });
            let weights = json!({
                "num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false, "group_size": null,
            });
            config.insert(QUANTIZATION.to_owned(), compressed("int-quantized", weights, activations, left));
        }
        Form::Int4 { group } => {
            let mut weights = json!({
                "num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "dynamic": false, "group_size": group,
            });
            if plan.transposes() {
                // The format packs no `Conv1D`. It refuses a field that it does not know, where it would else leave random weights.
                weights["transposed"] = json!(true);
            }
            config.insert(QUANTIZATION.to_owned(), compressed("pack-quantized", weights, Value::Null, left));
        }
        Form::Fp16 => set_dtype(&mut config, "float16"),
        Form::Bf16 => set_dtype(&mut config, "bfloat16"),
    }
    config
}

const QUANTIZATION: &str = "quantization_config";

/// What `compressed-tensors` reads.
fn compressed(format: &str, weights: Value, activations: Value, left: &[LeftLayer]) -> Value {
    let ignored = std::iter::once(VOCABULARY).chain(left.iter().map(|layer| layer.name.as_str()));
    json!({
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "global_compression_ratio": null,
        "kv_cache_scheme": null,
        "ignore": ignored.collect::<Vec<_>>(),
        "config_groups": { "group_0": {
            "targets": ["Linear"],
            "weights": weights,
            "input_activations": activations,
            "output_activations": null,
        } },
    })
}

/// Newer files call it `dtype`, older ones `torch_dtype`, which newer libraries read too.
fn set_dtype(config: &mut Map<String, Value>, dtype: &str) {
    let names: Vec<&str> = ["dtype", "torch_dtype"].into_iter().filter(|name| config.contains_key(*name)).collect();
    for name in if names.is_empty() { vec!["torch_dtype"] } else { names } {
        config.insert(name.to_owned(), json!(dtype));
    }
}
