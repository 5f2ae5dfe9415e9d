//! What `deploy/` and the workflow of releases say, held against the real binary, a real NGINX and Prometheus' own tools. What is not installed is
//! reported as skipped; `cargo xtask setup` installs it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod balance;
mod files;
mod http;
mod job;
mod manifests;
mod metrics;
mod release;
mod scaling;
mod server;

use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn deploy() -> PathBuf {
    repository().join("deploy")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml<T: serde::de::DeserializeOwned>(path: impl AsRef<Path>) -> T {
    serde_saphyr::from_str(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// A program by name, in PATH or where a system keeps its daemons. Says so if there is none.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}
