//! Inference over gRPC: reads tensors from messages, and writes columns to them.

use super::messages::{
    Contents, InferAnswer, InferAsked, InputTensor, OutputAsked, OutputTensor, Parameter, ParameterValue,
};
use crate::problem::Problem;
use crate::routes::bounds::Bounds;
use crate::routes::judge::Judged;
use crate::routes::outputs::{Output, OutputKind};
use crate::routes::parameters::{Given, read_input, read_output, read_request};
use crate::routes::tensors::{InferRequest, Inputs, Tensor, Values, read_binary_values, unknown_type};
use crate::served::Served;
use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, decode_key, skip_field};
use serde_json::Value;
use std::collections::HashMap;

/// Maximum number of inputs, outputs or parameters of a request.
const PARTS_MAX: usize = 64;
/// Set by streaming clients that want an answer after the last one; here the last answer says that it is the last.
pub(super) const WANTS_FINAL: &str = "triton_enable_empty_final_response";
pub(super) const IS_FINAL: &str = "triton_final_response";

/// Refuses a message with too many inputs, outputs or parameters before memory is allocated for them:
/// they need only two bytes each, so a message can have a million.
///
/// # Errors
/// 400 for these, and for invalid messages.
pub(super) fn check_counts(message: &Bytes) -> Result<(), Problem> {
    let mut rest = message.clone();
    let mut counts = [0; 8];
    while rest.has_remaining() {
        let skipped = decode_key(&mut rest).and_then(|(tag, wire)| {
            skip_field(wire, tag, &mut rest, DecodeContext::default())?;
            Ok(tag)
        });
        let tag = skipped.map_err(|error| Problem::malformed(format!("the message cannot be read: {error}")))?;
        if let Some(count) = counts.get_mut(tag as usize) {
            *count += 1;
            if *count > PARTS_MAX {
                let detail = format!("the message holds more than {PARTS_MAX} inputs, outputs or parameters");
                return Err(Problem::malformed(detail));
            }
        }
    }
    Ok(())
}

impl InferRequest {
    /// Reads a request from a message.
    ///
    /// # Errors
    /// As [`InferRequest::parse`].
    pub(super) fn from_message(asked: InferAsked, bounds: Bounds) -> Result<InferRequest, Problem> {
        let parameters = read_request(&given(asked.parameters), false)?;
        let (inputs, raw) = (&asked.inputs, &asked.raw_input_contents);
        if !raw.is_empty() && raw.len() != inputs.len() {
            let detail = format!("{} raw_input_contents are given for {} inputs", raw.len(), inputs.len());
            return Err(Problem::malformed(detail));
        }
        let mut tensors = Vec::with_capacity(inputs.len().min(8));
        for (place, input) in inputs.iter().enumerate() {
            tensors.push(read_tensor(input, raw.get(place))?);
        }
        let outputs = asked_outputs(asked.outputs, bounds)?;
        let id = Some(asked.id).filter(|id| !id.is_empty());
        Ok(InferRequest { id, inputs: Inputs::from_tensors(tensors, bounds)?, outputs, timeout: parameters.timeout })
    }
}

fn asked_outputs(asked: Vec<OutputAsked>, bounds: Bounds) -> Result<Vec<Output>, Problem> {
    if asked.is_empty() {
        return Ok(OutputKind::ALL.map(|kind| Output { kind, binary: true, classes: None }).to_vec());
    }
    let mut outputs = Vec::with_capacity(asked.len().min(OutputKind::ALL.len()));
    for output in asked {
        let parameters = read_output(&output.name, &given(output.parameters), false)?;
        Output::add(&mut outputs, &output.name, true, parameters.classes, bounds)?;
    }
    Ok(outputs)
}

/// Parameters as JSON, sorted by name, because a map has no order.
pub(super) fn given(parameters: HashMap<String, Parameter>) -> Given {
    let value = |parameter: Parameter| match parameter.value {
        Some(ParameterValue::Bool(set)) => Value::from(set),
        Some(ParameterValue::Int(number)) => Value::from(number),
        Some(ParameterValue::Text(text)) => Value::from(text),
        Some(ParameterValue::Float(number)) => Value::from(number),
        Some(ParameterValue::Uint(number)) => Value::from(number),
        None => Value::Null,
    };
    let mut given: Vec<(String, Value)> = parameters.into_iter().map(|(name, one)| (name, value(one))).collect();
    given.sort_by(|(a, _), (b, _)| a.cmp(b));
    given.into_iter().collect()
}

