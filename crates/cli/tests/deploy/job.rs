//! The Indexed Job: its workers run by hand, as Kubernetes would start them. One is killed and started again.

use super::files::assert_knows;
use super::server::grice;
use super::{deploy, yaml};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Far more rows than a worker judges before it is killed.
const ROWS: usize = 4000;
const KILLED: usize = 3;

#[test]
fn workers_that_are_killed_lose_and_double_no_row() {
    let job: Value = yaml(deploy().join("kubernetes/job/job.yaml"));
    let workers = job["spec"]["completions"].as_u64().unwrap() as usize;
    let work = tempfile::tempdir().unwrap();
    let file = |name: &str| work.path().join(name);
    let row = |number: usize| {
        let context = "What did you think of the film that we saw in the old cinema last night?";
        format!(
            "{{\"id\": {number}, \"context\": \"{context}\", \"response\": \"I liked part {number} of it, but not the end.\"}}\n"
        )
    };
    std::fs::write(file("turns.jsonl"), (0..ROWS).map(row).collect::<String>()).unwrap();
    for index in (0..workers).rev() {
        if index == KILLED {
            kill_in_the_middle(&mut worker(&job, index, work.path()), &file(&format!("part-{index}.jsonl")));
        }
        let output = worker(&job, index, work.path()).output().unwrap();
        assert!(output.status.success(), "{index}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // A worker that is done is started again, after a node was lost: nothing changes.
    assert!(worker(&job, 0, work.path()).output().unwrap().status.success());
    let whole = grice()
        .args(["detect", "--quiet", "--input"])
        .arg(file("turns.jsonl"))
        .arg("--output")
        .arg(file("all.jsonl"))
        .output()
        .unwrap();
    assert!(whole.status.success());
    let parts: Vec<String> =
        (0..workers).map(|index| std::fs::read_to_string(file(&format!("part-{index}.jsonl"))).unwrap()).collect();
    let mut lines: Vec<_> = parts.iter().map(|part| part.split_inclusive('\n')).collect();
    let merged: String = (0..ROWS).map(|row| lines[row % workers].next().unwrap()).collect();
    assert!(lines.iter_mut().all(|lines| lines.next().is_none()), "more rows than there are");
    assert_eq!(merged, std::fs::read_to_string(file("all.jsonl")).unwrap());
}

/// The command of a worker, with the folder in place of the volume.
fn worker(job: &Value, index: usize, folder: &Path) -> Command {
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/data");
    let argument = |argument: &Value| {
        let argument = argument.as_str().unwrap().replace("$(JOB_COMPLETION_INDEX)", &index.to_string());
        argument.replace("=/data/", &format!("={}/", folder.display()))
    };
    let mut command = grice();
    command.args(container["args"].as_array().unwrap().iter().map(argument));
    command
}

fn kill_in_the_middle(command: &mut Command, output: &Path) {
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while std::fs::metadata(output).map_or(0, |file| file.len()) == 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "it wrote nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it had ended before");
}

#[test]
fn a_job_of_workers_that_are_nobody() {
    let job: Value = yaml(deploy().join("kubernetes/job/job.yaml"));
    let spec = &job["spec"];
    assert_eq!((&spec["completionMode"], &spec["podReplacementPolicy"]), (&"Indexed".into(), &"Failed".into()));
    assert!(spec["parallelism"].as_u64() <= spec["completions"].as_u64());
    let pod = &spec["template"]["spec"];
    assert_eq!((&pod["restartPolicy"], &pod["securityContext"]["runAsNonRoot"]), (&"Never".into(), &true.into()));
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    assert_knows(&arguments);
    let shard = format!("--shard=$(JOB_COMPLETION_INDEX)+1/{}", spec["completions"]);
    assert!(arguments.contains(&shard) && arguments.contains(&"--resume".to_owned()), "{arguments:?}");
    assert_eq!(spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"], container["name"]);
}
