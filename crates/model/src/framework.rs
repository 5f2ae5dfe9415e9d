//! tract's ONNX importer, as every piece of a file goes through it.

use std::collections::HashMap;
use std::sync::LazyLock;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, StaticName, TypedModel, bail, ensure, expand, format_err,
};
use tract_onnx::tract_hir::ops::binary::BinIntoHir;

/// Beyond the positions of any sequence, and near enough to count to.
const FARTHEST: i64 = 1 << 20;

/// Makes an operator of a node.
type Builder = fn(&ParsingContext, &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// tract's own builders of the operators that are guarded here stand beside the importer.
static IMPORTER: LazyLock<(Onnx, HashMap<&str, Builder>)> = LazyLock::new(|| {
    // Exported shape hints are often stale after a quantizer has rewritten the file; tract infers them anyway.
    let mut framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let guards: [(&str, Builder); 3] = [("CumSum", cum_sum), ("LayerNormalization", layer_norm), ("Range", range)];
    let replace =
        |(name, guard): (&'static str, Builder)| Some((name, framework.op_register.0.insert(name.to_owned(), guard)?));
    let unguarded = guards.into_iter().filter_map(replace).collect();
    framework.op_register.insert("Equal", |_, _| Ok((crate::equal::Equal.into_hir(), vec![])));
    framework.op_register.insert("QuantizeLinear", crate::quantizers::quantize_linear);
    framework.op_register.insert("DequantizeLinear", crate::quantizers::dequantize_linear);
    (framework, unguarded)
});

/// The importer.
pub(crate) fn framework() -> &'static Onnx {
    &IMPORTER.0
}

/// tract's layer norm, whose shape rules count 2⁶⁴ axes if the attribute `axis` lies before the first one.
fn layer_norm(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    guarded(context, node, Guard::Axis(node.get_attr_opt("axis")?.unwrap_or(-1)))
}

/// tract's range, which is written out while shapes are inferred, whatever its length, and whose shape rules take a step for
/// unsigned.
fn range(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    guarded(context, node, Guard::Range)
}

/// tract's running sum, which cannot add up what it takes for sizes: whatever was cast to int64.
fn cum_sum(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    guarded(context, node, Guard::Numbers)
}

fn guarded(
    context: &ParsingContext,
    node: &NodeProto,
    guard: Guard,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let name = node.op_type.as_str();
    let build = IMPORTER.1.get(name).ok_or_else(|| format_err!("{name} is unknown"))?;
    let (op, closures) = build(context, node)?;
    let inner = op.as_op().downcast_ref::<Box<dyn Expansion>>();
    let inner = inner.ok_or_else(|| format_err!("{name} is no expansion"))?.clone();
    Ok((expand(Guarded { guard, inner }), closures))
}

/// An operator of tract's, with a check that it lacks.
#[derive(Clone, Debug)]
struct Guarded {
    guard: Guard,
    inner: Box<dyn Expansion>,
}

#[derive(Clone, Debug)]
enum Guard {
    /// This is an axis of the first input.
    Axis(i64),
    /// The first input is a number where it may be a size, and the output a size again.
    Numbers,
    /// Start and limit, where they are numbers, are near enough, and the step is a positive whole one.
    Range,
}

impl Expansion for Guarded {
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
        // Rules are applied in their order, so these come before what they guard.
        match (&self.guard, inputs) {
            (Guard::Axis(axis), [tensor, ..]) => solver.given(&tensor.rank, move |_, rank| {
                ensure!((-rank..rank).contains(axis), "axis {axis} of a tensor with {rank} axes");
                Ok(())
            })?,
            (Guard::Range, [start, limit, step]) => {
                for bound in [start, limit] {
                    solver.given(&bound.value, |_, bound| {
                        let far = whole(&bound).filter(|bound| !(-FARTHEST..=FARTHEST).contains(bound));
                        far.map_or(Ok(()), |bound| bail!("a range as far as {bound}; the farthest is {FARTHEST}"))
                    })?;
                }
                solver.given(&step.value, |_, step| {
                    let wrong = whole(&step).filter(|step| !(1..=FARTHEST).contains(step));
                    wrong.map_or(Ok(()), |step| bail!("a range in steps of {step}; one to {FARTHEST} will do"))
                })?;
            }
            _ => {}
        }
        self.inner.rules(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let is_size = |outlet| Ok::<_, TractError>(model.outlet_fact(outlet)?.datum_type == TDim::datum_type());
        if !matches!(self.guard, Guard::Numbers) || !is_size(inputs[0])? {
            return self.inner.wire(prefix, model, inputs);
        }
        let mut numbers: TVec<OutletId> = inputs.into();
        numbers[0] = model.wire_node(format!("{prefix}.numbers"), cast(i64::datum_type()), &[inputs[0]])?[0];
        let made = self.inner.wire(&format!("{prefix}.made"), model, &numbers)?;
        model.wire_node(prefix, cast(TDim::datum_type()), &made)
    }
}

/// A scalar as a whole number; `None` of one that depends on the batch.
fn whole(tensor: &Tensor) -> Option<i64> {
    tensor.cast_to_scalar().ok()
}
