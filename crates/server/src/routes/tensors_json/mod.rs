//! Inference requests and answers of the Open Inference Protocol v2 as JSON, with the binary tensor data extension. No state
//! and no I/O, so that a fuzzer can run it.
//!
//! <https://github.com/kserve/open-inference-protocol>, and the extensions as Triton's HTTP clients speak them: a JSON head
//! with its length in a header, then the bytes of the tensors without gaps.

use super::bounds::Bounds;
use super::input::parse_json;
use super::outputs::{Column, Output, OutputKind};
use super::parameters::{Given, read_input, read_output, read_request};
use super::tensors::{InferRequest, Inputs, Tensor, Values, count_of, read_binary_values, unknown_type};
use crate::problem::Problem;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    id: Option<String>,
    parameters: Option<Given>,
    inputs: Vec<InputHead>,
    outputs: Option<Vec<OutputHead>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputHead {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    parameters: Option<Given>,
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputHead {
    name: String,
    parameters: Option<Given>,
}

impl InferRequest {
    /// Reads a body. `head_bytes` is the value of `Inference-Header-Content-Length`, if present.
    ///
    /// # Errors
    /// 400 for violations of the protocol and unsupported features, 413 for too many rows, 422 for tensors that cannot be judged.
    pub(crate) fn parse(body: &[u8], head_bytes: Option<usize>, bounds: Bounds) -> Result<InferRequest, Problem> {
        let length = head_bytes.unwrap_or(body.len());
        let Some((head, mut rest)) = body.split_at_checked(length) else {
            let detail =
                format!("Inference-Header-Content-Length says {length}, but the body has {} bytes", body.len());
            return Err(Problem::malformed(detail));
        };
        if head_bytes == Some(0) {
            let detail =
                "Inference-Header-Content-Length is 0: a raw binary request is not supported; send the JSON head";
            return Err(Problem::malformed(detail));
        }
        let head: Head = parse_json(head)?;
        let request = read_request(&head.parameters.unwrap_or_default(), true)?;
        let mut tensors = Vec::with_capacity(head.inputs.len().min(8));
        for input in &head.inputs {
            tensors.push(read_tensor(input, &mut rest)?);
        }
        if !rest.is_empty() {
            let detail = format!("{} bytes of binary data belong to no input", rest.len());
            return Err(Problem::malformed(detail));
        }
        let outputs = asked_outputs(head.outputs.unwrap_or_default(), request.binary_data_output, bounds)?;
        let inputs = Inputs::from_tensors(tensors, bounds)?;
        Ok(InferRequest { id: head.id, inputs, outputs, timeout: request.timeout })
    }
}

fn asked_outputs(asked: Vec<OutputHead>, binary: bool, bounds: Bounds) -> Result<Vec<Output>, Problem> {
    if asked.is_empty() {
        return Ok(OutputKind::ALL.map(|kind| Output { kind, binary, classes: None }).to_vec());
    }
    let mut outputs = Vec::with_capacity(asked.len().min(OutputKind::ALL.len()));
    for head in asked {
        let parameters = read_output(&head.name, &head.parameters.unwrap_or_default(), true)?;
        let binary = parameters.binary_data.unwrap_or(binary);
        Output::add(&mut outputs, &head.name, binary, parameters.classes, bounds)?;
    }
    Ok(outputs)
}

fn read_tensor(input: &InputHead, rest: &mut &[u8]) -> Result<Tensor, Problem> {
    let name = &input.name;
    let wrong = |what: String| Problem::malformed(format!("input `{}`: {what}", name.escape_default()));
    let count = count_of(&input.shape).map_err(wrong)?;
    let binary = input.parameters.as_ref().map(|given| read_input(name, given, true)).transpose()?.flatten();
    let values = match (binary, &input.data) {
        (Some(_), Some(_)) => return Err(wrong("it has both `data` and `binary_data_size`".to_owned())),
        (None, None) => return Err(wrong("it has neither `data` nor `binary_data_size`".to_owned())),
        (None, Some(data)) => read_json_values(data, &input.datatype, count).map_err(wrong)?,
        (Some(size), None) => {
            let split = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size));
            let Some((bytes, after)) = split else {
                return Err(wrong(format!("{size} bytes of binary data are announced, but {} are left", rest.len())));
            };
            *rest = after;
            read_binary_values(bytes, &input.datatype).map_err(wrong)?
        }
    };
    Tensor::new(name, &input.shape, values).map_err(wrong)
}

fn read_json_values(data: &RawValue, datatype: &str, count: usize) -> Result<Values, String> {
    // A shape may claim any size; the length of the text limits it.
    let room = count.min(data.get().len());
    let mut values = match datatype {
        "BYTES" => Values::Texts(Vec::with_capacity(room)),
        "INT64" | "INT32" | "UINT64" | "UINT32" => Values::Numbers(Vec::with_capacity(room)),
        other => return Err(unknown_type(other)),
    };
    let mut deserializer = serde_json::Deserializer::from_str(data.get());
    Flatten(&mut values).deserialize(&mut deserializer).map_err(|error| format!("`data`: {error}"))?;
    Ok(values)
}

/// `data` may be nested like its shape or flat; only the order matters. serde_json limits the depth.
struct Flatten<'v>(&'v mut Values);

impl<'de> DeserializeSeed<'de> for Flatten<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Values::Texts(_) => "text, or a list of them",
            Values::Numbers(_) => "a whole number, or a list of them",
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flatten(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match self.0 {
            Values::Texts(texts) => texts.push(text.to_owned()),
            Values::Numbers(_) => return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        match self.0 {
            Values::Numbers(numbers) => numbers.push(number),
            Values::Texts(_) => return Err(E::invalid_type(serde::de::Unexpected::Signed(number), &self)),
        }
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        let signed = i64::try_from(number);
        self.visit_i64(signed.map_err(|_| E::custom(format!("{number} is too large for a token")))?)
    }
}

#[derive(Serialize)]
struct AnswerHead<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<OutputTensor<'a>>,
}

#[derive(Serialize)]
struct OutputTensor<'a> {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Numbers(&'a [f32]),
    Texts(&'a [String]),
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// An answer's bytes, and the length of its JSON head if binary data follows.
pub(crate) struct AnswerBody {
    pub(crate) bytes: Vec<u8>,
    pub(crate) head_bytes: Option<usize>,
}

/// Writes an answer, with its columns in the order of the requested outputs.
pub(crate) fn write_answer(
    model: (&str, &str),
    id: Option<&str>,
    outputs: &[Output],
    columns: &[Column],
) -> serde_json::Result<AnswerBody> {
    let mut tail = Vec::new();
    let mut has_binary = false;
    let tensors = outputs.iter().zip(columns).map(|(output, column)| {
        let start = tail.len();
        let data = match (output.binary, column) {
            (false, Column::Numbers { values, .. }) => Some(Data::Numbers(values)),
            (false, Column::Classes { texts, .. }) => Some(Data::Texts(texts)),
            (true, _) => {
                has_binary = true;
                tail.extend(column.bytes());
                None
            }
        };
        let parameters = output.binary.then(|| BinarySize { binary_data_size: tail.len() - start });
        OutputTensor { name: output.kind.name(), datatype: column.datatype(), shape: column.shape(), parameters, data }
    });
    let outputs = tensors.collect();
    let mut bytes = serde_json::to_vec(&AnswerHead { model_name: model.0, model_version: model.1, id, outputs })?;
    let length = bytes.len();
    bytes.append(&mut tail);
    Ok(AnswerBody { bytes, head_bytes: has_binary.then_some(length) })
}

#[cfg(test)]
mod tests;
