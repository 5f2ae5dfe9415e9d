//! The gate, with fake engines in which chosen layers lose quality.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use grice_quantize::{Answers, Column, Error, Gate, Judged, Mode, Phase, Rows, Source, quantize_within};
use support::{bytes, detector, parse};

const ROWS: usize = 50;

fn columns() -> Vec<Column> {
    ["a", "b", "c", "d"].map(|name| Column { name: name.to_owned(), temperature: 1.0, threshold: 0.5 }).to_vec()
}

fn rows() -> Rows {
    Rows { ids: (0..ROWS as u32).map(|row| vec![1, row]).collect(), labels: None }
}

/// Answers +1 or −1, moved by as much as the quantized weights hurt; more so the higher the row.
fn engine<'h>(harm: &'h [(&'h str, f32)]) -> impl FnMut(&[u8], &[Vec<u32>]) -> Result<Answers, String> + 'h {
    move |onnx, rows| {
        let model = parse(onnx);
        let initializers = &model.graph.as_ref().unwrap().initializer;
        let is_there = |name: &str| initializers.iter().any(|tensor| tensor.name == name);
        let hurt = harm.iter().filter(|(weights, _)| is_there(&format!("{weights}_int8"))).map(|(_, hurt)| hurt);
        let hurt: f32 = hurt.sum();
        let answer = |ids: &Vec<u32>| {
            let share = ids[1] as f32 / ROWS as f32;
            (0..4).map(|column| if (ids[1] + column).is_multiple_of(2) { 1.0 - hurt * share } else { -1.0 }).collect()
        };
        Ok(rows.iter().map(answer).collect())
    }
}

fn judge(gate: &Gate<'_>, harm: &[(&str, f32)]) -> (Judged, Vec<String>) {
    let onnx = bytes(&detector());
    let source = Source::read(&onnx, Mode::Dynamic).unwrap();
    let mut steps = Vec::new();
    let mut progress = |step: Phase<'_>| steps.push(format!("{step:?}"));
    let judged = quantize_within(&source, &onnx, None, gate, &mut engine(harm), &mut progress).unwrap();
    (judged, steps)
}

fn kept(judged: &Judged) -> Vec<&str> {
    judged.report.kept.iter().map(|layer| layer.name.as_str()).collect()
}

#[test]
fn a_model_that_passes_is_not_searched() {
    let (columns, rows) = (columns(), rows());
    let (judged, steps) = judge(&Gate::new(&columns, &rows, 0.99), &[("w2", 0.5)]);
    assert!(judged.report.passed && judged.report.kept.is_empty() && judged.report.measured.is_empty());
    assert_eq!((judged.report.score.kept, judged.report.quantized_share), (1.0, 1.0));
    assert_eq!(steps, ["Before", "Whole"]);
}

#[test]
fn exactly_the_harmful_layer_is_kept() {
    let (columns, rows) = (columns(), rows());
    // w1 has 1024 of 7168 weights, less than the fifth that may be kept.
    let (judged, steps) = judge(&Gate::new(&columns, &rows, 0.99), &[("w1", 4.0), ("w2", 0.1), ("table", 0.2)]);
    assert!(judged.report.passed);
    assert_eq!(kept(&judged), ["first"]);
    assert_eq!(judged.report.quantized_share, 1.0 - 1024.0 / 7168.0);
    let measured: Vec<&str> = judged.report.measured.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(measured, ["first", "embed", "second", "head"]);
    assert!(judged.report.measured.is_sorted_by(|a, b| a.logit_rms >= b.logit_rms));
    let model = parse(&judged.onnx);
    let names: Vec<&str> =
        model.graph.as_ref().unwrap().initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    assert!(names.contains(&"w1") && !names.contains(&"w1_int8") && names.contains(&"w2_int8"), "{names:?}");
    assert_eq!(steps.iter().filter(|step| step.starts_with("Measuring")).count(), 4);
    assert_eq!(steps.iter().filter(|step| step.starts_with("Keeping")).count(), 1);
}

#[test]
fn several_are_kept_if_one_is_not_enough() {
    let (columns, rows) = (columns(), rows());
    let gate = Gate { kept_share_max: 0.6, ..Gate::new(&columns, &rows, 0.99) };
    let (judged, _) = judge(&gate, &[("w1", 4.0), ("w3", 3.0)]);
    assert!(judged.report.passed);
    assert_eq!(kept(&judged), ["first", "head"]);
}

#[test]
fn below_the_floor_it_says_so_and_names_what_hurts() {
    let (columns, rows) = (columns(), rows());
    // The harm sits in more weights than may be kept.
    let (judged, _) = judge(&Gate::new(&columns, &rows, 0.99), &[("table", 4.0), ("w3", 4.0)]);
    assert!(!judged.report.passed && judged.report.score.kept < 0.99);
    assert_eq!(judged.report.measured[0].logit_rms, judged.report.measured[1].logit_rms);
    let mut worst: Vec<&str> = judged.report.measured[..2].iter().map(|layer| layer.name.as_str()).collect();
    worst.sort_unstable();
    assert_eq!(worst, ["embed", "head"]);
    assert!(judged.report.kept.is_empty());
    parse(&judged.onnx);
}

#[test]
fn the_best_attempt_is_what_a_forced_run_gets() {
    let (columns, rows) = (columns(), rows());
    let (judged, _) = judge(&Gate::new(&columns, &rows, 0.99), &[("w1", 4.0), ("table", 1.2)]);
    assert!(!judged.report.passed);
    assert_eq!(kept(&judged), ["first"]);
}

#[test]
fn labels_are_what_counts_where_there_are_some() {
    let columns = columns();
    let labels = (0..ROWS as u32).map(|row| (0..4).map(|column| (row + column).is_multiple_of(2)).collect()).collect();
    let rows = Rows { labels: Some(labels), ..rows() };
    let (judged, _) = judge(&Gate::new(&columns, &rows, 0.99), &[("w1", 4.0)]);
    let score = &judged.report.score;
    assert_eq!((score.macro_f1_before, score.macro_f1_after, score.kept), (Some(1.0), Some(1.0), 1.0));
    assert_eq!(kept(&judged), ["first"]);
}

#[test]
fn an_engine_that_fails_or_answers_nonsense_is_told() {
    let onnx = bytes(&detector());
    let source = Source::read(&onnx, Mode::Dynamic).unwrap();
    let (columns, rows) = (columns(), rows());
    let gate = Gate::new(&columns, &rows, 0.99);
    type Engine = fn(&[u8], &[Vec<u32>]) -> Result<Answers, String>;
    let run = |mut engine: Engine| quantize_within(&source, &onnx, None, &gate, &mut engine, &mut |_| {}).unwrap_err();
    assert!(matches!(run(|_, _| Err("out of order".to_owned())), Error::Evaluate(cause) if cause == "out of order"));
    assert!(
        matches!(run(|_, rows| Ok(vec![vec![0.0; 3]; rows.len()])), Error::Judge(cause) if cause.contains("3 logits"))
    );
    assert!(matches!(run(|_, rows| Ok(vec![vec![f32::NAN; 4]; rows.len()])), Error::Judge(_)));
    assert!(matches!(run(|_, _| Ok(vec![])), Error::Judge(_)));
    let none = Rows { ids: vec![], labels: None };
    let gate = Gate::new(&columns, &none, 0.99);
    let told = quantize_within(&source, &onnx, None, &gate, &mut engine(&[]), &mut |_| {}).unwrap_err();
    assert!(told.to_string().contains("no row"), "{told}");
}

/// A model that answers NaN once it is quantized is not one that agrees.
#[test]
fn not_a_number_does_not_pass() {
    let (columns, rows) = (columns(), rows());
    let (judged, _) = judge(&Gate { kept_share_max: 0.0, ..Gate::new(&columns, &rows, 0.5) }, &[("w1", f32::NAN)]);
    assert_eq!(judged.report.score.kept, 0.0);
    assert!(!judged.report.passed);
}