pub(super) fn read_tensor(input: &InputTensor, raw: Option<&Bytes>) -> Result<Tensor, Problem> {
    let name = &input.name;
    let wrong = |what: String| {
        let name: String = name.escape_default().take(80).collect();
        Problem::malformed(format!("input `{name}`: {what}"))
    };
    read_input(name, &given(input.parameters.clone()), false)?;
    let shape: Result<Vec<u64>, _> = input.shape.iter().map(|&side| u64::try_from(side)).collect();
    let shape = shape.map_err(|_| wrong(format!("its shape {:?} has a side below 0", input.shape)))?;
    let values = match (raw, &input.contents) {
        (Some(_), Some(contents)) if *contents != Contents::default() => {
            return Err(wrong("it has both `contents` and raw_input_contents".to_owned()));
        }
        (Some(raw), _) => read_binary_values(raw, &input.datatype).map_err(wrong)?,
        (None, Some(contents)) => read_contents(contents, &input.datatype).map_err(wrong)?,
        (None, None) => return Err(wrong("it has neither `contents` nor raw_input_contents".to_owned())),
    };
    Tensor::new(name, &shape, values).map_err(wrong)
}

/// Values from the field of their type.
fn read_contents(contents: &Contents, datatype: &str) -> Result<Values, String> {
    let Contents { bools, ints, int64s, uints, uint64s, fp32s, fp64s, texts } = contents;
    let counts = [
        ("bool_contents", bools.len()),
        ("int_contents", ints.len()),
        ("int64_contents", int64s.len()),
        ("uint_contents", uints.len()),
        ("uint64_contents", uint64s.len()),
        ("fp32_contents", fp32s.len()),
        ("fp64_contents", fp64s.len()),
        ("bytes_contents", texts.len()),
    ];
    let (field, values) = match datatype {
        "BYTES" => ("bytes_contents", read_texts(texts)?),
        "INT32" => ("int_contents", Values::Numbers(ints.iter().copied().map(i64::from).collect())),
        "INT64" => ("int64_contents", Values::Numbers(int64s.clone())),
        "UINT32" => ("uint_contents", Values::Numbers(uints.iter().copied().map(i64::from).collect())),
        "UINT64" => {
            let numbers = uint64s
                .iter()
                .map(|&number| i64::try_from(number).map_err(|_| format!("{number} is too large for a token")));
            ("uint64_contents", Values::Numbers(numbers.collect::<Result<_, _>>()?))
        }
        other => return Err(unknown_type(other)),
    };
    match counts.iter().find(|(name, count)| *count > 0 && *name != field) {
        Some((name, _)) => Err(format!("its datatype is {datatype}, whose values belong in {field}, not in {name}")),
        None => Ok(values),
    }
}

fn read_texts(texts: &[Bytes]) -> Result<Values, String> {
    let texts = texts.iter().enumerate().map(|(place, text)| {
        let text = std::str::from_utf8(text).map_err(|error| format!("text {place} is not UTF-8: {error}"))?;
        Ok(text.to_owned())
    });
    texts.collect::<Result<_, String>>().map(Values::Texts)
}

/// The message that answers a request.
pub(super) fn answer(served: &Served, judged: &Judged, is_of_stream: bool) -> InferAnswer {
    let outputs = judged.outputs.iter().zip(&judged.columns).map(|(output, column)| OutputTensor {
        name: output.kind.name().to_owned(),
        datatype: column.datatype().to_owned(),
        shape: column.shape().map(|side| side as i64).into(),
    });
    let last = is_of_stream.then(|| {
        let value = Some(ParameterValue::Bool(true));
        (IS_FINAL.to_owned(), Parameter { value })
    });
    InferAnswer {
        model_name: served.name().to_owned(),
        model_version: served.version().to_owned(),
        id: judged.id.clone().unwrap_or_default(),
        parameters: last.into_iter().collect(),
        outputs: outputs.collect(),
        raw_output_contents: judged.columns.iter().map(|column| column.bytes()).collect(),
    }
}

#[cfg(test)]
mod tests;
