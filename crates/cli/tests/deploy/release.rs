//! The workflow of releases: it names what exists, and documentation names what it makes.

use super::{deploy, read, repository, yaml};
use serde_json::Value;
use std::collections::BTreeSet;

const WORKFLOW: &str = ".github/workflows/release.yml";

fn jobs() -> Value {
    let workflow: Value = yaml(repository().join(WORKFLOW));
    workflow["jobs"].clone()
}

/// The values of a key in a job's matrix.
fn column<'j>(job: &'j Value, key: &str) -> BTreeSet<&'j str> {
    let rows = job["strategy"]["matrix"]["include"].as_array().unwrap();
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

#[test]
fn users_are_told_of_every_archive_and_of_no_other() {
    let jobs = jobs();
    let made = column(&jobs["program"], "target");
    let page = read(repository().join("docs/installing.md"));
    let told = page.lines().filter_map(|line| line.strip_prefix("| `grice-VERSION-")?.split_once(".tar.gz`"));
    assert_eq!(told.map(|(target, _)| target).collect::<BTreeSet<_>>(), made);
}

#[test]
fn images_hold_programs_of_archives_and_are_stages_of_the_dockerfile() {
    let jobs = jobs();
    let image = &jobs["image"];
    assert!(column(image, "target").is_subset(&column(&jobs["program"], "target")));
    let dockerfile = read(deploy().join("Dockerfile"));
    for stage in column(image, "stage") {
        assert!(dockerfile.lines().any(|line| line.ends_with(&format!(" AS {stage}"))), "there is no stage {stage}");
    }
    // The named context is the stage that compiles, and has the file that the others copy.
    assert!(dockerfile.contains("COPY --from=build --chown=0:0 /out/grice "));
    let text = read(repository().join(WORKFLOW));
    assert!(text.contains("--build-context build=built ") && text.contains(" built/out/grice\n"));
}

#[test]
fn actions_are_named_by_commit_and_only_githubs_own() {
    let text = read(repository().join(WORKFLOW));
    let uses: Vec<&str> = text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action).collect();
    assert!(!uses.is_empty());
    for action in uses {
        let (name, version) = action.split_once('@').unwrap();
        assert!(name.starts_with("actions/"), "{name}");
        let (commit, version) = version.split_once(" # v").unwrap_or_else(|| panic!("{action} tells no version"));
        assert!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{action}");
        assert_eq!(version.split('.').filter(|number| number.parse::<u32>().is_ok()).count(), 3, "{action}");
    }
}

#[test]
fn commands_and_files_of_the_workflow_exist() {
    let text = read(repository().join(WORKFLOW));
    let xtask = read(repository().join("xtask/src/main.rs"));
    let commands: BTreeSet<&str> =
        text.split("cargo xtask ").skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
    assert!(commands.contains("dist") && commands.contains("book"), "{commands:?}");
    for command in commands {
        assert!(xtask.contains(&format!("\"{command}\" =>")), "there is no `cargo xtask {command}`");
    }
    for file in ["deploy/Dockerfile", "deploy/release/requirements.txt", "deploy/release/try-image.sh"] {
        assert!(text.contains(file) && repository().join(file).is_file(), "{file}");
    }
    assert!(text.contains("test/tarball.mjs") && repository().join("web/test/tarball.mjs").is_file());
    let package: Value = serde_json::from_str(&read(repository().join("web/package.json"))).unwrap();
    for script in text.split("npm --prefix web run ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
        assert!(package["scripts"].get(script).is_some(), "there is no script {script}");
    }
}

#[test]
fn a_run_by_hand_publishes_nothing() {
    let jobs = jobs();
    let only_tags = "github.ref_type == 'tag'";
    for (name, job) in jobs.as_object().unwrap() {
        let may_write = job["permissions"].as_object().is_some_and(|may| may.values().any(|may| may == "write"));
        if !may_write || job["if"] == only_tags {
            continue;
        }
        // Other jobs that may write do so in steps that only tags reach.
        for step in job["steps"].as_array().unwrap() {
            let uses_secret = step.to_string().contains("secrets.");
            assert!(!uses_secret || step["if"] == only_tags, "{name}: {step}");
        }
    }
}
