//! Rules of the repository that the compiler does not check.

mod arrows;
mod circles;
mod links;
mod sources;
mod versions;

use crate::process::step;
use crate::workspace::{Workspace, read, read_toml};
use crate::{Error, Result, wasm};

/// The wasm crate is only an interface; larger code belongs in another crate.
const WASM_LINES_MAX: usize = 400;

/// Checks every rule and prints each violation with its file and rule.
///
/// # Errors
/// [`Error::Untidy`] with the number of violations.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    step("tidy");
    let mut broken = check_arrows(workspace);
    broken.extend(check_architecture(workspace));
    broken.extend(check_wasm_flags(workspace)?);
    let sources = sources::tracked(&workspace.root)?;
    let wasm_lines = sources::lines_under(&workspace.root, &sources, "crates/wasm/src/");
    if wasm_lines > WASM_LINES_MAX {
        broken.push(format!("crates/wasm/src: {wasm_lines} lines; the wasm crate may have at most {WASM_LINES_MAX}"));
    }
    broken.extend(circles::check(&workspace.root, &sources));
    broken.extend(links::check(&workspace.root, &sources));
    broken.extend(versions::check(workspace)?);
    for file in &sources {
        let (errors, warnings) = sources::check_file(&workspace.root, file);
        broken.extend(errors);
        warnings.iter().for_each(|warning| println!("    warning: {warning}"));
    }
    for rule in &broken {
        eprintln!("    {rule}");
    }
    if broken.is_empty() { Ok(()) } else { Err(Error::Untidy(broken.len())) }
}

fn check_arrows(workspace: &Workspace) -> Vec<String> {
    let mut broken = Vec::new();
    for package in &workspace.packages {
        let manifest = package.manifest_path.strip_prefix(&workspace.root).unwrap_or(&package.manifest_path);
        for dependency in &package.dependencies {
            let arrow = arrows::Arrow { from: &package.name, to: &dependency.name, kind: dependency.kind };
            if let Some(rule) = arrows::broken_rule(arrow) {
                broken.push(format!("{}: {} → {}: {rule}", manifest.display(), package.name, dependency.name));
            }
        }
    }
    broken
}

/// Every crate must be described in ARCHITECTURE.md.
fn check_architecture(workspace: &Workspace) -> Vec<String> {
    let file = workspace.root.join("ARCHITECTURE.md");
    let Ok(text) = read(&file) else { return vec!["ARCHITECTURE.md is missing: it describes every crate".to_owned()] };
    let crates = workspace.root.join("crates");
    let rooms =
        workspace.packages.iter().filter_map(|package| package.manifest_path.parent()?.strip_prefix(&crates).ok());
    let names = rooms.map(|room| room.display().to_string());
    let unlisted = names.filter(|name| !is_listed(&text, name));
    unlisted.map(|name| format!("ARCHITECTURE.md: crates/{name} is missing; describe it in a sentence")).collect()
}

/// As `crates/name`, or as `name/` in a listing.
fn is_listed(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || "/-_.".contains(c))).any(|word| {
        word.strip_prefix("crates/")
            .unwrap_or(word)
            .split_once('/')
            .map_or(word == format!("crates/{name}"), |(room, _)| room == name)
    })
}

/// Plain `cargo build --target wasm32-unknown-unknown` and the tests must use the flags of `xtask wasm`.
fn check_wasm_flags(workspace: &Workspace) -> Result<Option<String>> {
    let shipped = wasm::Plan::read(workspace)?.default_rustflags().join(" ");
    let config = read_toml(&workspace.root.join(".cargo/config.toml"))?;
    let flags =
        config.get("target").and_then(|target| target.get("wasm32-unknown-unknown")?.get("rustflags")?.as_array());
    let flags: Vec<&str> = flags.into_iter().flatten().filter_map(toml::Value::as_str).collect();
    let same = flags.join(" ") == shipped;
    Ok((!same).then(|| format!(".cargo/config.toml: wasm rustflags differ from those in wasm-pack.toml, `{shipped}`")))
}

#[cfg(test)]
mod tests {
    use super::is_listed;

    #[test]
    fn a_room_is_listed_by_path_or_in_a_listing_and_not_by_a_mere_word() {
        assert!(is_listed("`crates/core` is the runtime", "core"));
        assert!(is_listed("see [core](crates/core/src/lib.rs)", "core"));
        assert!(is_listed("crates/\n  core/   the runtime", "core"));
        assert!(!is_listed("at the core of it", "core"));
        assert!(!is_listed("crates/core-extras", "core"));
        assert!(!is_listed("hard/core", "core"));
    }
}
