//! `QuantizeLinear` and `DequantizeLinear` in graphs that did not fuse, by ONNX's own definition.
//!
//! tract's take whatever stands between them for a table of 256 entries, norms and Softmax too; they wrap around at infinities, and
//! ignore which type is asked for.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::math::{add, div, max, min, mul, round_half_to_even, sub};
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    AxisOp, Expansion, InferenceOp, StaticName, TypedModel, bail, ensure, expand, format_err, rctensor0, tensor0,
    wire_rank_broadcast,
};

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Builds ONNX's `QuantizeLinear`.
pub(crate) fn quantize_linear(_: &ParsingContext, node: &NodeProto) -> Built {
    let target = match node.get_attr_opt::<i64>("output_dtype")?.unwrap_or(0) {
        0 => None,
        2 => Some(DatumType::U8),
        3 => Some(DatumType::I8),
        other => bail!("{}: output type {other} is not supported", node.name),
    };
    build(node, Direction::Quantize { target })
}

/// Builds ONNX's `DequantizeLinear`.
pub(crate) fn dequantize_linear(_: &ParsingContext, node: &NodeProto) -> Built {
    build(node, Direction::Dequantize)
}

fn build(node: &NodeProto, direction: Direction) -> Built {
    let block_size = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
    ensure!(block_size == 0, "{}: quantization in blocks is not supported", node.name);
    let zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
    let axis = node.get_attr_opt("axis")?.unwrap_or(1);
    Ok((expand(Linear { direction, zero_point, axis }), vec![]))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// To this type, or to the zero point's.
    Quantize {
        target: Option<DatumType>,
    },
    Dequantize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Linear {
    direction: Direction,
    zero_point: bool,
    axis: i64,
}

impl Expansion for Linear {
    fn name(&self) -> StaticName {
        match self.direction {
            Direction::Quantize { .. } => "QuantizeLinear".into(),
            Direction::Dequantize => "DequantizeLinear".into(),
        }
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        ensure!(inputs.len() == 2 + usize::from(self.zero_point), "{} inputs", inputs.len());
        solver.equals(&inputs[0].shape, &outputs[0].shape)?;
        match self.direction {
            Direction::Dequantize => {
                solver.equals(&inputs[1].datum_type, &outputs[0].datum_type)?;
                if self.zero_point {
                    solver.equals(&inputs[0].datum_type, &inputs[2].datum_type)?;
                }
            }
            Direction::Quantize { target: Some(target) } => solver.equals(&outputs[0].datum_type, target)?,
            Direction::Quantize { target: None } if self.zero_point => {
                solver.equals(&outputs[0].datum_type, &inputs[2].datum_type)?;
            }
            Direction::Quantize { target: None } => solver.equals(&outputs[0].datum_type, DatumType::U8)?,
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let scale_type = model.outlet_fact(inputs[1])?.datum_type;
        ensure!(scale_type.is_float(), "a scale of {scale_type:?}");
        let target = match self.direction {
            Direction::Dequantize => model.outlet_fact(inputs[0])?.datum_type,
            Direction::Quantize { target: Some(target) } => target,
            Direction::Quantize { target: None } if self.zero_point => model.outlet_fact(inputs[2])?.datum_type,
            Direction::Quantize { target: None } => DatumType::U8,
        };
        ensure!(
            matches!(target, DatumType::U8 | DatumType::I8)
                || self.direction == Direction::Dequantize && target == DatumType::I32,
            "{target:?} is not supported"
        );
        if let Some((scale, zero)) = self.scalars(model, inputs)? {
            return self.wire_scalars(prefix, model, inputs[0], Scalars { scale, zero, target }, scale_type);
        }
        let rank = model.outlet_fact(inputs[0])?.rank();
        let mut parameters = tvec!();
        for (slot, name) in [(1, "scale"), (2, "zero_point")] {
            let value = match inputs.get(slot) {
                Some(&value) => value,
                None => model.add_const(format!("{prefix}.{name}"), tensor0(0f32))?,
            };
            parameters.push(self.along_axis(&format!("{prefix}.{name}"), model, value, rank)?);
        }
        let mut x = model.wire_node(format!("{prefix}.in"), cast(f32::datum_type()), &[inputs[0]])?;
        match self.direction {
            Direction::Dequantize => {
                x = model.wire_node(format!("{prefix}.centred"), sub(), &[x[0], parameters[1]])?;
                x = model.wire_node(format!("{prefix}.scaled"), mul(), &[x[0], parameters[0]])?;
                model.wire_node(prefix, cast(scale_type), &x)
            }
            Direction::Quantize { .. } => {
                x = model.wire_node(format!("{prefix}.divided"), div(), &[x[0], parameters[0]])?;
                x = model.wire_node(format!("{prefix}.rounded"), round_half_to_even(), &x)?;
                x = model.wire_node(format!("{prefix}.moved"), add(), &[x[0], parameters[1]])?;
                let (low, high) = bounds(target);
                for (name, bound, op) in [("low", low, max()), ("high", high, min())] {
                    let bound = model.add_const(format!("{prefix}.{name}"), tensor0(bound))?;
                    let both = wire_rank_broadcast(format!("{prefix}.to.{name}"), model, &[x[0], bound])?;
                    x = model.wire_node(format!("{prefix}.within.{name}"), op, &both)?;
                }
                model.wire_node(prefix, cast(target), &x)
            }
        }
    }
}

/// One scale and one zero point for a whole tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scalars {
    scale: f32,
    zero: i32,
    /// The quantized type.
    target: DatumType,
}

impl Linear {
    /// Scale and zero point, where both are constants of one element.
    fn scalars(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Option<(f32, i32)>> {
        let constant = |outlet: OutletId| -> TractResult<_> {
            let konst = model.outlet_fact(outlet)?.konst.clone();
            Ok(konst.filter(|tensor| tensor.len() == 1))
        };
        let Some(scale) = constant(inputs[1])? else { return Ok(None) };
        let zero = match inputs.get(2) {
            Some(&zero) => constant(zero)?,
            None => Some(rctensor0(0i32)),
        };
        let Some(zero) = zero else { return Ok(None) };
        Ok(Some((scale.cast_to_scalar()?, zero.cast_to_scalar()?)))
    }

    fn wire_scalars(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        x: OutletId,
        scalars: Scalars,
        scale_type: DatumType,
    ) -> TractResult<TVec<OutletId>> {
        let is_single = scale_type == f32::datum_type();
        match self.direction {
            Direction::Dequantize if is_single => model.wire_node(prefix, element_wise(Dequantize(scalars)), &[x]),
            Direction::Dequantize => {
                let x = model.wire_node(format!("{prefix}.wide"), element_wise(Dequantize(scalars)), &[x])?;
                model.wire_node(prefix, cast(scale_type), &x)
            }
            Direction::Quantize { .. } => {
                let x = model.wire_node(format!("{prefix}.in"), cast(f32::datum_type()), &[x])?;
                model.wire_node(prefix, element_wise(Quantize(scalars)), &x)
            }
        }
    }

    /// A scalar or vector in single precision, shaped to go along the axis.
    fn along_axis(&self, name: &str, model: &mut TypedModel, value: OutletId, rank: usize) -> TractResult<OutletId> {
        let fact = model.outlet_fact(value)?.clone();
        let mut value = model.wire_node(format!("{name}.f32"), cast(f32::datum_type()), &[value])?[0];
        // One element may be written as a vector.
        if fact.rank() == 1 && fact.shape[0] == 1.to_dim() {
            value = model.wire_node(format!("{name}.one"), AxisOp::Rm(0), &[value])?[0];
        }
        let is_vector = fact.rank() == 1 && fact.shape[0] != 1.to_dim();
        ensure!(fact.rank() <= 1, "scales and zero points of {} axes are not supported", fact.rank());
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|axis| !is_vector || *axis < rank);
        let axis = axis.ok_or_else(|| format_err!("axis {} of a tensor with {rank} axes", self.axis))?;
        for place in (0..rank).filter(|place| !is_vector || *place != axis) {
            value = model.wire_node(format!("{name}.axis{place}"), AxisOp::Add(place), &[value])?[0];
        }
        Ok(value)
    }
}

fn element_wise(op: impl ElementWiseMiniOp) -> ElementWiseOp {
    ElementWiseOp(Box::new(op), None)
}

fn bounds(target: DatumType) -> (f32, f32) {
    match target {
        DatumType::I8 => (f32::from(i8::MIN), f32::from(i8::MAX)),
        _ => (f32::from(u8::MIN), f32::from(u8::MAX)),
    }
}

/// `(x − zero) · scale`.
#[derive(Clone, Debug, PartialEq)]
struct Dequantize(Scalars);

/// `clamp(round(x / scale) + zero)`, ties to even.
#[derive(Clone, Debug, PartialEq)]
struct Quantize(Scalars);

impl Eq for Dequantize {}
impl Eq for Quantize {}

impl ElementWiseMiniOp for Dequantize {
    fn name(&self) -> String {
        "DequantizeLinear".to_owned()
    }

    fn output_type(&self, _: DatumType) -> Option<DatumType> {
        Some(DatumType::F32)
    }

    fn eval_out_of_place(&self, x: &Tensor, _: Option<DatumType>) -> TractResult<Tensor> {
        let Scalars { scale, zero, .. } = self.0;
        let of = |x: i32| x.wrapping_sub(zero) as f32 * scale;
        let plain = x.try_as_plain_ram()?;
        let values: Vec<f32> = match x.datum_type() {
            DatumType::U8 => plain.as_slice::<u8>()?.iter().map(|&x| of(x.into())).collect(),
            DatumType::I8 => plain.as_slice::<i8>()?.iter().map(|&x| of(x.into())).collect(),
            DatumType::I32 => plain.as_slice::<i32>()?.iter().map(|&x| of(x)).collect(),
            other => bail!("{other:?} cannot be dequantized"),
        };
        Tensor::from_shape(x.shape(), &values)
    }
}

impl ElementWiseMiniOp for Quantize {
    fn name(&self) -> String {
        "QuantizeLinear".to_owned()
    }

    fn output_type(&self, _: DatumType) -> Option<DatumType> {
        Some(self.0.target)
    }

    fn eval_out_of_place(&self, x: &Tensor, _: Option<DatumType>) -> TractResult<Tensor> {
        let Scalars { scale, zero, target } = self.0;
        let (low, high) = bounds(target);
        let plain = x.try_as_plain_ram()?;
        let steps = plain.as_slice::<f32>()?.iter();
        let steps = steps.map(|x| ((x / scale).round_ties_even() + zero as f32).clamp(low, high));
        match target {
            DatumType::I8 => Tensor::from_shape(x.shape(), &steps.map(|step| step as i8).collect::<Vec<_>>()),
            _ => Tensor::from_shape(x.shape(), &steps.map(|step| step as u8).collect::<Vec<_>>()),
        }
    }
}
