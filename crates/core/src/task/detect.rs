//! Detection: a turn becomes token ids, logits become a verdict.

use super::{Prepared, Task};
use crate::readout::{merge_thresholds, read_verdict};
use crate::text::{Encoded, Template, Tokenizer, encode_turn};
use crate::{Bounds, Bundle, Error, Options, Reading, Result, Turn, Verdict};
use grice_model::{Manifest, PerMaxim};

/// The inputs of a verdict besides the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectNotes {
    /// The threshold of each maxim.
    pub thresholds: PerMaxim<f32>,
    /// Notes on the text for the verdict.
    pub reading: Reading,
}

/// Detects which maxims a response violates.
pub struct Detect {
    manifest: Manifest,
    template: Template,
    tokenizer: Tokenizer,
    thresholds: PerMaxim<f32>,
}

impl Detect {
    /// Reads the tokenizer and manifest of a bundle, for a model with these limits. If the graph takes only one length, that
    /// length replaces the manifest's `max_tokens`.
    ///
    /// # Errors
    /// Errors of [`crate::ErrorKind::BadModel`] that name the file and the problem.
    pub fn read(bundle: &Bundle, options: &Options, bounds: Bounds) -> Result<Detect> {
        let mut manifest = bundle.manifest().clone();
        let tokenizer = Tokenizer::for_templates(&bundle.tokenizer()?, &[&manifest.template, &manifest.turn_template])?;
        bounds.embedding_rows.map_or(Ok(()), |rows| tokenizer.check_rows(rows))?;
        match bounds {
            Bounds { longest: Some(longest), is_fixed: true, .. } => {
                manifest.max_tokens = manifest.max_tokens.min(longest)
            }
            Bounds { longest, .. } => check_positions(bundle, longest)?,
        }
        let thresholds = merge_thresholds(&manifest.thresholds, &options.thresholds)?;
        Ok(Detect { template: Template::new(&manifest).marked(&tokenizer), manifest, tokenizer, thresholds })
    }

    /// The token ids of a turn.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadInput`] for a turn that cannot be judged; [`crate::Error::Tokenizer`] if the tokenizer fails.
    pub fn encode(&self, turn: &Turn) -> Result<Encoded> {
        turn.check()?;
        encode_turn(&self.template, &self.tokenizer, self.manifest.max_tokens, turn)
    }

    /// As [`Task::prepare`], with some thresholds replaced.
    ///
    /// # Errors
    /// As [`Task::prepare`]; [`Error::Threshold`].
    pub fn prepare_above(&self, turn: &Turn, given: &PerMaxim<Option<f32>>) -> Result<Prepared<DetectNotes>> {
        let thresholds = merge_thresholds(&self.thresholds, given)?;
        let encoded = self.encode(turn)?;
        Ok(Prepared { notes: DetectNotes { thresholds, reading: encoded.reading() }, ids: encoded.ids.into() })
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The thresholds in use.
    pub fn thresholds(&self) -> &PerMaxim<f32> {
        &self.thresholds
    }
}

impl Task for Detect {
    type Ask = Turn;
    type Answer = Verdict;
    type Notes = DetectNotes;

    fn prepare(&self, turn: &Turn) -> Result<Prepared<DetectNotes>> {
        self.prepare_above(turn, &PerMaxim::from_fn(|_| None))
    }

    /// The verdict for one row of logits, in the order of the manifest's labels. [`crate::Error::NotFinite`] names the maxim of an infinite or NaN value.
    fn read(&self, notes: &DetectNotes, logits: &[f32]) -> Result<Verdict> {
        read_verdict(&self.manifest, &notes.thresholds, logits, notes.reading)
    }
}

/// The note for a graph that was exported for one length and takes fewer tokens than the manifest allows.
pub(crate) fn note_of_length(manifest: &Manifest, bounds: Bounds) -> Option<String> {
    let longest = bounds.longest.filter(|&longest| bounds.is_fixed && longest < manifest.max_tokens)?;
    let text = format!(
        "the ONNX graph takes exactly {longest} tokens, so longer texts are cut to {longest}, not to the {} of `max_tokens`; \
         export it with dynamic axes for more",
        manifest.max_tokens
    );
    Some(text)
}

/// A model with one row per position cannot read past its last row. The limit comes from its table if known, otherwise from its configuration.
fn check_positions(bundle: &Bundle, longest: Option<usize>) -> Result<()> {
    let manifest = bundle.manifest();
    // Read even if the graph has the limit: a bundle with a damaged configuration is refused.
    let config = manifest.family.positions_are_rows().then(|| bundle.config()).transpose()?;
    let refused = |source: &str, rows: u64| Error::BundleFile {
        path: "grice.json".to_owned(),
        cause: format!(
            "`max_tokens` is {}, but {source} only {rows} positions; lower `max_tokens` to {rows}",
            manifest.max_tokens
        ),
    };
    match longest {
        Some(longest) if manifest.max_tokens > longest => {
            return Err(refused(
                "a sequence can have (by the table in the ONNX graph, and where in it positions begin)",
                longest as u64,
            ));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let rows = config.as_ref().and_then(|config| config.get("max_position_embeddings")?.as_u64());
    match rows {
        Some(rows) if (manifest.max_tokens as u64) > rows => Err(refused("config.json gives the encoder", rows)),
        _ => Ok(()),
    }
}
