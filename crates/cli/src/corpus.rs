//! The corpus that `--corpus` names: a folder, or a table of a database.

use grice_core::{Corpus, Nearest, Result};
use std::path::Path;

/// Opens a corpus. A search in a folder uses at most `threads` threads.
///
/// # Errors
/// Those of the folder or the database.
pub(crate) fn open(place: &Path, threads: usize) -> Result<Box<dyn Nearest>> {
    match url_of(place) {
        Some(url) => open_table(url),
        None => Ok(Box::new(Corpus::open(place, threads)?)),
    }
}

/// The URL of a database, if it is one.
pub(crate) fn url_of(place: &Path) -> Option<&str> {
    place.to_str().filter(|text| ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)))
}

#[cfg(feature = "postgres")]
fn open_table(url: &str) -> Result<Box<dyn Nearest>> {
    Ok(Box::new(grice_postgres::PostgresCorpus::open(url)?))
}

#[cfg(not(feature = "postgres"))]
fn open_table(_: &str) -> Result<Box<dyn Nearest>> {
    Err(grice_core::Error::CorpusServer {
        place: "PostgreSQL".to_owned(),
        cause: "this build cannot use it; build it with the feature `postgres`, or name a folder".to_owned(),
    })
}
