//! A graph whose inner values are read while it runs: what calibration needs.

use crate::framework::framework;
use crate::names::LOGITS;
use crate::onnx::{self, causes};
use crate::{Error, Result};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

/// A detector's graph that answers inner values in place of its logits, type-checked and decluttered but not fused: `input_ids` and
/// `attention_mask` (int64 `[batch, sequence]`, and `token_type_ids` where the file has it) to the values asked for, in their order.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The graph.
    pub typed: TypedModel,
    /// Whether there is a third input, `token_type_ids`, to be fed zeros.
    pub takes_token_types: bool,
    /// The sizes that its axes are fixed to.
    pub axes: crate::FixedAxes,
}

impl Observed {
    /// Prepares a decoded model. `values` are names of values that `logits` depends on, none of them twice.
    ///
    /// # Errors
    /// As [`crate::Network::import`]; [`Error::Graph`] naming a value that is not there.
    pub fn import(model: ModelProto, values: &[String]) -> Result<Observed> {
        onnx::catch(|| import(model, values))
    }
}

fn import(mut model: ModelProto, values: &[String]) -> Result<Observed> {
    let inputs = crate::prepare::prepare(&mut model, &crate::prepare::nothing_beside)?;
    crate::contrib::expand(&mut model)?;
    crate::rewrite::rewrite_for_types(&mut model, LOGITS);
    let mut inference = framework().model_for_proto_model(&model).map_err(|error| Error::Graph(causes(&error)))?;
    drop(model);
    onnx::check_operators(&inference)?;
    let typed = onnx::type_check(&mut inference, inputs, values);
    let typed = typed.map_err(|error| Error::Graph(causes(&error)))?;
    Ok(Observed { typed, takes_token_types: inputs.takes_token_types, axes: inputs.axes })
}
