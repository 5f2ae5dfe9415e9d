//! Programs in files: what comes out is what went in, and what is damaged is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_kernels::Rotary;
use grice_model::{Block, Body, Network, Precision, Program, ProgramOrigin};
use grice_testkit::fixtures::{Export, Fixture};
use grice_testkit::mixture;
use proptest::prelude::*;
use serde_json::{Value, json};

fn origin_of(program: &Program) -> ProgramOrigin {
    let labels = program.head().unwrap().layers.as_ref().unwrap().last().unwrap().linear.outputs();
    ProgramOrigin { digest: "sha256:00".to_owned(), precision: Precision::Fp32, labels, compared_up_to: Some(512) }
}

const ARCHITECTURES: [&str; 3] = ["albert", "modernbert", "mpnet"];

/// Of every fixture, of architectures of their own, and one of everything that a program can say.
fn programs() -> Vec<(String, Program)> {
    let import = |fixture: &Fixture| {
        let network = Network::import(fixture.onnx(), 4).unwrap();
        Some((fixture.name.to_string(), network.into_program().ok()?))
    };
    let mut programs: Vec<_> = Fixture::all().iter().filter_map(import).collect();
    assert!(programs.len() >= 2);
    let exports = Export::all().into_iter().filter(|export| ARCHITECTURES.contains(&export.name.as_str()));
    programs.extend(exports.map(|export| {
        let program = Network::import(export.onnx(), 4).unwrap().into_program();
        (export.name, program.ok().unwrap())
    }));
    programs.push(("mixture".to_owned(), mixture::program()));
    programs
}

fn store(program: &Program) -> Vec<u8> {
    program.store(origin_of(program)).unwrap().to_vec()
}

fn restore(bytes: &[u8]) -> Result<(Program, ProgramOrigin), String> {
    Program::restore(&bytes, true).map_err(|error| error.to_string())
}

#[test]
fn a_program_comes_out_as_it_went_in() {
    for (name, program) in programs() {
        for precision in [None, Some(Precision::Int8), Some(Precision::Fp16)] {
            let program = match precision {
                None => program.clone(),
                // Those that are stored in fewer bits already stay as they are.
                Some(precision) => program.clone().to_precision(precision).unwrap_or(program.clone()),
            };
            let bytes = store(&program);
            let (again, found) = restore(&bytes).unwrap();
            assert_eq!(found, origin_of(&program), "{name}");
            // The description and every tensor, byte by byte.
            assert!(store(&again) == bytes, "{name}");
            assert_eq!(again.into_steps(found.labels).0, program.into_steps(found.labels).0, "{name}");
        }
    }
}

#[test]
fn damage_is_told_wherever_it_is() {
    for (name, program) in programs().into_iter().filter(|(name, _)| ["tiny-bert", "mixture"].contains(&name.as_str()))
    {
        let (bytes, origin) = (store(&program), origin_of(&program));
        for end in (0..bytes.len()).step_by(997) {
            assert!(restore(&bytes[..end]).is_err(), "{name}: cut at {end}");
        }
        let step = (bytes.len() / 2000).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            match restore(&damaged) {
                Err(problem) => assert!(!problem.is_empty()),
                // A flipped name in the header may name nothing that is read; then nothing is lost.
                Ok((again, found)) => {
                    assert!(found == origin && store(&again) == bytes, "{name}: flipped at {at}")
                }
            }
        }
    }
}

/// Programs that an earlier release can run are written in words that it reads.
#[test]
fn the_oldest_version_that_can_say_it_is_written() {
    for (name, program) in programs() {
        let expected = if ["mixture", "modernbert", "mpnet"].contains(&name.as_str()) { 2 } else { 1 };
        assert_eq!(description(&store(&program)).1["version"], json!(expected), "{name}");
    }
}

#[test]
fn what_is_no_program_says_so() {
    for bytes in [&b""[..], b"short", &[0xff; 64], &[0; 64], b"\x10\0\0\0\0\0\0\0{\"__metadata__\":1}"] {
        let told = restore(bytes).unwrap_err();
        assert!(
            ["no file of a compiled program", "no safetensors file", "its header cannot be read"]
                .iter()
                .any(|what| told.contains(what)),
            "{told}"
        );
    }
    let later = rewrite(&store(&programs().remove(0).1), |description| description["version"] = json!(3));
    assert!(restore(&later).unwrap_err().contains("compile the model again"));
}

/// The header of a file, and the description in it.
fn description(bytes: &[u8]) -> (Value, Value) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let text = header["__metadata__"]["grice_program"].as_str().unwrap();
    let description = serde_json::from_str(text).unwrap();
    (header, description)
}

/// The file with another description, its hash made to fit: what an enemy would write.
fn rewrite(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (mut header, mut description) = description(bytes);
    change(&mut description);
    let text = description.to_string();
    header["__metadata__"]["blake3"] = json!(blake3::hash(text.as_bytes()).to_hex().to_string());
    header["__metadata__"]["grice_program"] = json!(text);
    let mut json = serde_json::to_vec(&header).unwrap();
    json.resize(json.len().next_multiple_of(8), b' ');
    [&(json.len() as u64).to_le_bytes(), json.as_slice(), &bytes[8 + length..]].concat()
}

/// Every number of a description, by its place.
fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| numbers(item, &format!("{path}/{at}"), found));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, item)| numbers(item, &format!("{path}/{name}"), found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever numbers an enemy writes, the file is refused, or its steps are sound.
    #[test]
    fn no_description_is_believed(program in 1..6usize, places in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
        Just(0), Just(1), 1u64..200, Just(1 << 20), Just(u64::from(u32::MAX)), Just(u64::MAX),
    ]), 1..3)) {
        thread_local!(static STORED: Vec<Vec<u8>> = programs().iter().map(|(_, program)| store(program)).collect());
        let bytes = STORED.with(|stored| stored[program].clone());
        let changed = rewrite(&bytes, |description| {
            let mut paths = Vec::new();
            numbers(description, "", &mut paths);
            for (place, number) in places {
                *description.pointer_mut(place.get(paths.as_slice()).as_str()).unwrap() = json!(number);
            }
        });
        if let Ok((program, origin)) = restore(&changed) {
            for rotary in program.encoder.blocks().filter_map(rotary_of) {
                prop_assert!(rotary.table().is_ok());
            }
            prop_assert!(program.into_steps(origin.labels).0.check().is_ok());
        }
    }
}

fn rotary_of(block: &Block) -> Option<&Rotary> {
    match &block.body {
        Body::Attention(attention) => attention.scores.rotary(),
        Body::FeedForward(_) => None,
    }
}
