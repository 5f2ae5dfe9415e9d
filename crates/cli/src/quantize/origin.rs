//! The model to quantize: a bundle's fp32 model, or a bare ONNX file.

use super::samples::Encoder;
use crate::args::Common;
use crate::error::{CliError, Result};
use crate::model::{open_bundle, quietly};
use grice_core::{Bundle, Detector, Maxim, Options, PerMaxim, Precision, read_model_file};
use grice_quantize::Column;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Number of columns of a graph that does not define it.
const COLUMNS_USUAL: usize = 4;

/// The source of the fp32 model.
pub(crate) enum Origin {
    /// A bundle, and its path if it has one.
    Bundle(Box<Bundle>, Option<PathBuf>),
    /// A file in memory.
    File(PathBuf, Vec<u8>),
}

impl Origin {
    /// Opens the model of `--model`.
    ///
    /// # Errors
    /// Errors of the bundle, or [`CliError::Read`].
    pub(crate) fn open(common: &Common) -> Result<Origin> {
        let path = common.model.as_deref();
        let is_onnx = |path: &&Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
        if let Some(path) = path.filter(is_onnx).filter(|path| !path.is_dir()) {
            return Ok(Origin::File(path.to_owned(), read_model_file(path)?));
        }
        let bundle = open_bundle(common)?;
        // Fails early, with the list of precisions.
        bundle.model(Precision::Fp32)?;
        Ok(Origin::Bundle(Box::new(bundle), path.map(Path::to_owned)))
    }

    /// Name of the ONNX file, for messages.
    pub(crate) fn place(&self) -> String {
        match self {
            Origin::File(path, _) => path.display().to_string(),
            Origin::Bundle(bundle, _) => {
                bundle.manifest().models.get(&Precision::Fp32).cloned().unwrap_or_else(|| "the fp32 model".to_owned())
            }
        }
    }

    /// The bytes of the fp32 model.
    ///
    /// # Errors
    /// Errors of the bundle.
    pub(crate) fn onnx(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            Origin::File(_, bytes) => Ok(Cow::Borrowed(bytes)),
            Origin::Bundle(bundle, _) => Ok(bundle.whole_model(Precision::Fp32)?.1),
        }
    }

    /// The reader that turns rows into token ids. Loading a bundle's detector also checks that its parts fit together.
    ///
    /// # Errors
    /// Errors of the bundle.
    pub(crate) fn load_encoder(&mut self, common: &Common) -> Result<Encoder> {
        match self {
            Origin::File(..) => Ok(Encoder::IdsOnly),
            Origin::Bundle(bundle, _) => {
                let options =
                    Options { precision: Some(Precision::Fp32), threads: common.threads, ..Options::default() };
                let detector = quietly(|| Detector::load(bundle, &options))?.map_err(CliError::Core)?;
                Ok(Encoder::Detector(Box::new(detector)))
            }
        }
    }

    /// How the logits become decisions. A bare file has no labels, temperatures and thresholds.
    pub(crate) fn columns(&self, count: Option<usize>) -> Vec<Column> {
        match self {
            Origin::Bundle(bundle, _) => {
                let manifest = bundle.manifest();
                let column = |&maxim: &Maxim| Column {
                    name: maxim.name().to_owned(),
                    temperature: *manifest.temperatures.get(maxim),
                    threshold: *manifest.thresholds.get(maxim),
                };
                manifest.labels.iter().map(column).collect()
            }
            Origin::File(..) => (0..count.unwrap_or(COLUMNS_USUAL))
                .map(|place| Column { name: format!("logits[{place}]"), temperature: 1.0, threshold: 0.5 })
                .collect(),
        }
    }

    /// Labels in the order of the columns; `None` if the columns are unknown.
    pub(crate) fn order(&self, labels: &[PerMaxim<bool>]) -> Option<Vec<Vec<bool>>> {
        let Origin::Bundle(bundle, _) = self else { return None };
        let order = &bundle.manifest().labels;
        Some(labels.iter().map(|row| order.iter().map(|&maxim| *row.get(maxim)).collect()).collect())
    }
}
