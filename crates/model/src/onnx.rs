//! ONNX bytes → a detector's network: its fused program, or tract's typed graph with symbolic batch and sequence axes.
//!
//! The only importer: every engine starts from the [`Network`] made here.

use crate::framework::framework;
use crate::fuse::FusedForm;
use crate::prepare::{FixedAxes, Inputs, ReadBeside, nothing_beside, prepare};
use crate::{Error, Lengths, Precision, Program, Proof, Result, Unfused};
use prost::Message;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_hir::internal::DimLike;

pub(crate) const INPUT_IDS: &str = "input_ids";
pub(crate) const ATTENTION_MASK: &str = "attention_mask";
pub(crate) const TOKEN_TYPE_IDS: &str = "token_type_ids";
pub(crate) const LOGITS: &str = "logits";

/// A detector's network, from `input_ids` and `attention_mask` to `logits` (float32 `[batch, labels]`).
#[derive(Clone, Debug)]
pub struct Network {
    form: Form,
    labels: usize,
    embedding_rows: Option<usize>,
    inputs: Inputs,
    longest: Option<usize>,
    compared: Option<Compared>,
}

/// In which sequences the fused form was compared with the graph.
#[derive(Clone, Debug)]
struct Compared {
    up_to: usize,
    pieces: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
enum Form {
    Fused(Arc<Program>),
    /// Decluttered and type-checked, and why there is no fused form.
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
    /// Reads an ONNX file of a detector with `labels` output columns, fused where that is possible. Bytes handed over by value
    /// are freed as soon as they are parsed.
    ///
    /// # Errors
    /// One of [`Error`]'s `Onnx…` and `Graph…` variants, naming the input, output, node or operator at fault.
    pub fn import(onnx: impl AsRef<[u8]>, labels: usize) -> Result<Network> {
        Network::import_for(onnx, labels, &Lengths::default())
    }

    /// As [`Network::import`], fused only if that computes the same in sequences of all these lengths.
    ///
    /// # Errors
    /// As [`Network::import`].
    pub fn import_for(onnx: impl AsRef<[u8]>, labels: usize, lengths: &Lengths) -> Result<Network> {
        Network::import_beside(onnx, labels, lengths, &nothing_beside)
    }

    /// As [`Network::import_for`], of a file whose weights may lie in files beside it, which `read` reads.
    ///
    /// # Errors
    /// As [`Network::import`]; [`Error::ExternalData`] naming the tensor and the file.
    pub fn import_beside(
        onnx: impl AsRef<[u8]>,
        labels: usize,
        lengths: &Lengths,
        read: ReadBeside<'_>,
    ) -> Result<Network> {
        catch(|| import(onnx, labels, Some(lengths), read))
    }

    /// As [`Network::import`], as tract's graph even where it could be fused: the second opinion for tests, and the form in
    /// which every value between two nodes can be asked for.
    ///
    /// # Errors
    /// As [`Network::import`].
    pub fn import_graph(onnx: impl AsRef<[u8]>, labels: usize) -> Result<Network> {
        catch(|| import(onnx, labels, None, &nothing_beside))
    }

    /// The graph, after declutter and before any engine's optimisation; `None` for a fused network.
    pub fn typed(&self) -> Option<&TypedModel> {
        match &self.form {
            Form::Fused(_) => None,
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
            Form::Graph(_, unfused) => Err(unfused),
        }
    }

