//! Python for tests with public clients and servers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Python that can run these imports: `GRICE_PYTHON`, else that of `cargo xtask setup`, else `python3`. `tmpdir` is the test's own
/// `CARGO_TARGET_TMPDIR`.
pub fn python_with(tmpdir: &str, imports: &str) -> Option<PathBuf> {
    let tools = Path::new(tmpdir).parent()?.join("tools/python");
    let own = ["bin/python", "Scripts/python.exe"].map(|program| tools.join(program));
    let named = std::env::var_os("GRICE_PYTHON").map(PathBuf::from);
    let candidates = match named {
        Some(named) => vec![named],
        None => own.into_iter().chain([PathBuf::from("python3")]).collect(),
    };
    candidates.into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", imports]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}
