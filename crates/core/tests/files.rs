//! Bundles as other tools write them: external weights, links and long names in archives, byte order marks, exporters' file
//! names, graphs for one length, positions with another start.
#![allow(clippy::unwrap_used)]

use grice_core::{Bundle, Detector, Error, Options, Precision, Turn, Verdict};
use grice_testkit::files::FileFixture;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

type Files = BTreeMap<String, Vec<u8>>;

/// Letters alone and as continuations: no more than the fixtures have words.
fn tokenizer() -> Vec<u8> {
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let letters = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]);
    let pieces = specials.iter().cloned().chain(letters).chain([".", ":"].map(str::to_owned));
    let vocabulary: Value = Value::Object(pieces.zip(0..).map(|(piece, id)| (piece, json!(id))).collect());
    let ids = |token: &str| json!({"id": token, "ids": [vocabulary[token]], "tokens": [token]});
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": ids("[CLS]"), "[SEP]": ids("[SEP]")}},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    serde_json::to_vec(&json).unwrap()
}

fn manifest(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut manifest = json!({
        "format": 1, "name": "test", "version": "1", "task": "detect", "family": "bert", "template": "{context} {response}",
        "labels": ["quantity", "quality", "relation", "manner"], "max_tokens": 60, "models": {"fp32": "onnx/model.onnx"}
    });
    change(&mut manifest);
    serde_json::to_vec(&manifest).unwrap()
}

/// A bundle of one of the fixtures, with its external files.
fn files(name: &str, change: impl FnOnce(&mut Value)) -> Files {
    let fixture = FileFixture::named(name);
    let mut files = Files::from([
        ("grice.json".to_owned(), manifest(change)),
        ("config.json".to_owned(), br#"{"max_position_embeddings": 64}"#.to_vec()),
        ("tokenizer.json".to_owned(), tokenizer()),
        ("onnx/model.onnx".to_owned(), fixture.onnx()),
    ]);
    for file in grice_core_external(&fixture.onnx()) {
        let bytes = fs::read(fixture.path.with_file_name(&file)).unwrap();
        files.insert(format!("onnx/{file}"), bytes);
    }
    files
}

fn grice_core_external(onnx: &[u8]) -> Vec<String> {
    grice_model::external_files(onnx).unwrap()
}

fn held(files: &Files) -> Result<Bundle, Error> {
    Bundle::from_held(files.iter().map(|(path, bytes)| (path.clone(), Cow::Owned(bytes.clone()))).collect())
}

fn write(files: &Files, folder: &Path) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// An archive of files, and of links `(name, target, is symbolic)`.
fn tar_of(files: &Files, links: &[(&str, &str, bool)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    for (name, target, is_symbolic) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if *is_symbolic { tar::EntryType::Symlink } else { tar::EntryType::Link });
        header.set_size(0);
        archive.append_link(&mut header, name, target).unwrap();
    }
    archive.into_inner().unwrap()
}

fn verdict(bundle: &Bundle) -> Verdict {
    let mut detector = Detector::load(bundle, &Options::default()).unwrap();
    detector.detect(&Turn::new("did you", "like it.")).unwrap()
}

