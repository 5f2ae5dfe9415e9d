//! tract's ONNX importer, as every piece of a file goes through it.

use std::sync::LazyLock;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, InferenceOp, StaticName, TypedModel, bail, expand, format_err};

const LAYER_NORM: &str = "LayerNormalization";

/// The importer.
///
/// Exported shape hints are often stale after a quantizer has rewritten the file; it infers them anyway.
pub(crate) fn framework() -> Onnx {
    let mut framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    framework.op_register.insert(LAYER_NORM, layer_norm);
    framework
}

/// tract's layer norm, whose shape rules count 2⁶⁴ axes if the attribute `axis` lies before the first one.
fn layer_norm(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    static TRACT: LazyLock<Onnx> = LazyLock::new(tract_onnx::onnx);
    let build = TRACT.op_register.0.get(LAYER_NORM).ok_or_else(|| format_err!("no {LAYER_NORM}"))?;
    let (op, closures) = build(context, node)?;
    let inner =
        op.as_op().downcast_ref::<Box<dyn Expansion>>().ok_or_else(|| format_err!("{LAYER_NORM} is no expansion"))?;
    let axis = node.get_attr_opt("axis")?.unwrap_or(-1);
    Ok((expand(AxisInRank { axis, inner: inner.clone() }), closures))
}

/// An operator whose attribute `axis` must name an axis of its first input.
#[derive(Clone, Debug)]
struct AxisInRank {
    axis: i64,
    inner: Box<dyn Expansion>,
}

impl Expansion for AxisInRank {
    fn name(&self) -> StaticName {
        self.inner.name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.inner.nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let first = inputs.first().ok_or_else(|| format_err!("{} has no input", self.name()))?;
        // Rules are applied in their order, so this one comes before the loop.
        solver.given(&first.rank, |_, rank| match (-rank..rank).contains(&self.axis) {
            true => Ok(()),
            false => bail!("axis {} of a tensor with {rank} axes", self.axis),
        })?;
        self.inner.rules(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        self.inner.wire(prefix, model, inputs)
    }
}
