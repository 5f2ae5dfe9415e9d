//! The tools that the tests need beyond a Rust toolchain: finds them, installs them if possible, and otherwise names them.

use crate::process::{find, run, step, succeeds};
use crate::tools::{self, Tool};
use crate::workspace::Workspace;
use crate::{Error, Result};
use std::path::Path;
use std::process::Command;

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The names of the browser in distributions.
const BROWSERS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// A tool from the system's packages.
struct SystemPart {
    name: &'static str,
    /// Its packages in Debian and Ubuntu.
    packages: &'static [&'static str],
    is_there: fn() -> bool,
}

/// Python packages, and what proves that they are there. Those of one row are installed together.
const PYTHON_PACKAGES: [(&str, &[&str], &str); 2] = [
    (
        "the public clients of Triton and OpenAI",
        &["tritonclient[http,grpc]>=2.50", "openai>=2.0"],
        "import tritonclient.http, tritonclient.grpc, openai",
    ),
    ("PostgreSQL with pgvector", &["pgserver>=0.1.4"], "import pgserver"),
];

/// Folders with a `package-lock.json` that tests need installed.
const NPM_FOLDERS: [&str; 2] = ["web", "www"];
/// The oldest Node.js that the npm package supports.
const NODE_MAJOR_MIN: u32 = 20;

const SYSTEM_PARTS: [SystemPart; 7] = [
    SystemPart {
        name: "Chromium (runs the wasm tests)",
        packages: &["chromium"],
        is_there: || find(&BROWSERS).is_some(),
    },
    SystemPart {
        name: "chromedriver (drives Chromium)",
        packages: &["chromium-driver"],
        is_there: || std::env::var_os("CHROMEDRIVER").is_some() || find(&["chromedriver"]).is_some(),
    },
    // For the tests of the GPU engine.
    SystemPart {
        name: "a Vulkan loader and Mesa's software driver (a GPU for machines without one)",
        packages: &["libvulkan1", "mesa-vulkan-drivers"],
        is_there: || cfg!(not(target_os = "linux")) || (has_vulkan_driver() && has_vulkan_loader()),
    },
    SystemPart {
        name: "NGINX (balances two servers in a test of deploy/)",
        packages: &["nginx-light"],
        // Debian's path, which is only in the PATH of root.
        is_there: || find(&["nginx"]).is_some() || Path::new("/usr/sbin/nginx").is_file(),
    },
    SystemPart {
        name: "promtool (tests the alert rules of deploy/)",
        packages: &["prometheus"],
        is_there: || find(&["promtool"]).is_some(),
    },
    SystemPart {
        name: "Redis (a cache that servers share, in a test of the server)",
        packages: &["redis-server"],
        is_there: || find(&["redis-server"]).is_some(),
    },
    SystemPart {
        name: "Node.js, 20 or newer, with npm (builds and tests the npm package and the demo page)",
        packages: &["nodejs", "npm"],
        is_there: || has_node() && find(&["npm"]).is_some(),
    },
];

/// Optional tools: tests without them print that they are skipped, because not every system has a package.
const OPTIONAL_PARTS: [SystemPart; 2] = [
    SystemPart {
        name: "Firefox (runs one test of the npm package)",
        packages: &["firefox-esr"],
        is_there: || std::env::var_os("FIREFOX").is_some() || find(&["firefox-esr", "firefox"]).is_some(),
    },
    SystemPart {
        name: "Python with venv (runs public clients against the server, and a PostgreSQL)",
        packages: &["python3", "python3-venv"],
        is_there: || succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])),
    },
];

/// Looks for everything and installs what is missing. Prints only missing tools.
///
/// # Errors
/// [`Error::Missing`] with the tools that could not be installed and the command for them; errors of the installers.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    // Try all of them, so that one run names everything that is missing.
    let parts = [install_wasm_tools(workspace), install_system_parts(), install_npm_packages(workspace)];
    install_optional_parts();
    install_python(workspace);
    parts.into_iter().collect()
}

