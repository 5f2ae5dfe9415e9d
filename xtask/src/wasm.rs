//! The browser artifacts that `wasm-pack.toml` describes: built, bound, shrunk, weighed.

use crate::process::{find, program_in, run, step};
use crate::workspace::{Workspace, cargo, read};
use crate::{Error, Result, setup};
use serde::Deserialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `wasm-pack.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    package: String,
    target: String,
    profile: String,
    out_dir: PathBuf,
    #[serde(default)]
    wasm_opt: Vec<String>,
    artifact: Vec<Artifact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    name: String,
    features: Vec<String>,
    rustflags: Vec<String>,
    bindgen: Vec<String>,
    budget: Size,
}

/// Bytes of a `.wasm` file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Size {
    raw_bytes: u64,
    brotli_bytes: u64,
}

impl Plan {
    /// Reads the workspace's plan.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Unreadable`].
    pub(crate) fn read(workspace: &Workspace) -> Result<Plan> {
        Plan::parse(&read(&workspace.root.join("wasm-pack.toml"))?)
    }

    /// The flags of the artifact that tests and plain builds share.
    pub(crate) fn default_rustflags(&self) -> &[String] {
        self.artifact.first().map_or(&[], |artifact| &artifact.rustflags)
    }

    fn parse(text: &str) -> Result<Plan> {
        let unreadable = |problem: String| Error::Unreadable { place: "wasm-pack.toml".to_owned(), problem };
        let plan: Plan = toml::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if plan.artifact.is_empty() {
            return Err(unreadable("it describes no artifact".to_owned()));
        }
        Ok(plan)
    }
}

/// Builds every artifact and compares it with its budget.
///
/// # Errors
/// [`Error::TooLarge`]; those of the tools.
pub(crate) fn build_all(workspace: &Workspace) -> Result<()> {
    setup::install_wasm_tools(workspace)?;
    let plan = Plan::read(workspace)?;
    let optimizer = find_optimizer(workspace);
    if optimizer.is_none() {
        step("wasm-opt is not installed (npm package `binaryen`): sizes are without it");
    }
    let mut too_large = 0;
    for artifact in &plan.artifact {
        step(format_args!("building {} for {}", artifact.name, plan.target));
        let file = build(workspace, &plan, artifact, optimizer.as_deref())?;
        let size = weigh(&file)?;
        let shown = file.strip_prefix(&workspace.root).unwrap_or(&file);
        println!("    {}: {}", shown.display(), compare(size, artifact.budget));
        too_large += usize::from(!fits(size, artifact.budget));
    }
    if too_large == 0 { Ok(()) } else { Err(Error::TooLarge(too_large)) }
}

/// Builds and binds one artifact; the path of its `.wasm` file.
fn build(workspace: &Workspace, plan: &Plan, artifact: &Artifact, optimizer: Option<&Path>) -> Result<PathBuf> {
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", plan.target.to_uppercase().replace('-', "_"));
    let mut compile = cargo(&["build", "--package", &plan.package, "--lib", "--target", &plan.target]);
    compile.args(["--profile", &plan.profile, "--no-default-features", "--features", &artifact.features.join(",")]);
    run(compile.env(flags, artifact.rustflags.join(" ")).current_dir(&workspace.root))?;

    let crate_name = plan.package.replace('-', "_");
    let built = workspace.target.join(&plan.target).join(&plan.profile).join(format!("{crate_name}.wasm"));
    let out = workspace.root.join(&plan.out_dir).join(&artifact.name);
    let mut bind = Command::new(workspace.tool("wasm-bindgen"));
    run(bind.args(&artifact.bindgen).arg("--out-name").arg("grice").arg("--out-dir").arg(&out).arg(built))?;

    let bound = out.join("grice_bg.wasm");
    if let Some(optimizer) = optimizer {
        run(Command::new(optimizer).args(&plan.wasm_opt).arg(&bound).arg("-o").arg(&bound))?;
    }
    Ok(bound)
}

/// On PATH, or where npm puts it.
fn find_optimizer(workspace: &Workspace) -> Option<PathBuf> {
    let folders = ["node_modules/.bin", "web/node_modules/.bin"].map(|folder| workspace.root.join(folder));
    let local = folders.iter().map(|folder| program_in(folder, "wasm-opt")).find(|file| file.is_file());
    find(&["wasm-opt"]).or(local)
}

fn weigh(file: &Path) -> Result<Size> {
    let unreadable = |source| Error::File { path: file.to_owned(), source };
    let bytes = std::fs::read(file).map_err(unreadable)?;
    // As a web server does once, ahead of time: best quality, window of 16 MiB.
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 1 << 16, 11, 24);
    writer.write_all(&bytes).map_err(unreadable)?;
    let brotli_bytes = writer.into_inner().len() as u64;
    Ok(Size { raw_bytes: bytes.len() as u64, brotli_bytes })
}

fn fits(size: Size, budget: Size) -> bool {
    size.raw_bytes <= budget.raw_bytes && size.brotli_bytes <= budget.brotli_bytes
}

fn compare(size: Size, budget: Size) -> String {
    let part = |name: &str, bytes: u64, most: u64| {
        let verdict = if bytes > most { "TOO LARGE" } else { "ok" };
        format!("{name} {bytes} bytes of {most} ({verdict})")
    };
    let raw = part("raw", size.raw_bytes, budget.raw_bytes);
    format!("{raw}, {}", part("brotli", size.brotli_bytes, budget.brotli_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_s_own_plan_is_read() {
        let plan = Plan::parse(include_str!("../../wasm-pack.toml")).unwrap();
        assert_eq!(plan.package, "grice-wasm");
        assert!(plan.default_rustflags().join(" ").contains("+simd128"));
    }

    #[test]
    fn a_plan_with_an_unknown_key_or_without_artifacts_is_refused() {
        let head = "package = 'p'\ntarget = 't'\nprofile = 'r'\nout_dir = 'o'\n";
        for tail in ["artifact = []", "artifact = []\nbuget = 1", "artifact = 1"] {
            assert!(matches!(Plan::parse(&format!("{head}{tail}")), Err(Error::Unreadable { .. })), "{tail}");
        }
    }

    #[test]
    fn either_size_can_break_the_budget() {
        let budget = Size { raw_bytes: 100, brotli_bytes: 10 };
        assert!(fits(budget, budget));
        assert!(!fits(Size { raw_bytes: 101, ..budget }, budget));
        assert!(!fits(Size { brotli_bytes: 11, ..budget }, budget));
        let said = compare(Size { brotli_bytes: 11, ..budget }, budget);
        assert_eq!(said, "raw 100 bytes of 100 (ok), brotli 11 bytes of 10 (TOO LARGE)");
    }
}
