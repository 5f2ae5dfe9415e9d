//! Alerts, boards and scaling ask for metrics that the server has.

use super::http;
use super::server::Server;
use super::{deploy, read};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn every_metric_that_is_asked_for_is_there() {
    let server = Server::start(&[]);
    let turn = r#"{"context": "How many were there?", "response": "Well."}"#;
    assert_eq!(http::ask(server.address, "POST", "/v1/detect", turn).unwrap().status, 200);
    let shown = http::get(server.address, "/metrics").unwrap().body;
    let shown: BTreeSet<&str> =
        shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(shown.len() > 15, "{shown:?}");
    let files = [
        "prometheus/alerts.yml",
        "grafana/dashboards/grice.json",
        "kubernetes/base/scaling.yaml",
        "kubernetes/kserve/inferenceservice.yaml",
    ];
    let mut asked = BTreeSet::new();
    for file in files {
        let names = names(&read(deploy().join(file)));
        assert!(!names.is_empty(), "{file} asks for nothing");
        for name in &names {
            let family = ["_bucket", "_sum", "_count", "_total"].iter().fold(name.as_str(), |name, end| {
                name.strip_suffix(end).filter(|family| shown.contains(family)).unwrap_or(name)
            });
            assert!(shown.contains(family), "{file}: the server has no {name}");
        }
        asked.extend(names);
    }
    for promised in [
        "grice_queue_size",
        "grice_batch_padding_ratio_sum",
        "grice_violations_total",
        "grice_time_to_first_token_seconds_bucket",
        "grice_time_between_tokens_seconds_bucket",
        "grice_tokens_total",
        "grice_kv_pages",
        "grice_repairs_total",
    ] {
        assert!(asked.contains(promised), "nobody shows {promised}");
    }
}

#[test]
fn the_board_is_one_that_grafana_reads() {
    let board: Value = serde_json::from_str(&read(deploy().join("grafana/dashboards/grice.json"))).unwrap();
    assert!(board["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let panels = board["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title}: no {key}"));
        for column in place("x")..place("x") + place("w") {
            assert!(column < 24, "{title}: off the board");
            (place("y")..place("y") + place("h"))
                .for_each(|row| assert!(taken.insert((column, row)), "{title}: overlaps"));
        }
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
            assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{title}");
        }
    }
    let variables: BTreeSet<&str> =
        board["templating"]["list"].as_array().unwrap().iter().map(|list| list["name"].as_str().unwrap()).collect();
    let text = board.to_string();
    for used in text.split('$').skip(1).map(|rest| rest.trim_start_matches('{')) {
        let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        assert!(name.starts_with("__") || variables.contains(name.as_str()), "no variable ${name}");
    }
    let provider: Value = super::yaml(deploy().join("grafana/provisioning/dashboards/grice.yml"));
    assert_eq!(provider["providers"][0]["options"]["path"], "/etc/grafana/dashboards");
    let source: Value = super::yaml(deploy().join("grafana/provisioning/datasources/prometheus.yml"));
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
}

/// The names of metrics in a text. `grice:…` are made by recording rules, which promtool checks.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("grice_")).map(str::to_owned).collect()
}
