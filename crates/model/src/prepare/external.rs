//! Weights in files beside the graph (`model.onnx_data`, say) → weights inside it.

use crate::{Error, Result};
use prost::Message;
use std::collections::BTreeSet;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Reads bytes of a file beside the ONNX file: its name, relative to the ONNX file's folder, an offset and how many bytes. The
/// name has been checked to lead nowhere else. An answer is as long as was asked for; the error says what is wrong with the file.
/// A reader checks that the file has as many bytes before it makes room for them.
pub type ReadBeside<'a> = &'a dyn Fn(&str, u64, usize) -> Result<Vec<u8>, String>;

const LOCATION_EXTERNAL: i32 = 1;

/// Names of the files beside an ONNX file that hold its weights, relative to its folder, each once.
///
/// # Errors
/// [`Error::OnnxSyntax`]; [`Error::ExternalData`] for a name that leads out of the folder.
pub fn external_files(onnx: &[u8]) -> Result<Vec<String>> {
    let mut model = decode(onnx)?;
    let mut files = BTreeSet::new();
    visit_tensors(&mut model, &mut |tensor| {
        if is_external(tensor) {
            files.insert(Place::of(tensor)?.file);
        }
        Ok(())
    })?;
    Ok(files.into_iter().collect())
}

/// The ONNX file with all its weights inside; `None` if they are there already.
///
/// # Errors
/// [`Error::OnnxSyntax`]; [`Error::ExternalData`] naming the tensor and the file.
pub fn embed_external(onnx: &[u8], read: ReadBeside<'_>) -> Result<Option<Vec<u8>>> {
    let mut model = decode(onnx)?;
    Ok(load(&mut model, read)?.then(|| model.encode_to_vec()))
}

/// As [`embed_external`], of a decoded file; whether there was anything to do.
pub(crate) fn load(model: &mut ModelProto, read: ReadBeside<'_>) -> Result<bool> {
    let mut found = false;
    visit_tensors(model, &mut |tensor| {
        if !is_external(tensor) {
            return Ok(());
        }
        found = true;
        let place = Place::of(tensor)?;
        let bytes = read(&place.file, place.offset, place.bytes);
        tensor.raw_data = bytes.map_err(|problem| refused(tensor, &place.file, problem))?;
        tensor.data_location = None;
        tensor.external_data = Vec::new();
        Ok(())
    })?;
    Ok(found)
}

/// The reader for a file that is known to be alone.
pub(crate) fn nothing_beside(_: &str, _: u64, _: usize) -> Result<Vec<u8>, String> {
    Err("the ONNX file came without it; open the model as a bundle (a folder or a .tar) that holds both, or save it with \
         its weights inside (onnx.save without save_as_external_data)"
        .to_owned())
}

fn decode(onnx: &[u8]) -> Result<ModelProto> {
    ModelProto::decode(onnx).map_err(|error| Error::OnnxSyntax(error.to_string()))
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(LOCATION_EXTERNAL)
}

/// Where the elements of a tensor are.
struct Place {
    file: String,
    offset: u64,
    bytes: usize,
}

impl Place {
    fn of(tensor: &TensorProto) -> Result<Place> {
        let entry = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key == key);
            entry.map(|entry| entry.value.as_str()).filter(|value| !value.is_empty())
        };
        let location = entry("location").unwrap_or_default();
        let refused = |problem: String| refused(tensor, location, problem);
        let file = location.strip_prefix("./").unwrap_or(location);
        if !crate::manifest::is_inside(file) {
            return Err(refused("the name is not a path inside the folder of the ONNX file".to_owned()));
        }
        let number = |key: &str| -> Result<Option<u64>> {
            let parse = |text: &str| {
                text.trim().parse().map_err(|_| refused(format!("its {key} is `{text}`, no number of bytes")))
            };
            entry(key).map(parse).transpose()
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let bytes = bytes_of(tensor).ok_or_else(|| {
            refused(format!("a tensor of type {} and shape {:?} is none", tensor.data_type, tensor.dims))
        })?;
        if let Some(length) = length.filter(|&length| length != bytes as u64) {
            let shape = &tensor.dims;
            return Err(refused(format!("the graph says {length} bytes, but its shape {shape:?} takes {bytes}")));
        }
        Ok(Place { file: file.to_owned(), offset, bytes })
    }
}

/// How many bytes the elements of a tensor take; `None` for a shape or type that is none.
fn bytes_of(tensor: &TensorProto) -> Option<usize> {
    use tract_onnx::pb::tensor_proto::DataType;
    let count = tensor.dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(usize::try_from(dim).ok()?))?;
    let bits = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Undefined | DataType::String => return None,
        DataType::Uint4 | DataType::Int4 | DataType::Float4e2m1 => 4,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 32,
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => 64,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 16,
        DataType::Complex128 => 128,
        _ => 8,
    };
    Some(count.checked_mul(bits)?.div_ceil(8))
}

fn refused(tensor: &TensorProto, file: &str, problem: String) -> Error {
    Error::ExternalData { tensor: tensor.name.clone(), file: file.to_owned(), problem }
}

type Visitor<'a> = &'a mut dyn FnMut(&mut TensorProto) -> Result<()>;

/// Every tensor of a model, in nodes and bodies and functions too.
fn visit_tensors(model: &mut ModelProto, visit: Visitor<'_>) -> Result<()> {
    let functions = model.functions.iter_mut().flat_map(|function| &mut function.node);
    functions.into_iter().try_for_each(|node| visit_node(node, visit))?;
    model.graph.iter_mut().try_for_each(|graph| visit_graph(graph, visit))
}

fn visit_graph(graph: &mut GraphProto, visit: Visitor<'_>) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    for sparse in &mut graph.sparse_initializer {
        sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(&mut *visit)?;
    }
    graph.node.iter_mut().try_for_each(|node| visit_node(node, visit))
}

fn visit_node(node: &mut NodeProto, visit: Visitor<'_>) -> Result<()> {
    for AttributeProto { t, tensors, g, graphs, .. } in &mut node.attribute {
        t.iter_mut().chain(tensors).try_for_each(&mut *visit)?;
        g.iter_mut().chain(graphs).try_for_each(|graph| visit_graph(graph, visit))?;
    }
    Ok(())
}
