#![allow(clippy::unwrap_used)]

use super::*;
use prost::Message;

const BOUNDS: Bounds = Bounds { rows_max: 4, tokens_max: 6, labels: 4, keeps_padding: false };

fn texts(name: &str, values: &[&str]) -> InputTensor {
    InputTensor {
        name: name.to_owned(),
        datatype: "BYTES".to_owned(),
        shape: vec![values.len() as i64, 1],
        contents: Some(Contents {
            texts: values.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect(),
            ..Contents::default()
        }),
        ..InputTensor::default()
    }
}

fn numbers(datatype: &str, contents: Contents) -> InputTensor {
    InputTensor {
        name: "input_ids".to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![1, 2],
        contents: Some(contents),
        ..InputTensor::default()
    }
}

fn parse(inputs: &[InputTensor], raw: &[&[u8]]) -> Result<InferRequest, Problem> {
    let raw_input_contents = raw.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
    let asked = InferAsked { inputs: inputs.to_vec(), raw_input_contents, ..InferAsked::default() };
    InferRequest::from_message(asked, BOUNDS)
}

#[test]
fn values_stand_in_the_field_of_their_type_or_raw() {
    let expected = Inputs::Tokens(vec![vec![1, 2]]);
    for (datatype, contents) in [
        ("INT64", Contents { int64s: vec![1, 2], ..Contents::default() }),
        ("INT32", Contents { ints: vec![1, 2], ..Contents::default() }),
        ("UINT64", Contents { uint64s: vec![1, 2], ..Contents::default() }),
        ("UINT32", Contents { uints: vec![1, 2], ..Contents::default() }),
    ] {
        assert_eq!(parse(&[numbers(datatype, contents)], &[]).unwrap().inputs, expected, "{datatype}");
    }
    let plain = InputTensor { contents: None, ..numbers("INT32", Contents::default()) };
    assert_eq!(parse(std::slice::from_ref(&plain), &[b"\x01\0\0\0\x02\0\0\0"]).unwrap().inputs, expected);
    let read = parse(&[texts("response", &["a", "b"]), texts("context", &["c", "d"])], &[]).unwrap();
    let turns = [("c", "a"), ("d", "b")].map(|(context, response)| grice_core::Turn::new(context, response));
    assert_eq!(read.inputs, Inputs::Texts(turns.into()));
    assert!(read.outputs.len() == 3 && read.outputs.iter().all(|output| output.binary));
}

#[test]
fn what_does_not_fit_is_named() {
    let check = |found: Result<InferRequest, Problem>, words: &str| {
        let problem = found.unwrap_err();
        assert!(problem.status.as_u16() < 500 && problem.detail.contains(words), "{}", problem.detail);
    };
    let ints = || Contents { ints: vec![1, 2], ..Contents::default() };
    check(parse(&[numbers("INT64", ints())], &[]), "whose values belong in int64_contents, not in int_contents");
    check(parse(&[numbers("FP32", ints())], &[]), "datatype `FP32`");
    check(parse(&[numbers("INT32", ints())], &[b"\x01\0\0\0\x02\0\0\0"]), "both `contents` and raw_input_contents");
    check(parse(&[numbers("INT32", ints())], &[b"", b""]), "2 raw_input_contents are given for 1 inputs");
    check(parse(&[InputTensor { contents: None, ..numbers("INT32", ints()) }], &[]), "neither `contents`");
    check(parse(&[InputTensor { shape: vec![-1, 2], ..numbers("INT32", ints()) }], &[]), "a side below 0");
    check(parse(&[InputTensor { shape: vec![1, 3], ..numbers("INT32", ints()) }], &[]), "has 3 values");
    let huge = Contents { uint64s: vec![u64::MAX, 1], ..Contents::default() };
    check(parse(&[numbers("UINT64", huge)], &[]), "too large for a token");
    let spoilt = InputTensor {
        contents: Some(Contents { texts: vec![Bytes::from_static(b"\xff")], ..Contents::default() }),
        ..texts("response", &["a"])
    };
    check(parse(&[spoilt], &[]), "text 0 is not UTF-8");
    let int = |value: i64| Parameter { value: Some(ParameterValue::Int(value)) };
    let shared = InputTensor {
        parameters: [("shared_memory_region".to_owned(), Parameter::default())].into(),
        ..texts("response", &["a"])
    };
    check(parse(&[shared], &[]), "`shared_memory_region` is not supported");
    let ask = |parameters: &[(&str, Parameter)], outputs: &[(&str, &str, Parameter)]| {
        let asked = InferAsked {
            inputs: vec![texts("response", &["a"])],
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            outputs: outputs
                .iter()
                .map(|(name, parameter, value)| OutputAsked {
                    name: (*name).to_owned(),
                    parameters: [((*parameter).to_owned(), value.clone())].into(),
                })
                .collect(),
            ..InferAsked::default()
        };
        InferRequest::from_message(asked, BOUNDS)
    };
    check(ask(&[("sequence_id", int(7))], &[]), "`sequence_id` is not supported");
    check(ask(&[("priority", Parameter { value: Some(ParameterValue::Uint(1)) })], &[]), "`priority`");
    check(ask(&[], &[("logits", "binary_data", int(1))]), "`binary_data` is not supported");
    check(ask(&[], &[("labels", "classification", int(1))]), "no output `labels`");
    let read = ask(&[("timeout", int(5))], &[("logits", "classification", int(9))]).unwrap();
    assert_eq!((read.outputs[0].classes, read.timeout.unwrap().as_micros()), (Some(4), 5));
}

#[test]
fn a_message_of_a_million_inputs_is_refused_before_it_is_read() {
    let fine = InferAsked { inputs: vec![texts("response", &["a"]); 3], ..InferAsked::default() };
    check_counts(&fine.encode_to_vec().into()).unwrap();
    let many = Bytes::from(b"\x2a\x00".repeat(1 << 20));
    let start = std::time::Instant::now();
    assert!(check_counts(&many).unwrap_err().detail.contains("more than 64 inputs"));
    assert!(start.elapsed() < std::time::Duration::from_millis(100));
    for broken in [&b"\x2a"[..], b"\x2a\x05a", b"\xff\xff\xff\xff\xff\xff", b"\x2f"] {
        assert!(check_counts(&Bytes::copy_from_slice(broken)).is_err(), "{broken:?}");
    }
}
