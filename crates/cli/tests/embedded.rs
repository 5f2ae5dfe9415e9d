//! The model that is compiled in.

#![cfg(feature = "embedded-model")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{bare, run};

#[test]
fn the_first_example_works_without_any_file() {
    let args = ["detect", "--context", "What did you think of the film?", "--response", "Yes."];
    let ran = run(bare().args(args)).expect(0);
    let headline = ran.out.lines().next().unwrap();
    assert!(headline.starts_with("verdict: violates ") && headline.contains("quantity"), "{}", ran.out);
    assert!(run(bare().arg("doctor")).expect(0).out.contains("a model is built in"));
}

/// Far enough below what it reaches today (0.93) that only a broken model or runtime fails.
const MACRO_F1_LEAST: f64 = 0.88;

#[test]
fn the_embedded_model_judges_the_hand_written_turns() {
    let input = concat!(env!("CARGO_MANIFEST_DIR"), "/../../training/handwritten.jsonl");
    let ran = run(bare().args(["eval", "--json", "--input", input])).expect(0);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["rows"], 94);
    let macro_f1 = report["macro_f1"].as_f64().unwrap();
    assert!(macro_f1 >= MACRO_F1_LEAST, "{macro_f1}");
}

const CONTRADICTED: [&str; 7] = [
    "detect",
    "--evidence",
    "The bridge opened to traffic on 27 May 1937.",
    "--context",
    "When did the bridge open?",
    "--response",
    "Yes.",
];

#[test]
fn an_explanation_marks_words_in_text_and_gives_their_places_in_json() {
    let plain = run(bare().args(CONTRADICTED).arg("--explain")).expect(0).out;
    assert!(plain.contains("What moved quantity most") && plain.contains('['), "{plain}");
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let coloured = run(bare().args(CONTRADICTED).args(["--explain", "--color", "always"])).expect(0).out;
    assert!(coloured.contains("\u{1b}[4m"), "{coloured}");
    let json = run(bare().args(CONTRADICTED).args(["--explain", "--json"])).expect(0).out;
    let row: serde_json::Value = serde_json::from_str(&json).unwrap();
    let words = row["explanation"]["words"]["quantity"].as_array().unwrap();
    assert!(!words.is_empty() && words.len() <= 10, "{row}");
    for word in words {
        let text = match word["field"].as_str().unwrap() {
            "evidence" => CONTRADICTED[2],
            "context" => CONTRADICTED[4],
            _ => CONTRADICTED[6],
        };
        let place = word["start"].as_u64().unwrap() as usize..word["end"].as_u64().unwrap() as usize;
        assert_eq!(word["word"], text[place]);
    }
    let unexplained = run(bare().args(CONTRADICTED).arg("--json")).expect(0).out;
    assert!(!unexplained.contains("explanation"), "{unexplained}");
}

#[test]
fn rows_of_a_file_are_explained_and_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["in.jsonl", "out.jsonl"].map(|name| folder.path().join(name));
    let rows = [
        "{\"context\":\"What did you think of the film?\",\"response\":\"Yes.\",\"explanation\":1}",
        "{\"response\":\"\"}",
        "{\"context\":[\"Hi!\",\"Where did you go?\"],\"response\":\"No.\"}",
    ];
    std::fs::write(&input, rows.join("\n")).unwrap();
    let detect = |more: &[&str]| {
        let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
        let files = ["detect", "--explain", "--batch-size", "2", "--input", input, "--output", output];
        run(bare().args(files).args(more)).expect(1)
    };
    detect(&[]);
    let whole = std::fs::read_to_string(&output).unwrap();
    let lines: Vec<serde_json::Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words = |row: &serde_json::Value| row["explanation"]["words"]["quantity"].as_array().map(Vec::len);
    assert!(words(&lines[0]).is_some_and(|words| words > 0), "{whole}");
    assert!(lines[1]["error"].is_string() && lines[1].get("explanation").is_none(), "{whole}");
    assert!(lines[2]["explanation"]["of"].as_u64() == Some(6), "{whole}");
    std::fs::write(&output, whole.lines().next().unwrap().to_owned() + "\n").unwrap();
    detect(&["--resume"]);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), whole);
}
