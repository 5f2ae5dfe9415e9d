//! Inference requests and answers of the Open Inference Protocol v2, with its binary tensor data extension. No state and no
//! I/O, so that a fuzzer can have it.
//!
//! <https://github.com/kserve/open-inference-protocol>, and the extension as Triton's HTTP clients speak it: a JSON head whose
//! length a header tells, then the tensors' bytes end to end, little-endian, texts each preceded by a 32-bit length.

use super::input::parse_json;
use crate::problem::Problem;
use grice_core::{Context, Turn};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// An inference request, read and checked.
#[derive(Debug, PartialEq)]
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Inputs,
    /// Which outputs and how, in the order asked for.
    pub(crate) outputs: Vec<Output>,
}

/// What is to be judged.
#[derive(Debug, PartialEq)]
pub(crate) enum Inputs {
    Texts(Vec<Turn>),
    /// Without padding.
    Tokens(Vec<Vec<u32>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) kind: OutputKind,
    pub(crate) binary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Logits,
    Probabilities,
}

/// Bounds on a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) rows_max: usize,
    pub(crate) tokens_max: usize,
}

#[derive(Deserialize)]
struct Head {
    id: Option<String>,
    parameters: Option<Parameters>,
    inputs: Vec<InputHead>,
    outputs: Option<Vec<OutputHead>>,
}

#[derive(Deserialize)]
struct InputHead {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    parameters: Option<Parameters>,
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct OutputHead {
    name: String,
    parameters: Option<Parameters>,
}

/// Those that mean something here; others are let pass, as the protocol asks.
#[derive(Deserialize)]
struct Parameters {
    binary_data: Option<bool>,
    binary_data_size: Option<u64>,
    binary_data_output: Option<bool>,
}

/// One input with its values.
struct Tensor {
    name: String,
    shape: Vec<u64>,
    values: Values,
}

enum Values {
    Texts(Vec<String>),
    Numbers(Vec<i64>),
}

impl InferRequest {
    /// Reads a body. `head_bytes` is what `Inference-Header-Content-Length` says, if it is there.
    ///
    /// # Errors
    /// 400 for what breaks the protocol, 413 for too many rows, 422 for tensors that cannot be judged.
    pub(crate) fn parse(body: &[u8], head_bytes: Option<usize>, bounds: Bounds) -> Result<InferRequest, Problem> {
        let length = head_bytes.unwrap_or(body.len());
        let Some((head, mut rest)) = body.split_at_checked(length) else {
            let detail =
                format!("Inference-Header-Content-Length says {length}, but the body has {} bytes", body.len());
            return Err(Problem::malformed(detail));
        };
        let head: Head = parse_json(head)?;
        let mut tensors = Vec::with_capacity(head.inputs.len().min(8));
        for input in &head.inputs {
            tensors.push(read_tensor(input, &mut rest)?);
        }
        if !rest.is_empty() {
            let detail = format!("{} bytes of binary data belong to no input", rest.len());
            return Err(Problem::malformed(detail));
        }
        let outputs = asked_outputs(&head)?;
        Ok(InferRequest { id: head.id, inputs: Inputs::from_tensors(tensors, bounds)?, outputs })
    }
}

fn asked_outputs(head: &Head) -> Result<Vec<Output>, Problem> {
    let by_default = head.parameters.as_ref().and_then(|parameters| parameters.binary_data_output).unwrap_or(false);
    let Some(asked) = head.outputs.as_ref().filter(|outputs| !outputs.is_empty()) else {
        return Ok(OutputKind::ALL.map(|kind| Output { kind, binary: by_default }).to_vec());
    };
    let outputs = asked.iter().map(|output| {
        let kind = OutputKind::ALL.into_iter().find(|kind| kind.name() == output.name);
        let unknown = || Problem::malformed(format!("no output `{}`; there are logits and probabilities", output.name));
        let told = output.parameters.as_ref().and_then(|parameters| parameters.binary_data);
        Ok(Output { kind: kind.ok_or_else(unknown)?, binary: told.unwrap_or(by_default) })
    });
    let outputs: Vec<Output> = outputs.collect::<Result<_, Problem>>()?;
    match outputs.len() > OutputKind::ALL.len() {
        true => Err(Problem::malformed("an output is asked for more than once")),
        false => Ok(outputs),
    }
}

fn read_tensor(input: &InputHead, rest: &mut &[u8]) -> Result<Tensor, Problem> {
    let name = &input.name;
    let wrong = |what: String| Problem::malformed(format!("input `{name}`: {what}"));
    let count = input.shape.iter().try_fold(1u64, |product, &side| product.checked_mul(side));
    let count =
        count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| wrong("its shape overflows".to_owned()))?;
    let binary = input.parameters.as_ref().and_then(|parameters| parameters.binary_data_size);
    let values = match (binary, &input.data) {
        (Some(_), Some(_)) => return Err(wrong("it has both `data` and `binary_data_size`".to_owned())),
        (None, None) => return Err(wrong("it has neither `data` nor `binary_data_size`".to_owned())),
        (None, Some(data)) => read_json_values(data, &input.datatype, count).map_err(wrong)?,
        (Some(size), None) => {
            let split = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size));
            let Some((bytes, after)) = split else {
                return Err(wrong(format!("{size} bytes of binary data are told, but {} are left", rest.len())));
            };
            *rest = after;
            read_binary_values(bytes, &input.datatype).map_err(wrong)?
        }
    };
    let found = values.len();
    if found != count {
        return Err(wrong(format!("its shape {:?} holds {count} values, but there are {found}", input.shape)));
    }
    Ok(Tensor { name: name.clone(), shape: input.shape.clone(), values })
}

