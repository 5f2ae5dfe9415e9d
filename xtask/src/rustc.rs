//! This program as cargo's wrapper around rustc for the crates of the workspace: adds flags to them without rebuilding the dependencies.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// The target and the flags, separated by spaces; set together with `RUSTC_WORKSPACE_WRAPPER`.
pub(crate) const VARIABLE: &str = "GRICE_CRATE_RUSTFLAGS";

/// Runs rustc if cargo called this program as a wrapper; otherwise `None`.
pub(crate) fn wrap() -> Option<ExitCode> {
    let flags = std::env::var(VARIABLE).ok()?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (rustc, rest) = arguments.split_first()?;
    let mut command = Command::new(rustc);
    command.args(with_flags(rest, &flags));
    Some(match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask: {}: {error}", rustc.display());
            ExitCode::FAILURE
        }
    })
}

/// The flags are for one target, not for build scripts.
fn with_flags(arguments: &[OsString], flags: &str) -> Vec<OsString> {
    let mut words = flags.split_whitespace();
    let target = words.next().unwrap_or_default();
    let is_for_target = arguments.iter().any(|argument| argument == target);
    let added = words.filter(|_| is_for_target).map(OsString::from);
    arguments.iter().cloned().chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_for_one_target() {
        let arguments = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let flags = "wasm32-unknown-unknown -C target-feature=+relaxed-simd";
        let for_target = arguments(&["--crate-name", "a", "--target", "wasm32-unknown-unknown"]);
        assert_eq!(with_flags(&for_target, flags)[4..], arguments(&["-C", "target-feature=+relaxed-simd"]));
        let for_host = arguments(&["--crate-name", "build_script_build"]);
        assert_eq!(with_flags(&for_host, flags), for_host);
    }
}
