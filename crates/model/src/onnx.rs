//! ONNX bytes → a detector's network: its fused program, or tract's typed graph with symbolic batch and sequence axes.
//!
//! The only importer: every engine starts from the [`Network`] made here.

use crate::framework::framework;
use crate::fuse::FusedForm;
use crate::names::{ATTENTION_MASK, INPUT_IDS, LOGITS, TOKEN_TYPE_IDS};
use crate::network::{Compared, Form, Inputs, Network};
use crate::prepare::{ReadBeside, nothing_beside, prepare};
use crate::{Error, Lengths, Result, Unfused};
use prost::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_hir::internal::DimLike;

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
            if let Some(graph) = fused.program.head().and_then(|head| head.graph.as_ref()) {
                check_logits(&graph.0, labels)?;
            }
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