/// Installs the tools for building for the browser.
///
/// # Errors
/// As [`install`].
pub(crate) fn install_wasm_tools(workspace: &Workspace) -> Result<()> {
    install_target(WASM_TARGET)?;
    install_bindgen(workspace)
}

/// The missing tools of the wasm tests.
pub(crate) fn browser_lacks(workspace: &Workspace) -> Vec<&'static str> {
    let mut lacks = Vec::new();
    if !has_target(WASM_TARGET) {
        lacks.push("the wasm32-unknown-unknown target");
    }
    if !has_bindgen(workspace).unwrap_or(false) {
        lacks.push("wasm-bindgen-cli at the locked version");
    }
    lacks.extend(SYSTEM_PARTS[..2].iter().filter(|part| !(part.is_there)()).map(|part| part.name));
    lacks
}

/// Installs the standard library of a target.
///
/// # Errors
/// [`Error::Missing`] without rustup; errors of rustup.
pub(crate) fn install_target(target: &str) -> Result<()> {
    if has_target(target) {
        return Ok(());
    }
    step(format_args!("adding the {target} target"));
    if find(&["rustup"]).is_none() {
        let remedy = format!("rustup is not installed: install the standard library for {target} another way");
        return Err(Error::Missing { what: vec!["a target of the compiler"], remedy });
    }
    run(Command::new("rustup").args(["target", "add", target]))
}

fn has_target(target: &str) -> bool {
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = rustc.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    !sysroot.is_empty() && Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir()
}

/// The command line and the crate use a private protocol, so their versions must be equal.
fn install_bindgen(workspace: &Workspace) -> Result<()> {
    if has_bindgen(workspace)? {
        return Ok(());
    }
    let version = workspace.locked_version("wasm-bindgen")?;
    let tool = Tool { package: "wasm-bindgen-cli", program: "wasm-bindgen", version: &version, features: &[] };
    tools::fetch(workspace, &tool)
}

fn has_bindgen(workspace: &Workspace) -> Result<bool> {
    let version = workspace.locked_version("wasm-bindgen")?;
    let has_both = tools::has_version(&workspace.tool("wasm-bindgen"), &version);
    Ok(has_both && workspace.tool("wasm-bindgen-test-runner").is_file())
}

