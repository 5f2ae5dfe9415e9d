//! What becomes of each tensor.

use crate::{Error, Form, LeftLayer, Result};
use grice_model::{RawCheckpoint, RawTensor, Role};
use std::collections::BTreeSet;

/// All that is written.
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// Dense layers that are quantized.
    pub(super) layers: usize,
    pub(super) left: Vec<LeftLayer>,
    pub(super) bytes_before: u64,
}

/// A tensor that is read, and what is written of it.
pub(super) struct Job {
    pub(super) tensor: RawTensor,
    pub(super) work: Work,
    pub(super) pieces: Vec<Piece>,
}

/// How a tensor is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Not at all.
    Copy,
    /// To 16 bits.
    Cast(Form),
    /// To 8 bits with a scale for each output.
    Int8 { outputs_first: bool },
    /// To 4 bits with a scale for each group of inputs.
    Int4 { outputs_first: bool, group: usize },
}

/// A tensor that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: u64,
}

impl Plan {
    pub(super) fn new(source: &RawCheckpoint<'_>, form: Form) -> Result<Plan> {
        let mut plan = Plan { jobs: Vec::new(), layers: 0, left: Vec::new(), bytes_before: 0 };
        for tensor in source.tensors().into_iter().filter(|tensor| tensor.role != Role::Buffer) {
            plan.add(tensor, form)?;
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = plan.jobs.iter().flat_map(|job| &job.pieces).find(|piece| !names.insert(&piece.name)) {
            return Err(Error::Twice(twice.name.clone()));
        }
        match form {
            Form::Int8 | Form::Int4 { .. } if plan.layers == 0 => {
                Err(Error::Layers { form, example: plan.left.first().cloned() })
            }
            _ => Ok(plan),
        }
    }

    /// Whether weights are packed in another layout than they have.
    pub(super) fn transposes(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job.work, Work::Int4 { outputs_first: false, .. }))
    }

    fn add(&mut self, tensor: RawTensor, form: Form) -> Result<()> {
        let (dtype, count) = (known(&tensor)?, count(&tensor.shape));
        self.bytes_before += count * size_of_type(dtype);
        let work = match (form, &tensor.role) {
            (Form::Int8, &Role::Dense { outputs_first, .. }) => Work::Int8 { outputs_first },
            (Form::Int4 { group }, Role::Dense { layer, outputs_first }) => {
                let [_, inputs] = sides(&tensor.shape, *outputs_first);
                match inputs.is_multiple_of(group) {
                    true => Work::Int4 { outputs_first: *outputs_first, group },
                    false => {
                        let reason = format!("takes {inputs} inputs, which groups of {group} do not divide");
                        self.left.push(LeftLayer { name: layer.clone(), reason });
                        Work::Copy
                    }
                }
            }
            (Form::Fp16, _) if dtype != "F16" => Work::Cast(form),
            (Form::Bf16, _) if dtype != "BF16" => Work::Cast(form),
            _ => Work::Copy,
        };
        self.layers += usize::from(matches!(work, Work::Int8 { .. } | Work::Int4 { .. }));
        let pieces = pieces(&tensor, dtype, work);
        self.jobs.push(Job { tensor, work, pieces });
        Ok(())
    }
}

fn pieces(tensor: &RawTensor, dtype: &'static str, work: Work) -> Vec<Piece> {
    let piece = |suffix: &str, dtype, shape: Vec<usize>| {
        let bytes = count(&shape) * size_of_type(dtype);
        Piece { name: format!("{}{suffix}", tensor.name), dtype, shape, bytes }
    };
    match work {
        Work::Copy => vec![piece("", dtype, tensor.shape.clone())],
        Work::Cast(Form::Fp16) => vec![piece("", "F16", tensor.shape.clone())],
        Work::Cast(_) => vec![piece("", "BF16", tensor.shape.clone())],
        Work::Int8 { outputs_first } => {
            let [outputs, _] = sides(&tensor.shape, outputs_first);
            let scales = if outputs_first { vec![outputs, 1] } else { vec![1, outputs] };
            vec![piece("", "I8", tensor.shape.clone()), piece("_scale", "F32", scales)]
        }
        Work::Int4 { outputs_first, group } => {
            let [outputs, inputs] = sides(&tensor.shape, outputs_first);
            let packed = piece("_packed", "I32", vec![outputs, inputs.div_ceil(8)]);
            vec![packed, piece("_scale", "F32", vec![outputs, inputs / group]), piece("_shape", "I64", vec![2])]
        }
    }
}

/// `[outputs, inputs]` of a weight.
pub(super) fn sides(shape: &[usize], outputs_first: bool) -> [usize; 2] {
    match *shape {
        [outputs, inputs] if outputs_first => [outputs, inputs],
        [inputs, outputs] => [outputs, inputs],
        _ => [0, 0],
    }
}

/// The type of a tensor, which must be one that can be rounded.
fn known(tensor: &RawTensor) -> Result<&'static str> {
    let known = ["F32", "F16", "BF16"].into_iter().find(|dtype| *dtype == tensor.dtype);
    known.ok_or_else(|| Error::TensorType { tensor: tensor.name.clone(), found: tensor.dtype.clone() })
}

/// Elements of a shape that the file's header was checked to hold.
fn count(shape: &[usize]) -> u64 {
    shape.iter().map(|&size| size as u64).product()
}

/// Bytes of an element.
pub(super) fn size_of_type(dtype: &str) -> u64 {
    match dtype {
        "I64" => 8,
        "F32" | "I32" => 4,
        "F16" | "BF16" => 2,
        _ => 1,
    }
}