    /// How the weights of dense layers are stored; of a network that did not fuse, in single precision.
    pub fn precision(&self) -> Precision {
        match &self.form {
            Form::Fused(program) => program.precision(),
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
    pub fn into_program(self) -> std::result::Result<Program, Network> {
        match self.form {
            Form::Fused(program) => Ok(Arc::unwrap_or_clone(program)),
            Form::Graph(..) => Err(self),
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

    /// The record of that, for the file with this digest.
    pub fn proof(&self, digest: String) -> Option<Proof> {
        self.compared.as_ref().map(|compared| Proof::new(digest, compared.up_to, &compared.pieces))
    }

    /// Bytes of weights and other constants.
    pub fn constant_bytes(&self) -> usize {
        match &self.form {
            Form::Fused(program) => program.weight_bytes() + constant_bytes(&program.head.graph),
            Form::Graph(typed, _) => constant_bytes(typed),
        }
    }

    /// How many of each operator, most frequent first: fused steps, and tract's operators.
    pub fn summary(&self) -> Vec<NodeSummary> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        let graph = match &self.form {
            Form::Fused(program) => {
                let (steps, parts) = Program::clone(program).into_steps(self.labels);
                for step in &steps.list {
                    *counts.entry(parts.describe(&step.action)).or_default() += 1;
                }
                parts.head.map(|head| head.graph)
            }
            Form::Graph(typed, _) => Some(typed.clone()),
        };
        for node in graph.iter().flat_map(|graph| graph.nodes()) {
            *counts.entry(node.op.name().to_string()).or_default() += 1;
        }
        let mut lines: Vec<_> = counts.into_iter().map(|(op, nodes)| NodeSummary { op, nodes }).collect();
        lines.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.op.cmp(&b.op)));
        lines
    }
}

/// tract panics on some malformed files (tensors of unknown element types, say). An import shares nothing with the rest of
/// the process, so a panic in it is one more way to say that the file is no good.
pub(crate) fn catch<T>(import: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(import)).unwrap_or_else(|panic| {
        let cause = panic.downcast_ref::<String>().cloned();
        let cause = cause.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Error::Graph(format!("the importer gave up: {}", cause.as_deref().unwrap_or("no reason given"))))
    })
}

fn constant_bytes(model: &TypedModel) -> usize {
    let constants = model.nodes().iter().filter(|node| node.op_is::<tract_onnx::tract_core::ops::konst::Const>());
    constants
        .filter_map(|node| node.outputs.first().and_then(|outlet| outlet.fact.konst.as_ref()))
        .map(|tensor| tensor.volume() * tensor.datum_type().size_of())
        .sum()
}

fn import(onnx: impl AsRef<[u8]>, labels: usize, fused: Option<&Lengths>, read: ReadBeside<'_>) -> Result<Network> {
    let mut proto = pb::ModelProto::decode(onnx.as_ref()).map_err(|error| Error::OnnxSyntax(error.to_string()))?;
    drop(onnx);
    let inputs = prepare(&mut proto, read)?;
    crate::contrib::expand(&mut proto)?;
    let unfused = match fused {
        Some(lengths) => match fuse_proto(&mut proto, labels, lengths)? {
            Ok(FusedForm { program, up_to, pieces }) => {
                let embedding_rows = Some(program.encoder.embedding.words.rows());
                let longest = fewest(inputs.axes.sequence, program.longest());
                let (form, compared) = (Form::Fused(Arc::new(program)), Some(Compared { up_to, pieces }));
                return Ok(Network { form, labels, embedding_rows, inputs, longest, compared });
            }
            Err(unfused) => unfused,
        },
        None => Unfused { reason: "nobody asked for it".to_owned() },
    };
    let longest = fewest(inputs.axes.sequence, crate::fuse::positions_of(&proto));
    crate::rewrite::rewrite(&mut proto, LOGITS);
    let mut inference = framework().model_for_proto_model(&proto).map_err(|error| Error::Graph(causes(&error)))?;
    drop(proto);
    check_operators(&inference)?;
    let typed = type_check(&mut inference, inputs, &[LOGITS]).map_err(|error| Error::Graph(causes(&error)))?;
    check_logits(&typed, labels)?;
    let embedding_rows = find_embedding_rows(&typed);
    let form = Form::Graph(Arc::new(typed), unfused);
    Ok(Network { form, labels, embedding_rows, inputs, longest, compared: None })
}

