//! Which models are measured: the values of `--models`.

use crate::error::{CliError, Result};
use clap::ValueEnum;
use grice_core::Writer;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Judges turns.
    Detector,
    /// Repairs responses.
    Repair,
    /// Writes texts.
    Generator,
    /// Turns texts into vectors.
    Embedder,
    /// Answers, judges and repairs.
    Pipeline,
}

impl Kind {
    /// All kinds, in the order of a pipeline.
    pub(crate) const ALL: [Kind; 5] = [Kind::Detector, Kind::Repair, Kind::Generator, Kind::Embedder, Kind::Pipeline];

    /// Its name in options and results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Detector => "detector",
            Kind::Repair => "repair",
            Kind::Generator => "generator",
            Kind::Embedder => "embedder",
            Kind::Pipeline => "pipeline",
        }
    }

    /// What a batch consists of.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Kind::Detector | Kind::Embedder => "sequences",
            Kind::Repair | Kind::Generator => "texts",
            Kind::Pipeline => "turns",
        }
    }

    /// The kind of a model that is named by its path alone.
    fn of(path: &Path) -> Kind {
        match () {
            () if path.join("modules.json").is_file() => Kind::Embedder,
            () if Writer::is_folder(path) => Kind::Generator,
            () => Kind::Detector,
        }
    }
}

/// One value of `--models`: `detector`, `detector=PATH` or `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) kind: Option<Kind>,
    pub(crate) path: Option<PathBuf>,
}

impl FromStr for Named {
    type Err = String;
    fn from_str(text: &str) -> Result<Named, String> {
        let kind = |name: &str| Kind::ALL.into_iter().find(|kind| kind.name() == name);
        if text.is_empty() {
            return Err("write a kind, KIND=PATH or a path".to_owned());
        }
        if let Some(kind) = kind(text) {
            return Ok(Named { kind: Some(kind), path: None });
        }
        match text.split_once('=').map(|(name, path)| (kind(name), path)) {
            Some((Some(Kind::Pipeline), _)) => {
                Err("a pipeline has no path: name its models, as in detector=PATH,repair=PATH,pipeline".to_owned())
            }
            Some((Some(kind), "")) => Err(format!("write the path after `{}=`", kind.name())),
            Some((Some(kind), path)) => Ok(Named { kind: Some(kind), path: Some(path.into()) }),
            _ => Ok(Named { kind: None, path: Some(text.into()) }),
        }
    }
}

/// A model to measure; without a path the built-in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    pub(crate) path: Option<PathBuf>,
    /// Of a pipeline: its detector, its model that repairs, and its model that answers.
    pub(crate) parts: [Option<PathBuf>; 3],
}

/// The models of `--models`, or the one of `--model`, or the built-in detector.
///
/// # Errors
/// [`CliError::NoEmbedder`] if an embedder has no path.
pub(crate) fn wanted(named: &[Named], model: Option<&Path>) -> Result<Vec<Wanted>> {
    let own = [Named { kind: model.is_none().then_some(Kind::Detector), path: model.map(Path::to_owned) }];
    let named = if named.is_empty() { &own } else { named };
    let of_kind = |kind: Kind| named.iter().find(|named| named.kind == Some(kind)).and_then(|named| named.path.clone());
    let parts = [Kind::Detector, Kind::Repair, Kind::Generator].map(of_kind);
    let one = |named: &Named| {
        let kind = named.kind.unwrap_or_else(|| named.path.as_deref().map_or(Kind::Detector, Kind::of));
        if kind == Kind::Embedder && named.path.is_none() {
            return Err(CliError::NoBenchEmbedder);
        }
        let parts = if kind == Kind::Pipeline { parts.clone() } else { Default::default() };
        Ok(Wanted { kind, path: named.path.clone(), parts })
    };
    named.iter().map(one).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_kind_a_path_or_both() {
        let parse = |text: &str| text.parse::<Named>();
        let named = |kind, path: Option<&str>| Ok(Named { kind, path: path.map(PathBuf::from) });
        assert_eq!(parse("repair"), named(Some(Kind::Repair), None));
        assert_eq!(parse("embedder=a/b"), named(Some(Kind::Embedder), Some("a/b")));
        assert_eq!(parse("a/b.onnx"), named(None, Some("a/b.onnx")));
        assert_eq!(parse("./detector"), named(None, Some("./detector")));
        assert_eq!(parse("x=y"), named(None, Some("x=y")));
        for (bad, words) in [("", "a kind"), ("repair=", "the path after"), ("pipeline=x", "has no path")] {
            assert!(parse(bad).unwrap_err().contains(words), "{bad}");
        }
    }

    #[test]
    fn a_pipeline_uses_the_models_of_the_list() {
        let named: Vec<Named> = ["detector=d", "generator=g", "pipeline"].map(|text| text.parse().unwrap()).into();
        let wanted = wanted(&named, None).unwrap();
        assert_eq!(wanted[2].kind, Kind::Pipeline);
        assert_eq!(wanted[2].parts, [Some("d".into()), None, Some("g".into())]);
        assert_eq!(wanted[0].parts, [None, None, None]);
    }

    #[test]
    fn without_a_list_the_usual_model_is_measured() {
        let kinds = |path: Option<&str>| wanted(&[], path.map(Path::new)).unwrap()[0].clone();
        assert_eq!((kinds(None).kind, kinds(None).path), (Kind::Detector, None));
        assert_eq!(kinds(Some("x.onnx")).path, Some("x.onnx".into()));
        assert!(wanted(&["embedder".parse().unwrap()], None).is_err());
    }
}
