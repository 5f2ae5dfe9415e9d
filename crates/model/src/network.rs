//! A detector's network as engines take it: a fused program, or the graph that did not fuse.

use crate::safetensors::Source;
use crate::stored::ProgramOrigin;
use crate::{Error, FixedAxes, Head, Precision, Program, Proof, Result, Unfused};
use std::collections::BTreeSet;
use std::sync::Arc;
#[cfg(feature = "onnx")]
use tract_onnx::prelude::TypedModel;

/// What a graph takes beside ids and mask, and the sizes that its axes are fixed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    pub(crate) takes_token_types: bool,
    pub(crate) takes_positions: bool,
    pub(crate) axes: FixedAxes,
}

/// A detector's network, from `input_ids` and `attention_mask` to `logits` (float32 `[batch, labels]`).
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) form: Form,
    pub(crate) labels: usize,
    pub(crate) embedding_rows: Option<usize>,
    pub(crate) inputs: Inputs,
    pub(crate) longest: Option<usize>,
    pub(crate) compared: Option<Compared>,
}

/// In which sequences the fused form was compared with the graph.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    pub(crate) up_to: usize,
    /// None where the program comes out of a compiled file.
    pub(crate) pieces: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Form {
    Fused(Arc<Program>),
    /// Decluttered and type-checked, and why there is no fused form.
    #[cfg(feature = "onnx")]
    Graph(Arc<TypedModel>, Unfused),
}

/// One line of what a graph is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// The operator.
    pub op: String,
    /// How many nodes of it.
    pub nodes: usize,
}

impl Network {
    /// The network in a file of a compiled program, and what it was made from. `verify`: whether tensors are compared with their hashes.
    ///
    /// # Errors
    /// As [`Program::restore`].
    pub fn restore(source: &dyn Source, verify: bool) -> Result<(Network, ProgramOrigin)> {
        let (program, origin) = Program::restore(source, verify)?;
        let compared = origin.compared_up_to.map(|up_to| Compared { up_to, pieces: BTreeSet::new() });
        Ok((Network { compared, ..Network::of(program, origin.labels) }, origin))
    }

    /// A network that a program makes up, which answers `columns` numbers for each sequence.
    pub fn of(program: Program, columns: usize) -> Network {
        let (embedding_rows, longest) = (Some(program.encoder.embedding.words.rows()), program.longest());
        let form = Form::Fused(Arc::new(program));
        Network { form, labels: columns, embedding_rows, inputs: Inputs::default(), longest, compared: None }
    }

    /// The graph, after declutter and before any engine's optimisation; `None` for a fused network.
    #[cfg(feature = "onnx")]
    pub fn typed(&self) -> Option<&TypedModel> {
        match &self.form {
            Form::Fused(_) => None,
            #[cfg(feature = "onnx")]
            Form::Graph(typed, _) => Some(typed),
        }
    }

    /// The fused program, or why there is none.
    ///
    /// # Errors
    /// [`Unfused`], naming the value at which the graph turned out to be something else.
    pub fn program(&self) -> std::result::Result<&Program, &Unfused> {
        match &self.form {
            Form::Fused(program) => Ok(program),
            #[cfg(feature = "onnx")]
            Form::Graph(_, unfused) => Err(unfused),
        }
    }

    /// How the weights of dense layers are stored; of a network that did not fuse, in single precision.
    pub fn precision(&self) -> Precision {
        match &self.form {
            Form::Fused(program) => program.precision(),
            #[cfg(feature = "onnx")]
            Form::Graph(..) => Precision::Fp32,
        }
    }

