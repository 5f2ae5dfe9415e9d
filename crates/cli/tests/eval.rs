//! `eval`: its figures beside those computed here in the plainest way.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use support::{good_rows, grice, run_with_stdin};

const MAXIMS: [&str; 4] = ["quantity", "quality", "relation", "manner"];

/// Labels without a pattern that the model could follow; `manner` has none that is set.
fn label(row: usize, maxim: usize) -> bool {
    maxim != 3 && (row * 7 + maxim * 3).is_multiple_of(3 + maxim)
}

fn labelled(count: usize) -> String {
    let label_rows = good_rows(count);
    let rows = label_rows.lines().enumerate().map(|(number, line)| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["labels"] = json!({
            "quantity": label(number, 0), "quality": u8::from(label(number, 1)),
            "relation": f64::from(u8::from(label(number, 2))), "manner": 0,
        });
        row["violation_type"] = json!(if number % 2 == 0 { "even" } else { "odd" });
        row.to_string() + "\n"
    });
    rows.collect()
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found} where {expected} was expected"));
    assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
}

/// By counting pairs.
fn auc(rows: &[(bool, f64)]) -> f64 {
    let (mut wins, mut pairs) = (0.0, 0.0);
    for yes in rows.iter().filter(|row| row.0) {
        for no in rows.iter().filter(|row| !row.0) {
            pairs += 1.0;
            wins += if yes.1 > no.1 {
                1.0
            } else if yes.1 == no.1 {
                0.5
            } else {
                0.0
            };
        }
    }
    wins / pairs
}

fn ece(rows: &[(bool, f64)]) -> f64 {
    let gap = |bin: usize| {
        let inside: Vec<_> = rows.iter().filter(|row| ((row.1 * 15.0).floor() as usize).min(14) == bin).collect();
        (inside.iter().map(|row| row.1 - f64::from(u8::from(row.0))).sum::<f64>()).abs() / rows.len() as f64
    };
    (0..15).map(gap).sum()
}

