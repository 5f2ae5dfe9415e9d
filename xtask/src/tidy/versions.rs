//! One version everywhere, and one list of licences.

use crate::Result;
use crate::dist::notes::section;
use crate::workspace::{Workspace, read, read_toml};

/// Files whose version, or list of licences, is not that of the rest.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let version = workspace.version()?;
    let mut broken = Vec::new();
    for file in ["web/package.json", "web/package-lock.json"] {
        let found = read_version(&read(&workspace.root.join(file))?);
        if found.as_deref() != Some(version) {
            let found = found.unwrap_or_else(|| "missing".to_owned());
            broken.push(format!("{file}: the version is {found}, but {version} in Cargo.toml"));
        }
    }
    if section(&read(&workspace.root.join("CHANGELOG.md"))?, version).is_none() {
        broken.push(format!("CHANGELOG.md: there is no section `## [{version}]`, the version in Cargo.toml"));
    }
    let [allowed, accepted] = [("deny.toml", &["licenses", "allow"][..]), ("about.toml", &["accepted"])]
        .map(|(file, path)| licences(workspace, file, path));
    if allowed? != accepted? {
        broken.push("about.toml: `accepted` differs from the licences that deny.toml allows".to_owned());
    }
    Ok(broken)
}

fn read_version(package: &str) -> Option<String> {
    let package: serde_json::Value = serde_json::from_str(package).ok()?;
    package.get("version")?.as_str().map(str::to_owned)
}

fn licences(workspace: &Workspace, file: &str, path: &[&str]) -> Result<Vec<String>> {
    let table = toml::Value::Table(read_toml(&workspace.root.join(file))?);
    let list = path.iter().try_fold(&table, |value, key| value.get(key)).and_then(toml::Value::as_array);
    Ok(list.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_a_version() {
        assert_eq!(read_version(r#"{"name":"grice","version":"1.2.3"}"#).as_deref(), Some("1.2.3"));
        assert_eq!(read_version(r#"{"name":"grice"}"#), None);
    }
}