    /// The network with its weights rounded to another precision.
    ///
    /// # Errors
    /// [`Error::Precision`] if it did not fuse, or is stored in fewer bits already.
    pub fn to_precision(self, precision: Precision) -> Result<Network> {
        let stored = self.precision();
        if stored == precision {
            return Ok(self);
        }
        let Network { form, labels, embedding_rows, inputs, longest, compared } = self;
        let error = |reason: &str| Error::Precision { stored, asked: precision, reason: reason.to_owned() };
        let program = match form {
            Form::Fused(program) => Arc::unwrap_or_clone(program),
            #[cfg(feature = "onnx")]
            Form::Graph(_, unfused) => return Err(error(&format!("its graph does not fuse: {}", unfused.reason))),
        };
        let program =
            program.to_precision(precision).ok_or_else(|| error("what was rounded away cannot be made up"))?;
        Ok(Network { form: Form::Fused(Arc::new(program)), labels, embedding_rows, inputs, longest, compared })
    }

    /// The fused program by value, copied only if it is held elsewhere.
    ///
    /// # Errors
    /// The network itself, if it did not fuse.
    pub fn into_program(self) -> std::result::Result<Program, Box<Network>> {
        match self.form {
            Form::Fused(program) => Ok(Arc::unwrap_or_clone(program)),
            #[cfg(feature = "onnx")]
            Form::Graph(..) => Err(Box::new(self)),
        }
    }

    /// Columns of `logits`.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Rows of the word embedding, one more than the highest usable token id; `None` if the graph gathers in another way.
    pub fn embedding_rows(&self) -> Option<usize> {
        self.embedding_rows
    }

    /// Whether the graph has a third input, `token_type_ids`, to be fed zeros.
    pub fn takes_token_types(&self) -> bool {
        self.inputs.takes_token_types
    }

    /// Whether the graph took positions as an input, which are counted from 0 inside it now.
    pub fn takes_positions(&self) -> bool {
        self.inputs.takes_positions
    }

    /// The sizes that the graph's axes are fixed to, if they are, and it runs as tract's graph. A fused network takes any.
    pub fn fixed_axes(&self) -> FixedAxes {
        match &self.form {
            Form::Fused(_) => FixedAxes::default(),
            #[cfg(feature = "onnx")]
            Form::Graph(..) => self.inputs.axes,
        }
    }

    /// Whether the graph was exported for sequences of one length: [`Network::longest`] tokens, padding included.
    pub fn is_fixed(&self) -> bool {
        self.inputs.axes.sequence.is_some()
    }

    /// The most tokens that a sequence may have, if the graph has an end to them: positions in its table, or an axis of a fixed size.
    pub fn longest(&self) -> Option<usize> {
        self.longest
    }

    /// The longest sequence in which the fused program is known to equal its graph, in tokens; `None` of a graph that did not fuse.
    pub fn compared_up_to(&self) -> Option<usize> {
        self.compared.as_ref().map(|compared| compared.up_to)
    }

    /// The record of that, for the file with this digest; `None` of a network out of a compiled file, which does not name what was compared.
    pub fn proof(&self, digest: String) -> Option<Proof> {
        let compared = self.compared.as_ref().filter(|compared| !compared.pieces.is_empty())?;
        Some(Proof::new(digest, compared.up_to, &compared.pieces))
    }

    /// Bytes of weights and other constants.
    pub fn constant_bytes(&self) -> usize {
        match &self.form {
            Form::Fused(program) => program.weight_bytes() + program.head().map_or(0, Head::bytes),
            #[cfg(feature = "onnx")]
            Form::Graph(typed, _) => crate::head::constant_bytes(typed),
        }
    }

    /// How many of each operator, most frequent first: fused steps, and tract's operators.
    pub fn summary(&self) -> Vec<NodeSummary> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        let operators = match &self.form {
            Form::Fused(program) => {
                let (steps, parts) = Program::clone(program).into_steps(self.labels);
                for step in &steps.list {
                    *counts.entry(parts.describe(&step.action)).or_default() += 1;
                }
                parts.head.map_or_else(Vec::new, |head| head.operators())
            }
            #[cfg(feature = "onnx")]
            Form::Graph(typed, _) => crate::head::operators(typed),
        };
        for operator in operators {
            *counts.entry(operator).or_default() += 1;
        }
        let mut lines: Vec<_> = counts.into_iter().map(|(op, nodes)| NodeSummary { op, nodes }).collect();
        lines.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.op.cmp(&b.op)));
        lines
    }
}
