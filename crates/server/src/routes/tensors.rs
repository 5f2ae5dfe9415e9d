//! Tensors of inference requests, for JSON and gRPC, and the rows in them. No state and no I/O, so that a
//! fuzzer can run it.

use super::bounds::Bounds;
use super::outputs::Output;
use crate::problem::Problem;
use grice_core::{Context, MASKED, Turn};
use std::time::Duration;

/// A checked inference request.
#[derive(Debug, PartialEq)]
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Inputs,
    /// The requested outputs, in order.
    pub(crate) outputs: Vec<Output>,
    /// The client's timeout, from the arrival.
    pub(crate) timeout: Option<Duration>,
}

/// The rows to judge.
#[derive(Debug, PartialEq)]
pub(crate) enum Inputs {
    Texts(Vec<Turn>),
    /// Without padding, or with padding as [`MASKED`] tokens.
    Tokens(Vec<Vec<u32>>),
}

/// One input with its values.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) values: Values,
}

#[derive(Debug)]
pub(crate) enum Values {
    Texts(Vec<String>),
    Numbers(Vec<i64>),
}

impl Tensor {
    /// An input with the number of values that its shape requires.
    ///
    /// # Errors
    /// A message if there are more or fewer.
    pub(crate) fn new(name: &str, shape: &[u64], values: Values) -> Result<Tensor, String> {
        let (count, found) = (count_of(shape)?, values.len());
        if found != count {
            return Err(format!("its shape {shape:?} has {count} values, but there are {found}"));
        }
        Ok(Tensor { name: name.to_owned(), shape: shape.to_vec(), values })
    }
}

/// The number of values of a shape.
///
/// # Errors
/// A message if the number overflows.
pub(crate) fn count_of(shape: &[u64]) -> Result<usize, String> {
    let count = shape.iter().try_fold(1u64, |product, &side| product.checked_mul(side));
    count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| "its shape overflows".to_owned())
}

/// Reads values from bytes: little-endian, each text preceded by a 32-bit length.
///
/// # Errors
/// A message for bytes that are cut off or not text, and for other types.
pub(crate) fn read_binary_values(bytes: &[u8], datatype: &str) -> Result<Values, String> {
    let of_size = |size: usize| match bytes.len() % size {
        0 => Ok(()),
        _ => Err(format!("{} bytes are not a whole number of {datatype} values", bytes.len())),
    };
    match datatype {
        "BYTES" => read_binary_texts(bytes).map(Values::Texts),
        "INT64" | "UINT64" => {
            of_size(8)?;
            // Outside the signed range there is no token id.
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

pub(crate) fn unknown_type(datatype: &str) -> String {
    format!("datatype `{}` is not supported; use BYTES for texts and INT64 for tokens", datatype.escape_default())
}

impl Values {
    pub(crate) fn len(&self) -> usize {
        match self {
            Values::Texts(texts) => texts.len(),
            Values::Numbers(numbers) => numbers.len(),
        }
    }
}

impl Inputs {
    /// The rows in tensors.
    ///
    /// # Errors
    /// 422 with the invalid input, 413 for too many rows.
    pub(crate) fn from_tensors(tensors: Vec<Tensor>, bounds: Bounds) -> Result<Inputs, Problem> {
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
                    return Err(Problem::unusable(format!(
                        "no input `{}`; the inputs are {known}",
                        name.escape_default()
                    )));
                }
            };
            if again {
                return Err(Problem::malformed(format!("input `{name}` occurs twice")));
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
        let detail = format!("{found} rows are more than the {} allowed in one request", bounds.rows_max);
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

/// Rows without their padding, or with it if the graph's answers depend on it.
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
        let ones = match mask {
            Some(mask) => unpadded(mask).ok_or_else(|| {
                Problem::unusable(format!("input `attention_mask`, row {row}: it must be ones, then zeros for padding"))
            })?,
            None => length,
        };
        let (kept, padding) = if bounds.keeps_padding { (length, ", padding included") } else { (ones, "") };
        if kept > bounds.tokens_max {
            let most = bounds.tokens_max;
            let detail = format!("row {row} has {kept} tokens{padding}, but the model takes at most {most}");
            return Err(Problem::unusable(detail));
        }
        let ids = ids[..kept].iter().enumerate().map(|(place, &id)| {
            let known = u32::try_from(id).ok().filter(|id| id & MASKED == 0);
            let known = known.map(|id| if place < ones { id } else { id | MASKED });
            known.ok_or_else(|| Problem::unusable(format!("row {row}: {id} is not a token of the model")))
        });
        ids.collect()
    });
    rows.collect()
}

/// The number of leading ones in a mask of ones and then zeros; `None` for another mask, or without ones.
fn unpadded(mask: &[i64]) -> Option<usize> {
    let ones = mask.iter().take_while(|&&bit| bit == 1).count();
    (ones > 0 && mask[ones..].iter().all(|&bit| bit == 0)).then_some(ones)
}
