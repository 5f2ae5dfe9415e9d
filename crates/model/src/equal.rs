//! ONNX's `Equal`, for graphs that did not fuse. tract's says of two sizes that they differ where that is not known yet, such as the number of
//! tokens and 5, and it knows no bools.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{EvalContext, bail, tract_data::TooEarly};
use tract_onnx::tract_core::ops::binary::BinMiniOp;
use tract_onnx::tract_core::ops::logic::CompEq;

/// The operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Equal;

impl BinMiniOp for Equal {
    fn name(&self) -> &'static str {
        "Equal"
    }

    fn result_datum_type(&self, a: DatumType, b: DatumType) -> TractResult<DatumType> {
        CompEq.result_datum_type(a, b)
    }

    fn eval_in_a(&self, a: &mut Tensor, b: &Tensor) -> TractResult<()> {
        CompEq.eval_in_a(a, b)
    }

    fn eval_out_of_place(&self, c: &mut Tensor, a: &Tensor, b: &Tensor) -> TractResult<()> {
        if a.datum_type() != bool::datum_type() {
            return CompEq.eval_out_of_place(c, a, b);
        }
        CompEq.eval_out_of_place(c, a.cast_to::<u8>()?.as_ref(), b.cast_to::<u8>()?.as_ref())
    }

    fn eval(&self, a: TValue, b: TValue, c_dt: DatumType) -> TractResult<Tensor> {
        if a.datum_type() != bool::datum_type() {
            return CompEq.eval(a, b, c_dt);
        }
        let bytes = |value: TValue| Ok::<_, TractError>(value.cast_to::<u8>()?.into_owned().into_tvalue());
        CompEq.eval(bytes(a)?, bytes(b)?, c_dt)
    }

    fn eval_symbolic(&self, ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        let is_size = |value: &TValue| value.datum_type() == TDim::datum_type();
        if let [a, b] = inputs.as_slice()
            && (is_size(a) || is_size(b))
        {
            for a in sizes(ctx, a)? {
                for b in sizes(ctx, b)? {
                    let apart = a.clone() - &b;
                    let is_known = a == b || apart.prove_strict_positive() || apart.prove_strict_negative();
                    if !is_known {
                        bail!(TooEarly::UndeterminedSymbol(apart.to_string()));
                    }
                }
            }
        }
        CompEq.eval_symbolic(ctx, inputs)
    }

    fn uniform_tdim_comparison(&self, a: &TDim, b: &TDim) -> Option<TDim> {
        CompEq.uniform_tdim_comparison(a, b)
    }
}

/// The different sizes in a tensor, as far as they are known.
fn sizes(ctx: &EvalContext, value: &TValue) -> TractResult<Vec<TDim>> {
    let value = value.cast_to::<TDim>()?;
    let plain = value.try_as_plain_ram()?;
    let mut sizes: Vec<TDim> = plain.as_slice::<TDim>()?.iter().map(|size| size.eval(ctx.symbols)).collect();
    sizes.dedup();
    Ok(sizes)
}
