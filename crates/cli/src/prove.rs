//! `inspect --prove`: proves that fused programs equal their graphs at every length, and stores the proof in a bundle's manifest.

use crate::args::Common;
use crate::error::{CliError, Result};
use crate::model::{open_bundle, quietly};
use crate::output::replace_file;
use grice_core::{Error, Lengths, Network, Proof, file_digest};
use serde_json::{Map, Value, json};

const LABELS: usize = 4;

/// Compares every model of the bundle in `--model`, and writes the proofs to its manifest.
///
/// # Errors
/// [`CliError::ProofPlace`] if it is not a folder; errors of the bundle; [`CliError::Write`].
pub(crate) fn prove(common: &Common) -> Result<()> {
    let folder = common.model.as_deref().filter(|path| path.is_dir()).ok_or_else(|| {
        let place =
            common.model.as_ref().map_or_else(|| "the built-in model".to_owned(), |path| path.display().to_string());
        CliError::ProofPlace(place)
    })?;
    let bundle = open_bundle(common)?;
    let mut proofs = Map::new();
    let lengths = Lengths::up_to(bundle.manifest().max_tokens);
    for (&precision, path) in &bundle.manifest().models {
        let proof = match quietly(|| bundle.import(precision, &lengths))? {
            Ok(network) => network.proof(bundle.model_digest(precision)?),
            // A bundle may lack files of its manifest.
            Err(Error::BundleFile { .. }) => bundle.manifest().fused.get(path).cloned(),
            Err(error) => return Err(error.into()),
        };
        proofs.extend(proof.map(|proof| (path.clone(), json!(proof))));
    }
    let mut manifest: Value = serde_json::from_slice(&bundle.file("grice.json")?)
        .map_err(|error| CliError::Manifest(format!("not JSON: {error}")))?;
    let Some(fields) = manifest.as_object_mut() else {
        return Err(CliError::Manifest("not an object".to_owned()));
    };
    fields.insert("fused".to_owned(), Value::Object(proofs));
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n";
    replace_file(&folder.join("grice.json"), text.as_bytes())
}

/// The proof for the bytes of a model file; `None` if it does not fuse.
///
/// # Errors
/// A file that cannot be imported.
pub(crate) fn proof_of(path: &str, onnx: &[u8], max_tokens: usize) -> Result<Option<Proof>> {
    let imported = quietly(|| Network::import_for(onnx, LABELS, &Lengths::up_to(max_tokens)))?;
    let network = imported.map_err(|source| Error::Model { path: path.to_owned(), source: source.into() })?;
    Ok(network.proof(file_digest(onnx)))
}
