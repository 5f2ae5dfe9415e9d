//! The public Python client of OpenAI's interface, unmodified.

use crate::chatty::Chatty;
use crate::started::{Started, embedder, settings};
use crate::triton::python_with;
use grice_core::{Embedder, Options};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn the_openai_client_talks_streams_and_embeds() {
    let Some(python) = python_with("import openai") else {
        return crate::started::skip("no python3 with openai (pip install openai)");
    };
    // Its texts may be of any length, so that one can break off.
    let model = Chatty::new("t5");
    let (source, folder) = embedder("bert");
    let mut library = Embedder::open(&folder, &Options::default()).unwrap();
    let texts = ["Did you like the film?", "Yes."];
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| library.embed(text).unwrap().values).collect();
    let mut settings = settings(Vec::new());
    settings.writers = vec![model.source()];
    settings.embedders = vec![source];
    settings.writer_memory_bytes = 256 << 20;
    settings.access.keys = vec!["the-only-key".to_owned()];
    settings.access.rate_per_minute = 0;
    settings.limits.deadline = Duration::from_secs(3);
    let server = Started::new(settings);
    let expected = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(expected.path(), json!({ "texts": texts, "vectors": vectors }).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openai_client.py");
    let output =
        Command::new(python).arg(script).arg(server.address.to_string()).arg(expected.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("29 checks passed"), "{said}");
    assert_eq!(server.pages_used("chatty"), 0.0);
}