fn read_json_values(data: &RawValue, datatype: &str, count: usize) -> Result<Values, String> {
    // A shape may claim anything; the text bounds what there can be.
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

fn read_binary_values(bytes: &[u8], datatype: &str) -> Result<Values, String> {
    let of_size = |size: usize| match bytes.len() % size {
        0 => Ok(()),
        _ => Err(format!("{} bytes are no whole number of {datatype}", bytes.len())),
    };
    match datatype {
        "BYTES" => read_binary_texts(bytes).map(Values::Texts),
        "INT64" | "UINT64" => {
            of_size(8)?;
            // Beyond the signed range there is no token id either way.
            Ok(Values::Numbers(bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()))
        }
        "INT32" => {
            of_size(4)?;
            let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes)));
            Ok(Values::Numbers(numbers.collect()))
        }
        "UINT32" => {
            of_size(4)?;
            let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| i64::from(u32::from_le_bytes(*bytes)));
            Ok(Values::Numbers(numbers.collect()))
        }
        other => Err(unknown_type(other)),
    }
}

fn read_binary_texts(mut bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let cut_off = "its binary data is cut off";
        let (length, after) = bytes.split_first_chunk::<4>().ok_or(cut_off)?;
        let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(cut_off)?;
        let text = std::str::from_utf8(text).map_err(|error| format!("text {} is not UTF-8: {error}", texts.len()))?;
        texts.push(text.to_owned());
        bytes = after;
    }
    Ok(texts)
}

fn unknown_type(datatype: &str) -> String {
    format!("datatype `{}` is not read; use BYTES for texts and INT64 for tokens", datatype.escape_default())
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Values::Texts(texts) => texts.len(),
            Values::Numbers(numbers) => numbers.len(),
        }
    }
}

/// `data` may be nested like its shape or flat; either way what counts is the order. serde_json bounds the depth.
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

impl Inputs {
    fn from_tensors(tensors: Vec<Tensor>, bounds: Bounds) -> Result<Inputs, Problem> {
        let mut texts: [Option<Vec<String>>; 3] = Default::default();
        let (mut ids, mut mask) = (None, None);
        let mut rows = None;
        for tensor in tensors {
            let Tensor { name, shape, values } = tensor;
            check_rows(&name, &shape, &mut rows, bounds)?;
            let place = ["context", "evidence", "response"].iter().position(|known| *known == name);
            let again = match (place, name.as_str(), values) {
                (Some(place), _, Values::Texts(values)) => {
                    if !matches!(*shape, [_] | [_, 1]) {
                        return Err(Problem::unusable(format!(
                            "input `{name}` must have the shape [rows] or [rows, 1]"
                        )));
                    }
                    texts[place].replace(values).is_some()
                }
                (None, "input_ids", Values::Numbers(numbers)) => ids.replace((shape, numbers)).is_some(),
                (None, "attention_mask", Values::Numbers(numbers)) => mask.replace((shape, numbers)).is_some(),
                (Some(_), ..) => return Err(Problem::unusable(format!("input `{name}` must be BYTES"))),
                (None, "input_ids" | "attention_mask", _) => {
                    return Err(Problem::unusable(format!("input `{name}` must be INT64")));
                }
                _ => {
                    let known = "context, evidence and response, or input_ids and attention_mask";
                    return Err(Problem::unusable(format!("no input `{}`; there are {known}", name.escape_default())));
                }
            };
            if again {
                return Err(Problem::malformed(format!("input `{name}` is there twice")));
            }
        }
        let [context, evidence, response] = texts;
        match (response, ids) {
            (Some(response), None) if mask.is_none() => Ok(Inputs::Texts(join_turns(context, evidence, response))),
            (None, Some(ids)) if context.is_none() && evidence.is_none() => {
                read_tokens(ids, mask, bounds).map(Inputs::Tokens)
            }
            (None, None) => Err(Problem::unusable("input `response` (or `input_ids`) is missing")),
            _ => Err(Problem::unusable("give texts or tokens, not both")),
        }
    }
}

