//! Builds the browser artifacts of `wasm-pack.toml`: compiles, binds, shrinks and measures them.

use crate::process::{find, program_in, run, step};
use crate::workspace::{Workspace, cargo, read};
use crate::{Error, Result, rustc, setup};
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
    /// Flags only for the crates of the workspace, so that the dependencies are built once for all artifacts.
    #[serde(default)]
    crate_rustflags: Vec<String>,
    bindgen: Vec<String>,
    /// In addition to those of the whole plan.
    #[serde(default)]
    wasm_opt: Vec<String>,
    budget: Size,
}

/// Bytes that a page fetches before the model: the `.wasm` file and its JavaScript.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Size {
    raw_bytes: u64,
    gzip_bytes: u64,
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

    /// The flags of the artifact that tests and plain builds use.
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

/// Builds every artifact and compares it with its size budget.
///
/// # Errors
/// [`Error::TooLarge`]; those of the tools.
pub(crate) fn build_all(workspace: &Workspace) -> Result<()> {
    let plan = Plan::read(workspace)?;
    if find_optimizer(workspace).is_none() {
        step("wasm-opt is not installed (npm package `binaryen`): sizes are without it");
    }
    let mut too_large = 0;
    for (artifact, folder) in plan.artifact.iter().zip(build_each(workspace, &plan)?) {
        let size = weigh_all(&["grice_bg.wasm", "grice.js"].map(|file| folder.join(file)))?;
        let shown = folder.strip_prefix(&workspace.root).unwrap_or(&folder);
        println!("    {}: {}", shown.display(), compare(size, artifact.budget));
        too_large += usize::from(!fits(size, artifact.budget));
    }
    if too_large == 0 { Ok(()) } else { Err(Error::TooLarge(too_large)) }
}

/// Builds every artifact without measuring: compressing them to measure their size takes longer than building them.
///
/// # Errors
/// Errors of the tools.
pub(crate) fn build_unweighed(workspace: &Workspace) -> Result<()> {
    build_each(workspace, &Plan::read(workspace)?).map(drop)
}

fn build_each(workspace: &Workspace, plan: &Plan) -> Result<Vec<PathBuf>> {
    setup::install_wasm_tools(workspace)?;
    let optimizer = find_optimizer(workspace);
    let built = plan.artifact.iter().map(|artifact| {
        step(format_args!("building {} for {}", artifact.name, plan.target));
        build(workspace, plan, artifact, optimizer.as_deref())
    });
    built.collect()
}

/// Builds and binds one artifact; returns its folder.
fn build(workspace: &Workspace, plan: &Plan, artifact: &Artifact, optimizer: Option<&Path>) -> Result<PathBuf> {
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", plan.target.to_uppercase().replace('-', "_"));
    let mut compile = cargo(&["build", "--package", &plan.package, "--lib", "--target", &plan.target]);
    compile.args(["--profile", &plan.profile, "--no-default-features", "--features", &artifact.features.join(",")]);
    if !artifact.crate_rustflags.is_empty() {
        let this = std::env::current_exe().map_err(|source| Error::File { path: "xtask".into(), source })?;
        let flags = format!("{} {}", plan.target, artifact.crate_rustflags.join(" "));
        compile.env("RUSTC_WORKSPACE_WRAPPER", this).env(rustc::VARIABLE, flags);
    }
    run(compile.env(flags, artifact.rustflags.join(" ")).current_dir(&workspace.root))?;

    let crate_name = plan.package.replace('-', "_");
    let built = workspace.target.join(&plan.target).join(&plan.profile).join(format!("{crate_name}.wasm"));
    let out = workspace.root.join(&plan.out_dir).join(&artifact.name);
    let mut bind = Command::new(workspace.tool("wasm-bindgen"));
    run(bind.args(&artifact.bindgen).arg("--out-name").arg("grice").arg("--out-dir").arg(&out).arg(built))?;

    let bound = out.join("grice_bg.wasm");
    if let Some(optimizer) = optimizer {
        let flags = plan.wasm_opt.iter().chain(&artifact.wasm_opt);
        run(Command::new(optimizer).args(flags).arg(&bound).arg("-o").arg(&bound))?;
    }
    Ok(out)
}

/// On PATH, or where npm puts it.
fn find_optimizer(workspace: &Workspace) -> Option<PathBuf> {
    let folders = ["node_modules/.bin", "web/node_modules/.bin"].map(|folder| workspace.root.join(folder));
    let local = folders.iter().map(|folder| program_in(folder, "wasm-opt")).find(|file| file.is_file());
    find(&["wasm-opt"]).or(local)
}

