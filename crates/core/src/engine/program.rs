//! Compiles for the processor: writes the fused program of a bundle's model to a file.

use crate::{Bundle, Error, Options, Planner, Result};
use grice_cpu::CpuEngine;
use grice_model::{Batch, Engine, EngineError, Logits, Network, Precision, ProgramOrigin};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The compiled file, and the times of the steps.
#[derive(Clone, Debug)]
pub struct ProgramCompilation {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Of the model.
    pub precision: Precision,
    /// Reading and importing the ONNX file.
    pub import: Duration,
    /// Writing the file.
    pub write: Duration,
    /// Reading the file; replaces `import` in later starts.
    pub load: Duration,
}

/// Compiles a bundle's model, writes its program to a file, and compares the answers of that file with those of the ONNX file,
/// bit by bit. `clock` returns the time since any fixed moment.
///
/// # Errors
/// [`Error::Compile`] for a bundle that is not a folder, a model that did not fuse, or a file that cannot be written; other errors of the
/// bundle.
pub fn compile_program(bundle: &Bundle, options: &Options, clock: fn() -> Duration) -> Result<ProgramCompilation> {
    let precision = Planner::new(bundle, options).precision();
    let refuse = |reason: &str| Err(Error::Compile(reason.to_owned()));
    let Some(path) = bundle.program_place(precision)? else {
        return refuse("a compiled program is written to the bundle's folder; unpack the bundle, and name the folder");
    };
    if bundle.program_is_foreign(precision)? {
        return refuse(&format!("{} exists but is not a compiled program; move it away", path.display()));
    }
    let start = clock();
    let network = bundle.import(precision, &bundle.lengths(precision)?)?;
    let imported = clock();
    let program = match network.program() {
        Ok(program) => program,
        Err(unfused) => return refuse(&format!("only fused networks can be compiled: {}", unfused.reason)),
    };
    let origin = ProgramOrigin {
        digest: bundle.model_digest(precision)?,
        precision,
        labels: network.labels(),
        compared_up_to: network.compared_up_to(),
    };
    let unusable =
        |source: grice_model::Error| Error::Model { path: path.display().to_string(), source: source.into() };
    let stored = program.store(origin).map_err(unusable)?;
    let writing = clock();
    let told = |error: io::Error| Error::Compile(format!("{}: it cannot be written: {error}", path.display()));
    write(&path, &stored).map_err(told)?;
    let (bytes, written) = (stored.bytes(), clock());
    drop(stored);
    let again = bundle.network(precision)?;
    let load = clock() - written;
    if answers(network, precision)? != answers(again, precision)? {
        // Never seen; but a file with other answers must not stay.
        _ = std::fs::remove_file(&path);
        return refuse("the file gives other answers than its source model; this is a bug in grice");
    }
    Ok(ProgramCompilation { path, bytes, precision, import: imported - start, write: written - writing, load })
}

/// Renames the file to its final name when it is complete.
fn write(path: &Path, stored: &grice_model::StoredFile<'_>) -> io::Result<()> {
    let draft = path.with_extension("grice.part");
    let mut file = File::create(&draft)?;
    let written = stored.pieces().try_for_each(|piece| file.write_all(piece)).and_then(|()| file.sync_all());
    drop(file);
    written.and_then(|()| std::fs::rename(&draft, path)).inspect_err(|_| _ = std::fs::remove_file(&draft))
}

/// The bits of the answers to a few sequences, from one token to the maximum.
fn answers(network: Network, precision: Precision) -> Result<Vec<Vec<u32>>> {
    let words = network.embedding_rows().unwrap_or(1);
    let longest = network.longest().unwrap_or(512).min(512);
    let sequence = |length: usize| (0..length).map(|place| ((place * 7_919 + 3) % words) as u32).collect::<Vec<u32>>();
    let batch =
        Batch::pack(&[1, longest.min(17), longest].map(sequence)).map_err(|error| Error::Batch(error.into()))?;
    let logits: Logits = CpuEngine::new(network, precision, 1)?.forward(&batch).map_err(|error: EngineError| error)?;
    Ok((0..batch.rows()).map(|row| logits.row(row).iter().map(|logit| logit.to_bits()).collect()).collect())
}
