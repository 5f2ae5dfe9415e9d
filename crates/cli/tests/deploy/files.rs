//! The image, the composition and the alert rules.

use super::server::{Server, grice};
use super::{deploy, program, read, repository, yaml};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// One instruction of a Dockerfile: its word, and the rest in one line.
struct Instruction {
    word: String,
    rest: String,
}

#[test]
fn the_image_builds_from_what_is_there_and_runs_as_nobody() {
    let instructions = parse_dockerfile(&read(deploy().join("Dockerfile")));
    let stages: Vec<&str> = of(&instructions, "FROM").map(|from| from.rsplit_once(" AS ").expect("a name").1).collect();
    assert_eq!(stages, ["build", "gpu", "runtime"], "the last is what is built unless another is named");
    let toolchain: toml::Table = read(repository().join("rust-toolchain.toml")).parse().unwrap();
    let version = toolchain["toolchain"]["channel"].as_str().unwrap();
    let image = of(&instructions, "FROM").next().unwrap();
    assert!(image.starts_with(&format!("rust:{version}-")), "{image} is not the toolchain's {version}");

    let workspace: toml::Table = read(repository().join("Cargo.toml")).parse().unwrap();
    let build = of(&instructions, "RUN").find(|run| run.contains("cargo build")).expect("a build");
    let words: Vec<&str> = build.split_whitespace().collect();
    let after = |flag: &str| words[words.iter().position(|word| *word == flag).expect(flag) + 1];
    assert!(workspace["profile"].get(after("--profile")).is_some(), "no profile {}", after("--profile"));
    assert_eq!(after("--package"), env!("CARGO_PKG_NAME"));
    assert!(words.contains(&"--locked"));
    // What it installs is what the profile makes.
    assert!(build.contains(&format!("target/{}/grice", after("--profile"))));

    check_stage(&instructions, "gpu", stages[0], build);
    check_stage(&instructions, "runtime", stages[0], build);

    // No layer and no variable holds a secret.
    for instruction in &instructions {
        let text = instruction.rest.to_ascii_lowercase();
        let is_variable = instruction.word == "ENV" || instruction.word == "ARG";
        let secret = ["key", "secret", "token", "password"].into_iter().find(|secret| text.contains(secret));
        assert!(!is_variable || secret.is_none(), "{} {}", instruction.word, instruction.rest);
    }
}

/// A stage that runs what `from` made with the command `build`.
fn check_stage(instructions: &[Instruction], stage: &str, from: &str, build: &str) {
    let begin = format!(" AS {stage}");
    let after = instructions.iter().skip_while(|instruction| !instruction.rest.ends_with(&begin)).skip(1);
    let run_stage: Vec<&Instruction> = after.take_while(|instruction| instruction.word != "FROM").collect();
    let one = |word: &str| {
        let found: Vec<&str> =
            run_stage.iter().filter(|instruction| instruction.word == word).map(|found| found.rest.as_str()).collect();
        assert_eq!(found.len(), 1, "{word}");
        found[0].to_owned()
    };
    let user = one("USER");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "USER {user} may be root");
    let copy = one("COPY");
    let mut places: Vec<&str> = copy.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    assert!(copy.contains(&format!("--from={from}")));
    let (binary, made) = (places.pop().unwrap(), places.pop().unwrap());
    assert!(build.contains(made), "{made} is not made");
    let entry: Vec<String> = serde_json::from_str(&one("ENTRYPOINT")).unwrap();
    assert_eq!(entry, [binary]);
    let health = one("HEALTHCHECK");
    let health: Vec<String> = serde_json::from_str(health.split_once("CMD ").unwrap().1).unwrap();
    assert_eq!(health[0], binary);
    let command: Vec<String> = serde_json::from_str(&one("CMD")).unwrap();
    assert_knows(&command);
}

/// What the image's health check does, done to a server that is ready and to none.
#[test]
fn the_health_check_tells_a_ready_server_from_none() {
    let instructions = parse_dockerfile(&read(deploy().join("Dockerfile")));
    let health = of(&instructions, "HEALTHCHECK").next().unwrap();
    let health: Vec<String> = serde_json::from_str(health.split_once("CMD ").unwrap().1).unwrap();
    let server = Server::start(&[]);
    let address = server.address;
    let check = || {
        let arguments = health[1..].iter().map(|word| word.replace("127.0.0.1:8080", &address.to_string()));
        grice().args(arguments).output().unwrap()
    };
    assert!(health.iter().any(|word| word.contains("127.0.0.1:8080")), "{health:?}");
    let output = check();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(server);
    // 1 is what Docker calls unhealthy; 2 would be misuse.
    assert_eq!(check().status.code(), Some(1));
}