fn weigh_all(files: &[PathBuf]) -> Result<Size> {
    let mut whole = Size::default();
    for file in files {
        let size = weigh(file).map_err(|source| Error::File { path: file.clone(), source })?;
        whole.raw_bytes += size.raw_bytes;
        whole.gzip_bytes += size.gzip_bytes;
        whole.brotli_bytes += size.brotli_bytes;
    }
    Ok(whole)
}

/// Compresses as a web server does ahead of time: best gzip, and best brotli with a window of 16 MiB.
fn weigh(file: &Path) -> std::io::Result<Size> {
    let bytes = std::fs::read(file)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&bytes)?;
    let gzip_bytes = gzip.finish()?.len() as u64;
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 1 << 16, 11, 24);
    brotli.write_all(&bytes)?;
    let brotli_bytes = brotli.into_inner().len() as u64;
    Ok(Size { raw_bytes: bytes.len() as u64, gzip_bytes, brotli_bytes })
}

/// Name, bytes, and their limit.
fn parts(size: Size, budget: Size) -> [(&'static str, u64, u64); 3] {
    [
        ("raw", size.raw_bytes, budget.raw_bytes),
        ("gzip", size.gzip_bytes, budget.gzip_bytes),
        ("brotli", size.brotli_bytes, budget.brotli_bytes),
    ]
}

fn fits(size: Size, budget: Size) -> bool {
    parts(size, budget).into_iter().all(|(_, bytes, most)| bytes <= most)
}

fn compare(size: Size, budget: Size) -> String {
    let lines = parts(size, budget).map(|(name, bytes, most)| {
        let verdict = if bytes > most { "TOO LARGE" } else { "ok" };
        format!("{name} {bytes} bytes of {most} ({verdict})")
    });
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_s_own_plan_is_read() {
        let plan = Plan::parse(include_str!("../../wasm-pack.toml")).unwrap();
        assert_eq!(plan.package, "grice-wasm");
        assert!(plan.default_rustflags().join(" ").contains("+simd128"));
        // The limits before the model.
        assert!(plan.artifact.iter().all(|artifact| artifact.budget.brotli_bytes
            <= match artifact.features.join(" ").as_str() {
                "" => 720_000,
                "generation" => 1_050_000,
                "onnx" => 2_000_000,
                _ => 2_450_000,
            }));
    }

    #[test]
    fn a_plan_with_an_unknown_key_or_without_artifacts_is_refused() {
        let head = "package = 'p'\ntarget = 't'\nprofile = 'r'\nout_dir = 'o'\n";
        for tail in ["artifact = []", "artifact = []\nbuget = 1", "artifact = 1"] {
            assert!(matches!(Plan::parse(&format!("{head}{tail}")), Err(Error::Unreadable { .. })), "{tail}");
        }
    }

    #[test]
    fn any_size_can_break_the_budget() {
        let budget = Size { raw_bytes: 100, gzip_bytes: 20, brotli_bytes: 10 };
        assert!(fits(budget, budget));
        assert!(!fits(Size { raw_bytes: 101, ..budget }, budget));
        assert!(!fits(Size { gzip_bytes: 21, ..budget }, budget));
        assert!(!fits(Size { brotli_bytes: 11, ..budget }, budget));
        let said = compare(Size { brotli_bytes: 11, ..budget }, budget);
        assert_eq!(said, "raw 100 bytes of 100 (ok), gzip 20 bytes of 20 (ok), brotli 11 bytes of 10 (TOO LARGE)");
    }

    #[test]
    fn files_are_weighed_together() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|name| folder.path().join(name));
        files.iter().for_each(|file| std::fs::write(file, [7; 5000]).unwrap());
        let (one, both) = (weigh(&files[0]).unwrap(), weigh_all(&files).unwrap());
        assert_eq!((one.raw_bytes, both.raw_bytes), (5000, 10_000));
        assert_eq!((2 * one.gzip_bytes, 2 * one.brotli_bytes), (both.gzip_bytes, both.brotli_bytes));
        assert!(both.gzip_bytes < 200 && both.brotli_bytes < 100, "{both:?}");
        assert!(matches!(weigh_all(&[folder.path().join("c")]), Err(Error::File { .. })));
    }
}