fn fewest(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// The program, if the graph has a fused form. A panic of tract's in a small piece of the graph is a reason not to fuse.
fn fuse_proto(
    proto: &mut pb::ModelProto,
    labels: usize,
    lengths: &Lengths,
) -> Result<std::result::Result<FusedForm, Unfused>> {
    let fused = catch_unwind(AssertUnwindSafe(|| crate::fuse::fuse(proto, LOGITS, lengths)));
    let gave_up = || Unfused { reason: "the importer gave up on a piece of it".to_owned() };
    match fused.unwrap_or_else(|_| Err(gave_up())) {
        Ok(fused) => {
            check_logits(&fused.program.head.graph, labels)?;
            Ok(Ok(fused))
        }
        Err(unfused) => Ok(Err(unfused)),
    }
}

pub(crate) fn check_operators(model: &InferenceModel) -> Result<()> {
    let mut ops = Vec::new();
    for node in model.nodes() {
        let name = node.op.name();
        if let Some(op) = name.strip_prefix("Unimplemented(").and_then(|rest| rest.strip_suffix(')')) {
            ops.push(format!("{op} (node `{}`)", node.name));
        }
    }
    if ops.is_empty() { Ok(()) } else { Err(Error::GraphOps { ops }) }
}

pub(crate) fn type_check(
    model: &mut InferenceModel,
    inputs: Inputs,
    outputs: &[impl AsRef<str>],
) -> TractResult<TypedModel> {
    let names = [INPUT_IDS, ATTENTION_MASK].into_iter().chain(inputs.takes_token_types.then_some(TOKEN_TYPE_IDS));
    model.select_inputs_by_name(names)?;
    model.select_outputs_by_name(outputs)?;
    let size =
        |fixed: Option<usize>, name| fixed.map_or_else(|| model.symbols.sym(name).to_dim(), |size| size.to_dim());
    let (batch, sequence) = (size(inputs.axes.batch, "batch"), size(inputs.axes.sequence, "sequence"));
    // What a comparison of sizes with -1 hangs on.
    for size in [&batch, &sequence] {
        if size.to_i64().is_err() {
            model.symbols.add_assertion(format!("{size} >= 1"))?;
        }
    }
    for input in 0..model.inputs.len() {
        let fact = i64::fact([batch.clone(), sequence.clone()]);
        model.set_input_fact(input, fact.into())?;
    }
    std::mem::take(model).into_typed()?.into_decluttered()
}

fn check_logits(model: &TypedModel, labels: usize) -> Result<()> {
    let fact = model.output_fact(0).map_err(|error| Error::Graph(causes(&error)))?;
    let columns = fact.shape.get(1).and_then(|dim| dim.to_usize().ok());
    if fact.rank() == 2 && columns == Some(labels) && fact.datum_type == f32::datum_type() {
        return Ok(());
    }
    let dims: Vec<String> = fact.shape.iter().map(|dim| dim.to_string()).collect();
    Err(Error::GraphLabels { found: format!("[{}] of {:?}", dims.join(", "), fact.datum_type), labels })
}

/// The smallest table that is gathered straight by the token ids.
fn find_embedding_rows(model: &TypedModel) -> Option<usize> {
    let ids = model.inputs.first()?.node;
    let gathers = model.nodes().iter().filter_map(|node| Some((node, node.op_as::<Gather>()?)));
    gathers
        .filter(|(node, _)| node.inputs.get(1).is_some_and(|indices| through_casts(model, indices.node) == ids))
        .filter_map(|(node, gather)| {
            let table = model.outlet_fact(*node.inputs.first()?).ok()?;
            table.shape.get(gather.axis)?.to_usize().ok()
        })
        .min()
}

fn through_casts(model: &TypedModel, mut node: usize) -> usize {
    while model.node(node).op_is::<Cast>() && !model.node(node).inputs.is_empty() {
        node = model.node(node).inputs[0].node;
    }
    node
}

/// The chain of causes, outermost first, in one line.
pub(crate) fn causes(error: &TractError) -> String {
    let texts: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    texts.join(": ")
}
