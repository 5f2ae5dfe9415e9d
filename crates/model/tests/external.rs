//! Weights in files beside the graph: read by name, offset and length, and refused by tensor and file where they cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_model::{Error, Lengths, Network, embed_external, external_files};
use grice_testkit::files::FileFixture;
use prost::Message;
use tract_onnx::pb::{ModelProto, StringStringEntryProto, TensorProto};

fn fixture() -> FileFixture {
    FileFixture::named("external")
}

fn first_external(model: &mut ModelProto) -> &mut TensorProto {
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    tensors.iter_mut().find(|tensor| !tensor.external_data.is_empty()).unwrap()
}

/// What is told of the fixture after a change to the entry `key` of its first tensor outside.
fn told(key: &str, value: &str) -> String {
    let fixture = fixture();
    let mut model = ModelProto::decode(fixture.onnx().as_slice()).unwrap();
    let tensor = first_external(&mut model);
    tensor.external_data.retain(|entry| entry.key != key);
    tensor.external_data.push(StringStringEntryProto { key: key.to_owned(), value: value.to_owned() });
    let name = tensor.name.clone();
    let error = Network::import_beside(model.encode_to_vec(), 4, &Lengths::default(), &|file, offset, length| {
        if file.contains("no_such") { Err("it is not there".to_owned()) } else { fixture.beside(file, offset, length) }
    });
    let error = error.expect_err(value);
    assert!(matches!(&error, Error::ExternalData { tensor, .. } if *tensor == name), "{error}");
    error.to_string()
}

#[test]
fn files_are_named_once_each() {
    assert_eq!(external_files(&fixture().onnx()).unwrap(), ["model.onnx_data"]);
    assert!(external_files(&FileFixture::named("external-many").onnx()).unwrap().len() > 5);
    assert!(external_files(&FileFixture::named("base").onnx()).unwrap().is_empty());
}

#[test]
fn a_file_with_its_weights_inside_is_the_same_model() {
    let fixture = fixture();
    let whole = embed_external(&fixture.onnx(), &|file, offset, length| fixture.beside(file, offset, length));
    let whole = whole.unwrap().expect("there is something to embed");
    assert!(external_files(&whole).unwrap().is_empty() && whole.len() > fixture.onnx().len());
    Network::import(whole, 4).unwrap();
    assert!(embed_external(&FileFixture::named("base").onnx(), &|_, _, _| Err("nothing".into())).unwrap().is_none());
}

#[test]
fn a_file_alone_names_the_tensor_the_file_and_the_remedy() {
    let told = Network::import(fixture().onnx(), 4).unwrap_err().to_string();
    assert!(told.contains("model.onnx_data") && told.contains("bundle") && told.contains("weights inside"), "{told}");
}

#[test]
fn places_that_lead_elsewhere_are_refused() {
    for place in ["../model.onnx_data", "/etc/passwd", "a/../../b", "", "C:\\weights", "weights\\data", "a//b"] {
        assert!(told("location", place).contains("not a path inside"), "{place}");
    }
    assert!(told("location", "no_such.data").contains("no_such.data"));
}

#[test]
fn stretches_that_do_not_fit_are_refused() {
    assert!(told("length", "12").contains("says 12 bytes"));
    assert!(told("length", "twelve").contains("`twelve`"));
    assert!(told("offset", "-1").contains("`-1`"));
    assert!(told("offset", "99999999").contains("short"));
}

#[test]
fn shapes_beyond_memory_are_refused_before_there_is_room_for_them() {
    let mut model = ModelProto::decode(fixture().onnx().as_slice()).unwrap();
    first_external(&mut model).dims = vec![i64::MAX, i64::MAX];
    let read = |_: &str, _: u64, _: usize| -> Result<Vec<u8>, String> { panic!("nothing is to be read") };
    let told = Network::import_beside(model.encode_to_vec(), 4, &Lengths::default(), &read).unwrap_err().to_string();
    assert!(told.contains("lie in the file"), "{told}");
}