#[test]
fn what_the_build_needs_is_not_ignored() {
    let kept: Vec<String> = read(deploy().join("Dockerfile.dockerignore"))
        .lines()
        .filter_map(|line| Some(line.strip_prefix('!')?.to_owned()))
        .collect();
    let workspace: toml::Table = read(repository().join("Cargo.toml")).parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap().iter().filter_map(toml::Value::as_str);
    let members = members.map(|member| member.split('/').next().unwrap().to_owned());
    // Named by `include_bytes!`, and by cargo itself.
    let more = ["models", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"].map(str::to_owned);
    for needed in members.chain(more) {
        assert!(kept.contains(&needed), "Dockerfile.dockerignore leaves out {needed}");
    }
}

#[test]
fn the_composition_fits_together() {
    let compose: Value = yaml(deploy().join("compose.yaml"));
    let services = compose["services"].as_object().unwrap();
    let servers: BTreeSet<String> = services.keys().filter(|name| name.starts_with("grice-")).cloned().collect();
    assert_eq!(servers.len(), 2);
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let place = volume.as_str().unwrap().split(':').next().unwrap();
            let is_there = match place.strip_prefix("./") {
                Some(file) => deploy().join(file).exists(),
                None => compose["volumes"].as_object().unwrap().contains_key(place),
            };
            assert!(is_there, "{name}: there is no {place}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} listens to the world");
        }
        for on in service["depends_on"].as_object().into_iter().flat_map(|on| on.keys()) {
            assert!(services.contains_key(on), "{name}: there is no {on}");
        }
        if let Some(build) = service["build"].as_object() {
            let context = deploy().join(build["context"].as_str().unwrap());
            assert!(context.join(build["dockerfile"].as_str().unwrap()).is_file(), "{name}");
        }
    }
    for server in &servers {
        for variable in services[server]["environment"].as_object().unwrap().keys() {
            assert!(help("serve").contains(variable), "the server does not know {variable}");
        }
        let (stop, drain) = (services[server]["stop_grace_period"].as_str().unwrap(), "40s");
        assert_eq!(stop, drain, "it must be longer than the server's own 30.5 seconds");
    }
    let nginx = read(deploy().join("nginx/nginx.conf"));
    let upstreams = nginx.lines().filter_map(|line| line.trim().strip_prefix("server ")?.split_once(':'));
    assert_eq!(upstreams.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>(), servers);
    let prometheus: Value = yaml(deploy().join("prometheus/prometheus.yml"));
    let targets = prometheus["scrape_configs"][0]["static_configs"][0]["targets"].as_array().unwrap();
    let targets = targets.iter().map(|target| target.as_str().unwrap().trim_end_matches(":8080").to_owned());
    assert_eq!(targets.collect::<BTreeSet<_>>(), servers);
}

#[test]
fn alert_rules_fire_when_they_should_and_only_then() {
    let Some(promtool) = program("promtool") else { return };
    let check = |arguments: &[&str]| {
        let output = Command::new(&promtool).args(arguments).current_dir(deploy().join("prometheus")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {told}");
    };
    check(&["check", "config", "prometheus.yml"]);
    check(&["check", "rules", "alerts.yml"]);
    check(&["test", "rules", "alerts_test.yml"]);
    let rules = read(deploy().join("prometheus/alerts.yml"));
    let tests = read(deploy().join("prometheus/alerts_test.yml"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.matches(&format!("alertname: {alert}")).count() >= 2, "{alert} is not shown both ways");
    }
}

/// That the binary has every flag of a command line which begins with a subcommand.
pub(crate) fn assert_knows(command: &[String]) {
    let help = help(&command[0]);
    for flag in command.iter().filter(|word| word.starts_with("--")) {
        let name = flag.split('=').next().unwrap();
        let is_known = help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == name);
        assert!(is_known, "`grice {}` does not know {name}", command[0]);
    }
}

fn help(subcommand: &str) -> String {
    let output = grice().args([subcommand, "--help"]).output().unwrap();
    assert!(output.status.success(), "there is no `grice {subcommand}`");
    String::from_utf8(output.stdout).unwrap()
}

fn parse_dockerfile(text: &str) -> Vec<Instruction> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let joined = lines.map(|line| line.trim().strip_suffix('\\').map_or(format!("{}\n", line.trim()), str::to_owned));
    let joined: String = joined.collect();
    let instructions =
        joined.lines().map(|line| line.split_once(' ').unwrap_or_else(|| panic!("not an instruction: {line}")));
    let instructions: Vec<Instruction> =
        instructions.map(|(word, rest)| Instruction { word: word.to_owned(), rest: rest.to_owned() }).collect();
    let known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "LABEL",
        "USER",
        "ENV",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ];
    for instruction in &instructions {
        assert!(known.contains(&instruction.word.as_str()), "{} is no instruction", instruction.word);
    }
    instructions
}

fn of<'i>(instructions: &'i [Instruction], word: &'i str) -> impl Iterator<Item = &'i str> {
    instructions.iter().filter(move |instruction| instruction.word == word).map(|found| found.rest.as_str())
}