#[test]
fn the_figures_are_those_of_the_verdicts() {
    let input = labelled(40);
    let verdicts = run_with_stdin(&mut grice(["detect", "-i", "-"]), input.as_bytes()).expect(0).rows();
    let ran = run_with_stdin(&mut grice(["eval", "-i", "-", "--json"]), input.as_bytes()).expect(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let mut f1s = Vec::new();
    for (place, maxim) in MAXIMS.iter().enumerate() {
        let rows: Vec<(bool, f64)> = verdicts
            .iter()
            .enumerate()
            .map(|(row, verdict)| (label(row, place), verdict["probabilities"][maxim].as_f64().unwrap()))
            .collect();
        let count = |label: bool, predicted: bool| {
            rows.iter().filter(|row| row.0 == label && (row.1 > 0.5) == predicted).count()
        };
        let (hits, misses, false_alarms) = (count(true, true), count(true, false), count(false, true));
        let scores = &report["maxims"][maxim];
        assert_eq!(scores["support"], hits + misses);
        close(&scores["ece"], ece(&rows));
        if *maxim == "manner" {
            assert!(scores["f1"].is_null() && scores["recall"].is_null() && scores["auc"].is_null());
            continue;
        }
        close(&scores["recall"], hits as f64 / (hits + misses) as f64);
        if hits + false_alarms == 0 {
            assert!(scores["precision"].is_null());
        } else {
            close(&scores["precision"], hits as f64 / (hits + false_alarms) as f64);
        }
        close(&scores["auc"], auc(&rows));
        f1s.push(2.0 * hits as f64 / (2 * hits + false_alarms + misses) as f64);
        close(&scores["f1"], f1s[f1s.len() - 1]);
    }
    close(&report["macro_f1"], f1s.iter().sum::<f64>() / 3.0);
    assert_eq!(report["left_out_of_macro_f1"], json!(["manner"]));
    let right = |row: usize, maxim: usize| verdicts[row]["violations"][MAXIMS[maxim]] == label(row, maxim);
    let exact = (0..40).filter(|&row| (0..4).all(|maxim| right(row, maxim))).count();
    close(&report["exact_match"], exact as f64 / 40.0);
    let cooperative = |row: usize| !(0..4).any(|maxim| label(row, maxim));
    let agree = (0..40).filter(|&row| verdicts[row]["cooperative"] == cooperative(row)).count();
    close(&report["cooperative_accuracy"], agree as f64 / 40.0);
    check_type(&report["violation_types"]["even"], &verdicts, 0);
    check_type(&report["violation_types"]["odd"], &verdicts, 1);
}

fn check_type(report: &Value, verdicts: &[Value], rest: usize) {
    let mut flagged = [0.0; 2];
    let mut all = [0.0; 2];
    for (row, verdict) in verdicts.iter().enumerate().filter(|(row, _)| row % 2 == rest) {
        for (place, maxim) in MAXIMS.iter().enumerate() {
            let kind = usize::from(label(row, place));
            all[kind] += 1.0;
            flagged[kind] += f64::from(u8::from(verdict["violations"][maxim] == true));
        }
    }
    assert_eq!(report["rows"], 20);
    close(&report["recall"], flagged[1] / all[1]);
    close(&report["false_alarms"], flagged[0] / all[0]);
}

#[test]
fn rows_that_answer_one_question_are_scored_question_by_question() {
    let plain = good_rows(40);
    let rows = plain.lines().enumerate().map(|(number, line)| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["set"] = json!("people");
        row["question"] = json!(if number % 2 == 0 { "clear" } else { "anything" });
        row["maxim"] = if number % 2 == 0 { json!("manner") } else { Value::Null };
        row["violated"] = json!(label(number, number % 2));
        row["group"] = json!(format!("dialogue {}", number / 4));
        row.to_string() + "\n"
    });
    let input: String = rows.collect();
    let verdicts = run_with_stdin(&mut grice(["detect", "-i", "-"]), input.as_bytes()).expect(0).rows();
    let ran = run_with_stdin(&mut grice(["eval", "-i", "-", "--json"]), input.as_bytes()).expect(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let judgements = &report["judgements"];
    assert_eq!((&report["rows"], &judgements["rows"]), (&json!(0), &json!(40)));
    for (place, (name, maxim)) in
        [("people/anything", Value::Null), ("people/clear", json!("manner"))].iter().enumerate()
    {
        let rest = 1 - place;
        let rows: Vec<(bool, f64)> = (rest..40)
            .step_by(2)
            .map(|row| {
                let all = MAXIMS.map(|maxim| verdicts[row]["probabilities"][maxim].as_f64().unwrap());
                (label(row, row % 2), if rest == 0 { all[3] } else { all.into_iter().fold(0.0, f64::max) })
            })
            .collect();
        let question = &judgements["questions"][place];
        assert_eq!((&question["name"], &question["maxim"], &question["rows"]), (&json!(name), maxim, &json!(20)));
        close(&question["auc"], auc(&rows));
        let [low, high] = [0, 1].map(|end| question["auc_95"][end].as_f64().unwrap());
        assert!(low <= auc(&rows) && auc(&rows) <= high, "{question}");
        if rest == 0 {
            close(&judgements["mean_auc"]["manner"], auc(&rows));
        }
    }
    assert!(judgements["mean_auc"]["relation"].is_null());
    let table = run_with_stdin(&mut grice(["eval", "-i", "-"]), input.as_bytes()).expect(0).out;
    for part in ["40 rows", "people/clear", "mean AUC over the questions of a maxim: manner "] {
        assert!(table.contains(part), "{table}");
    }
    assert!(!table.contains("macro F1"), "{table}");
}

#[test]
fn the_table_is_plain_when_piped() {
    let ran = run_with_stdin(&mut grice(["eval", "-i", "-"]), labelled(8).as_bytes()).expect(0);
    assert!(ran.out.is_ascii() && !ran.out.contains('\u{1b}'));
    for part in ["macro F1", "without manner", "violation type", "even"] {
        assert!(ran.out.contains(part), "{}", ran.out);
    }
}

#[test]
fn malformed_rows_are_reported_and_make_it_fail() {
    let input = format!("{}{{\"response\":\"a\"}}\nnope\n", labelled(4));
    let ran = run_with_stdin(&mut grice(["eval", "-i", "-"]), input.as_bytes()).expect(1);
    assert!(ran.err.contains("standard input:5: no field `labels`"), "{}", ran.err);
    assert!(ran.err.contains("standard input:6: not JSON"), "{}", ran.err);
    assert!(ran.err.ends_with("error: 2 of 6 rows could not be judged\n"), "{}", ran.err);
    assert!(ran.out.contains("4 rows"), "{}", ran.out);
}

#[test]
fn nothing_to_evaluate_is_an_error() {
    let ran = run_with_stdin(&mut grice(["eval", "-i", "-"]), b"").expect(1);
    assert!(ran.err.contains("no labelled rows"), "{}", ran.err);
}