fn install_system_parts() -> Result<()> {
    let missing: Vec<&SystemPart> = SYSTEM_PARTS.iter().filter(|part| !(part.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|part| part.packages).copied().collect();
    let by_hand = format!("apt-get update && apt-get install -y --no-install-recommends {}", packages.join(" "));
    if find(&["apt-get"]).is_some() && is_root() {
        install_by_apt(&packages)?;
    }
    let missing: Vec<&str> = missing.iter().filter(|part| !(part.is_there)()).map(|part| part.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let remedy = match find(&["apt-get"]) {
        Some(_) => format!("as root: {by_hand}"),
        None => format!("install your system's packages for {}", packages.join(", ")),
    };
    Err(Error::Missing { what: missing, remedy })
}

fn install_optional_parts() {
    for part in OPTIONAL_PARTS.iter().filter(|part| !(part.is_there)()) {
        let installed = find(&["apt-get"]).is_some() && is_root() && install_by_apt(part.packages).is_ok();
        if !installed {
            step(format_args!("without {}", part.name));
        }
    }
}

fn install_by_apt(packages: &[&str]) -> Result<()> {
    step(format_args!("installing {}", packages.join(", ")));
    let apt =
        |arguments: &[&str]| run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"));
    apt(&["-qq", "update"])?;
    apt(&[&["-qq", "install", "-y", "--no-install-recommends"], packages].concat())
}

/// A virtual environment with the packages that Python tests import. Optional: without Python or its package registry,
/// those tests print that they are skipped.
fn install_python(workspace: &Workspace) {
    let python = workspace.venv_python();
    if std::env::var_os("GRICE_PYTHON").is_some() {
        return;
    }
    for (what, packages, imports) in PYTHON_PACKAGES {
        if succeeds(Command::new(&python).args(["-c", imports])) {
            continue;
        }
        step(format_args!("installing {} into {}", packages.join(" and "), workspace.venv().display()));
        let install = || {
            let make = || Some(Command::new(find(&["python3", "python"])?));
            let is_made = python.is_file() || succeeds(make()?.args(["-m", "venv"]).arg(workspace.venv()));
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"];
            (is_made && succeeds(Command::new(&python).args(pip).args(packages))).then_some(())
        };
        if install().is_none() {
            step(format_args!("without {what}; the tests with it will be skipped"));
        }
    }
}

/// Installs the missing packages of the lock files.
///
/// # Errors
/// Errors of npm.
pub(crate) fn install_npm_packages(workspace: &Workspace) -> Result<()> {
    let missing =
        NPM_FOLDERS.iter().map(|folder| workspace.root.join(folder)).filter(|folder| !has_npm_packages(folder));
    for folder in missing {
        step(format_args!("npm ci in {}", folder.display()));
        run(npm(&["ci", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(folder))?;
    }
    Ok(())
}

/// npm keeps a dated copy of the lock file that it installed from.
fn has_npm_packages(folder: &Path) -> bool {
    let changed = |file: &str| std::fs::metadata(folder.join(file)).and_then(|found| found.modified());
    match (changed("node_modules/.package-lock.json"), changed("package-lock.json")) {
        (Ok(installed), Ok(locked)) => installed >= locked,
        _ => false,
    }
}

/// The missing tools of the npm package's tests.
pub(crate) fn web_lacks(workspace: &Workspace) -> Vec<&'static str> {
    let mut lacks = Vec::new();
    lacks.extend(browser_lacks(workspace).into_iter().filter(|name| !name.starts_with("chromedriver")));
    let node = SYSTEM_PARTS.iter().filter(|part| part.packages.contains(&"nodejs"));
    lacks.extend(node.filter(|part| !(part.is_there)()).map(|part| part.name));
    if !NPM_FOLDERS.iter().all(|folder| has_npm_packages(&workspace.root.join(folder))) {
        lacks.push("the npm packages of package-lock.json");
    }
    lacks
}

/// npm, with arguments.
pub(crate) fn npm(arguments: &[&str]) -> Command {
    // On Windows npm is a script, which needs its extension.
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.args(arguments);
    command
}

fn has_node() -> bool {
    let output = Command::new("node").arg("--version").output();
    let said = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    node_major(&said).is_some_and(|major| major >= NODE_MAJOR_MIN)
}

/// `v20.1.0` → 20.
fn node_major(said: &str) -> Option<u32> {
    said.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn has_vulkan_driver() -> bool {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
    folders.iter().any(|folder| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()))
}

fn has_vulkan_loader() -> bool {
    succeeds(Command::new("sh").args(["-c", "{ ldconfig -p || /sbin/ldconfig -p; } | grep -q libvulkan.so.1"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_says_its_version() {
        assert_eq!(node_major("v20.20.2\n"), Some(20));
        assert_eq!(node_major("v9"), Some(9));
        assert_eq!(node_major(""), None);
        assert_eq!(node_major("20.1"), None);
    }

    #[test]
    fn npm_packages_are_there_if_they_are_as_new_as_the_lock_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str| std::fs::write(folder.path().join(file), "{}").unwrap();
        assert!(!has_npm_packages(folder.path()));
        write("package-lock.json");
        assert!(!has_npm_packages(folder.path()));
        std::fs::create_dir(folder.path().join("node_modules")).unwrap();
        write("node_modules/.package-lock.json");
        assert!(has_npm_packages(folder.path()));
        let installed = std::fs::File::open(folder.path().join("node_modules/.package-lock.json")).unwrap();
        installed.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(!has_npm_packages(folder.path()));
    }
}