fn check_rows(name: &str, shape: &[u64], rows: &mut Option<u64>, bounds: Bounds) -> Result<(), Problem> {
    let Some(&found) = shape.first() else {
        return Err(Problem::unusable(format!("input `{name}` is a scalar; it needs a row for each turn")));
    };
    let expected = *rows.get_or_insert(found);
    if found != expected {
        return Err(Problem::unusable(format!("input `{name}` has {found} rows, but the others have {expected}")));
    }
    if found == 0 {
        return Err(Problem::unusable(format!("input `{name}` has no rows")));
    }
    if found > bounds.rows_max as u64 {
        let detail = format!("{found} rows are more than the {} that one request may hold", bounds.rows_max);
        return Err(Problem::too_large(detail));
    }
    Ok(())
}

fn join_turns(context: Option<Vec<String>>, evidence: Option<Vec<String>>, response: Vec<String>) -> Vec<Turn> {
    let mut context = context.map(Vec::into_iter);
    let mut evidence = evidence.map(Vec::into_iter);
    let turns = response.into_iter().map(|response| Turn {
        context: Context::Text(context.as_mut().and_then(Iterator::next).unwrap_or_default()),
        evidence: evidence.as_mut().and_then(Iterator::next),
        response,
    });
    turns.collect()
}

type Matrix = (Vec<u64>, Vec<i64>);

/// Rows without their padding.
fn read_tokens(ids: Matrix, mask: Option<Matrix>, bounds: Bounds) -> Result<Vec<Vec<u32>>, Problem> {
    let (shape, ids) = ids;
    let [_, length] = *shape else {
        return Err(Problem::unusable("input `input_ids` must have the shape [rows, tokens]"));
    };
    if mask.as_ref().is_some_and(|(other, _)| *other != shape) {
        return Err(Problem::unusable("input `attention_mask` must have the shape of `input_ids`"));
    }
    let length = usize::try_from(length).ok().filter(|&length| length > 0);
    let length = length.ok_or_else(|| Problem::unusable("input `input_ids` holds no tokens"))?;
    let mask = mask.map(|(_, mask)| mask);
    let rows = ids.chunks_exact(length).enumerate().map(|(row, ids)| {
        let mask = mask.as_ref().and_then(|mask| mask.get(row * length..(row + 1) * length));
        let kept = match mask {
            Some(mask) => unpadded(mask).ok_or_else(|| {
                Problem::unusable(format!("input `attention_mask`, row {row}: it must be ones, then zeros for padding"))
            })?,
            None => length,
        };
        if kept > bounds.tokens_max {
            let detail = format!("row {row} has {kept} tokens, but the model reads at most {}", bounds.tokens_max);
            return Err(Problem::unusable(detail));
        }
        let ids = ids[..kept].iter().map(|&id| {
            u32::try_from(id).map_err(|_| Problem::unusable(format!("row {row}: {id} is not a token of the model")))
        });
        ids.collect()
    });
    rows.collect()
}

/// How many ones lead a mask of ones and then zeros; nothing if it is another, or has none.
fn unpadded(mask: &[i64]) -> Option<usize> {
    let ones = mask.iter().take_while(|&&bit| bit == 1).count();
    (ones > 0 && mask[ones..].iter().all(|&bit| bit == 0)).then_some(ones)
}

impl OutputKind {
    pub(crate) const ALL: [OutputKind; 2] = [OutputKind::Logits, OutputKind::Probabilities];

    pub(crate) fn name(self) -> &'static str {
        match self {
            OutputKind::Logits => "logits",
            OutputKind::Probabilities => "probabilities",
        }
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
    data: Option<&'a [f32]>,
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

/// Writes an answer of `rows × labels` values for each output, in the order of `outputs`.
pub(crate) fn write_answer(
    model: (&str, &str),
    request: &InferRequest,
    rows: usize,
    values: &[Vec<f32>],
) -> serde_json::Result<AnswerBody> {
    let outputs = request.outputs.iter().zip(values).map(|(output, values)| OutputTensor {
        name: output.kind.name(),
        datatype: "FP32",
        shape: [rows, values.len() / rows.max(1)],
        parameters: output.binary.then_some(BinarySize { binary_data_size: 4 * values.len() }),
        data: (!output.binary).then_some(values.as_slice()),
    });
    let head = AnswerHead {
        model_name: model.0,
        model_version: model.1,
        id: request.id.as_deref(),
        outputs: outputs.collect(),
    };
    let mut bytes = serde_json::to_vec(&head)?;
    let length = bytes.len();
    for (output, values) in request.outputs.iter().zip(values) {
        if output.binary {
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    let has_binary = request.outputs.iter().any(|output| output.binary);
    Ok(AnswerBody { bytes, head_bytes: has_binary.then_some(length) })
}

#[cfg(test)]
#[path = "tensors_tests.rs"]
mod tests;