fn refusal(bundle: Result<Bundle, Error>) -> String {
    match bundle.and_then(|bundle| Detector::load(&bundle, &Options::default())) {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn weights_beside_the_graph_are_read_from_folders_archives_and_bytes() {
    let expected = verdict(&held(&files("base", |_| {})).unwrap());
    for name in ["external", "external-many"] {
        let files = files(name, |_| {});
        let folder = tempfile::tempdir().unwrap();
        write(&files, folder.path());
        let bundles = [
            Bundle::open(folder.path()).unwrap(),
            Bundle::from_tar(&tar_of(&files, &[])).unwrap(),
            held(&files).unwrap(),
        ];
        for bundle in &bundles {
            assert_eq!(verdict(bundle), expected, "{name}");
            let (_, whole) = bundle.whole_model(Precision::Fp32).unwrap();
            assert!(grice_core_external(&whole).is_empty(), "{name}");
            assert_eq!(
                bundle.model_digest(Precision::Fp32).unwrap(),
                bundles[0].model_digest(Precision::Fp32).unwrap()
            );
        }
        let bytes: usize =
            files.iter().filter(|(path, _)| path.starts_with("onnx/")).map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(bundles[0].model_bytes(Precision::Fp32).unwrap(), Some(bytes as u64));
    }
}

#[test]
fn a_models_digest_covers_the_files_beside_it() {
    let mut files = files("external", |_| {});
    let before = held(&files).unwrap().model_digest(Precision::Fp32).unwrap();
    files.get_mut("onnx/model.onnx_data").unwrap()[7] ^= 1;
    let after = held(&files).unwrap().model_digest(Precision::Fp32).unwrap();
    assert_ne!(before, after);
    // Also if the manifest only has the graph's digest.
    let digest = grice_core::file_digest(&files["onnx/model.onnx"]);
    files.insert("grice.json".into(), manifest(|manifest| manifest["digests"] = json!({"onnx/model.onnx": digest})));
    let bundle = held(&files).unwrap();
    assert_ne!(bundle.model_digest(Precision::Fp32).unwrap(), digest);
    assert_eq!(bundle.model_digest(Precision::Fp32).unwrap(), after);
}

#[test]
fn files_beside_the_graph_are_held_to_their_digests_and_missed_by_name() {
    let data = "onnx/model.onnx_data";
    let mut files = files("external", |manifest| manifest["digests"] = json!({"onnx/model.onnx_data": "sha256:00"}));
    let told = refusal(held(&files));
    assert!(told.contains(data) && told.contains("digest"), "{told}");
    files.insert("grice.json".into(), manifest(|_| {}));
    files.get_mut(data).unwrap().truncate(100);
    let told = refusal(held(&files));
    assert!(told.contains("model.onnx_data") && told.contains("cut short"), "{told}");
    files.remove(data);
    let folder = tempfile::tempdir().unwrap();
    write(&files, folder.path());
    for bundle in [held(&files), Bundle::open(folder.path()), Bundle::from_tar(&tar_of(&files, &[]))] {
        let told = refusal(bundle);
        let parts = ["onnx/model.onnx", "model.onnx_data", "the weights `", "save the model with its weights inside"];
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
}

#[test]
fn a_mark_before_a_text_is_no_part_of_it() {
    let plain = files("base", |_| {});
    let mut marked = plain.clone();
    for name in ["grice.json", "config.json", "tokenizer.json"] {
        let text = marked.get_mut(name).unwrap();
        *text = ["\u{feff}".as_bytes(), text].concat();
    }
    assert_eq!(verdict(&held(&marked).unwrap()), verdict(&held(&plain).unwrap()));
    assert_eq!(verdict(&Bundle::from_tar(&tar_of(&marked, &[])).unwrap()), verdict(&held(&plain).unwrap()));
}

#[test]
fn links_in_an_archive_lead_to_its_members() {
    let plain = files("external", |_| {});
    let expected = verdict(&held(&plain).unwrap());
    let moved = |paths: &[(&str, &str)]| {
        let mut files = plain.clone();
        for (from, to) in paths {
            let bytes = files.remove(*from).unwrap();
            files.insert((*to).to_owned(), bytes);
        }
        files
    };
    let (model, data) = ("onnx/model.onnx", "onnx/model.onnx_data");
    let blobs = moved(&[(model, "blobs/one"), (data, "blobs/two")]);
    let folders = moved(&[(model, "v1/model.onnx"), (data, "v1/model.onnx_data")]);
    let found = [
        tar_of(&blobs, &[(model, "../blobs/one", true), (data, "blobs/two", false)]),
        tar_of(&blobs, &[(model, "./../x", true), ("x", "blobs/one", true), (data, "../blobs/two", true)]),
        tar_of(&folders, &[("onnx", "v1", true)]),
        tar_of(&plain, &[("loop", "loop", true), ("one", "two", true), ("two", "one", true)]),
    ];
    for (number, archive) in found.iter().enumerate() {
        assert_eq!(verdict(&Bundle::from_tar(archive).unwrap()), expected, "archive {number}");
    }
    for (target, is_symbolic) in
        [("/etc/passwd", true), ("../../etc/passwd", true), ("/etc/passwd", false), ("../x", false)]
    {
        let told = refusal(Bundle::from_tar(&tar_of(&moved(&[(model, "m")]), &[(model, target, is_symbolic)])));
        assert!(told.contains(model) && told.contains(target) && told.contains("outside"), "{told}");
    }
    let told =
        refusal(Bundle::from_tar(&tar_of(&plain, &[("onnx/again", "../onnx", true), ("onnx/more", "../onnx", true)])));
    assert!(told.contains("endless chain"), "{told}");
    let told = refusal(Bundle::from_tar(&tar_of(&moved(&[(model, "m")]), &[(model, "nowhere", true)])));
    assert!(told.contains("missing from the bundle"), "{told}");
}

#[test]
fn long_names_and_dots_in_an_archive_are_paths() {
    let long = format!("onnx/{}.onnx", "long-name-".repeat(20));
    let mut files = files("base", |manifest| manifest["models"] = json!({"fp32": long}));
    let model = files.remove("onnx/model.onnx").unwrap();
    let expected = Bundle::from_tar(&tar_of(
        &Files::from([(long.clone(), model.clone())]).into_iter().chain(files.clone()).collect(),
        &[],
    ));
    let expected = verdict(&expected.unwrap());
    let mut archive = tar::Builder::new(Vec::new());
    let mut append = |path: &str, bytes: &[u8], pax: Option<&str>| {
        if let Some(path) = pax {
            archive.append_pax_extensions([("path", path.as_bytes())]).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    };
    append("short", &model, Some(&format!("./top/{long}")));
    for (path, bytes) in &files {
        append(&format!("./top/./{path}"), bytes, None);
    }
    assert_eq!(verdict(&Bundle::from_tar(&archive.into_inner().unwrap()).unwrap()), expected);
}

#[test]
fn a_manifest_without_models_takes_files_of_usual_names() {
    let plain = files("base", |manifest| _ = manifest.as_object_mut().unwrap().remove("models"));
    let named = |names: &[&str]| {
        let mut files = plain.clone();
        let model = files.remove("onnx/model.onnx").unwrap();
        files.extend(names.iter().map(|name| ((*name).to_owned(), model.clone())));
        let folder = tempfile::tempdir().unwrap();
        write(&files, folder.path());
        let models = |bundle: Result<Bundle, Error>| {
            bundle.map(|bundle| bundle.manifest().models.clone()).map_err(|error| error.to_string())
        };
        let found = models(held(&files));
        assert_eq!(found, models(Bundle::open(folder.path())).map_err(|_| found.clone().unwrap_err()));
        found
    };
    let one = |precision, path: &str| Ok(BTreeMap::from([(precision, path.to_owned())]));
    assert_eq!(named(&["onnx/model_quantized.onnx"]), one(Precision::Int8, "onnx/model_quantized.onnx"));
    assert_eq!(named(&["model_uint8.onnx"]), one(Precision::Int8, "model_uint8.onnx"));
    assert_eq!(named(&["onnx/model_q4.onnx"]), one(Precision::Int8, "onnx/model_q4.onnx"));
    assert_eq!(named(&["model_fp16.onnx"]), one(Precision::Fp16, "model_fp16.onnx"));
    let all =
        named(&["model.onnx", "onnx/model_int8.onnx", "onnx/model_quantized.onnx", "onnx/model_fp16.onnx"]).unwrap();
    assert_eq!(all.values().collect::<Vec<_>>(), ["model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx"]);
    let told = named(&["onnx/other.onnx"]).unwrap_err();
    assert!(told.contains("`models`") && told.contains("onnx/model.onnx"), "{told}");
}

#[test]
fn a_graph_for_one_length_runs_in_it_and_says_so() {
    let bundle = held(&files("fixed", |_| {})).unwrap();
    let mut detector = Detector::load(&bundle, &Options::default()).unwrap();
    assert_eq!(detector.manifest().max_tokens, 16);
    assert!(detector.warnings().iter().any(|note| note.contains("16 tokens") && note.contains("dynamic axes")));
    assert!(!detector.detect(&Turn::new("", "like it.")).unwrap().truncated);
    assert!(detector.detect(&Turn::new("did you like the film", "i like it.")).unwrap().truncated);
    // Of the same weights: both were exported after the encoder had been rounded to half precision once.
    let dynamic = held(&files("opset13", |_| {})).unwrap();
    let (fixed, dynamic) = (verdict(&bundle), verdict(&dynamic));
    for (maxim, probability) in fixed.probabilities.iter() {
        assert!((probability - dynamic.probabilities.get(maxim)).abs() < 1e-4, "{maxim}");
    }
}

#[test]
fn positions_as_an_input_count_from_zero_or_are_refused() {
    let mut files = files("positions", |_| {});
    verdict(&held(&files).unwrap());
    let config = br#"{"max_position_embeddings": 64, "model_type": "xlm-roberta"}"#;
    files.insert("config.json".into(), config.to_vec());
    let told = refusal(held(&files));
    assert!(told.contains("position_ids") && told.contains("xlm-roberta") && told.contains("export it"), "{told}");
}

#[test]
fn more_tokens_than_positions_are_refused_at_load() {
    let told = refusal(held(&files("roberta", |manifest| manifest["max_tokens"] = json!(64))));
    assert!(["`max_tokens` is 64", "62 positions", "to 62"].iter().all(|part| told.contains(part)), "{told}");
    verdict(&held(&files("roberta", |manifest| manifest["max_tokens"] = json!(62))).unwrap());
    let told = refusal(held(&files("base", |manifest| manifest["max_tokens"] = json!(65))));
    assert!(told.contains("64 positions"), "{told}");
}
