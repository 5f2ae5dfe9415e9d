//! Every operator that exporters of encoders emit computes what ONNX Runtime computes, or is refused by name: as tract's graph before
//! and after it is optimized, and as a whole detector.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::CpuEngine;
use grice_model::{Batch, Engine, Lengths, Network, Observed, Precision};
use grice_testkit::encoders::Encoder;
use grice_testkit::operators::{Operator, Run, Values};
use prost::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

/// For sums in another order, and functions by other polynomials.
const TOLERANCE: f32 = 1e-4;
/// For f16 that is rounded after other steps.
const HALF_TOLERANCE: f32 = 2e-3;
/// Dense layers of graphs that do not fuse do not round their activations, which ONNX Runtime's `MatMulInteger` does.
const ROUNDING: f32 = 0.03;

/// What tract cannot type-check with symbolic axes: an error at import that names the node is the right answer.
const REFUSED: [&str; 9] = [
    "Hardmax axis None opset 11",
    "Hardmax axis 1 opset 11",
    "Hardmax axis 0 opset 11",
    "Hardmax axis 1 opset 13",
    "Hardmax axis 0 opset 13",
    "Hardmax of scores axis 2 opset 11",
    "Slice tokens backwards",
    "Slice every second token",
    "Flatten",
];
/// What fails while it runs, with an error rather than a wrong number: indices from the end or beyond it.
const FAILING: [&str; 3] = ["GatherND", "Slice beyond the end", "OneHot"];

#[test]
fn operators_compute_what_onnx_runtime_computes() {
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
    for operator in Operator::all() {
        if FAILING.contains(&operator.name.as_str()) {
            assert!(matches!(run_apart(&operator), Err(Fault::Failed(_))), "{} does not fail", operator.name);
            continue;
        }
        match run_apart(&operator) {
            Ok(()) => (),
            Err(Fault::Refused(text)) => refused.push((operator.name.clone(), text)),
            Err(Fault::Wrong(text) | Fault::Failed(text)) => wrong.push(format!("{}: {text}", operator.name)),
        }
    }
    for (name, text) in &refused {
        println!("refused: {name}: {text}");
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, REFUSED);
}

enum Fault {
    /// At import or while it is planned.
    Refused(String),
    /// While it runs.
    Failed(String),
    Wrong(String),
}

/// tract panics on some indices; engines make an error of that.
fn run_apart(operator: &Operator) -> Result<(), Fault> {
    let compared = catch_unwind(AssertUnwindSafe(|| compare(operator)));
    compared.unwrap_or_else(|_| Err(Fault::Failed("an operator gave up".to_owned())))
}

fn compare(operator: &Operator) -> Result<(), Fault> {
    let refused = |error: String| Fault::Refused(error.replace('\n', " "));
    let model = ModelProto::decode(operator.onnx.as_slice()).unwrap();
    let typed = Observed::import(model, &["y".to_owned()]).map_err(|error| refused(error.to_string()))?.typed;
    let mut optimized = typed.clone();
    optimized.optimize().map_err(|error| refused(format!("{error:#}")))?;
    for (stage, model) in [("as a graph", typed), ("optimized", optimized)] {
        let plan = model.into_runnable().map_err(|error| refused(format!("{error:#}")))?;
        for run in &operator.runs {
            let found = run_plan(&plan, run).map_err(|error| Fault::Failed(format!("{stage}: {error:#}")))?;
            let tolerance = if operator.name.starts_with("halves") { HALF_TOLERANCE } else { TOLERANCE };
            check(&format!("{stage} {:?}", run.shape), &found, &run.y, tolerance)?;
        }
    }
    if operator.runs[0].logits.is_none() {
        return Ok(());
    }
    let network = Network::import(&operator.onnx, 4).map_err(|error| refused(error.to_string()))?;
    let mut engine = CpuEngine::new(network, Precision::Fp32, 1).map_err(|error| refused(error.to_string()))?;
    // An engine is handed rows of several lengths without their padding, which the graphs here do not all ignore.
    for run in operator.runs.iter().filter(|run| run.mask.iter().all(|mask| *mask == 1)) {
        let rows: Vec<Vec<u32>> =
            run.ids.chunks(run.shape[1]).map(|row| row.iter().map(|id| *id as u32).collect()).collect();
        let logits = engine.forward(&Batch::pack(&rows).unwrap());
        let logits = logits.map_err(|error| Fault::Failed(format!("whole: {error}")))?;
        let elements = (0..rows.len()).flat_map(|row| logits.row(row).to_vec()).collect();
        let found = Values { shape: vec![rows.len(), 4], elements };
        let tolerance = match operator.name.split(' ').next() {
            Some("MatMulInteger") => ROUNDING,
            Some("halves") => HALF_TOLERANCE,
            _ => TOLERANCE,
        };
        check(&format!("whole {:?}", run.shape), &found, run.logits.as_ref().unwrap(), tolerance)?;
    }
    Ok(())
}

fn run_plan(plan: &Arc<TypedRunnableModel>, run: &Run) -> TractResult<Values> {
    let inputs = [&run.ids, &run.mask].map(|values| Tensor::from_shape(&run.shape, values));
    let inputs = inputs.into_iter().map(|tensor| Ok(tensor?.into_tvalue())).collect::<TractResult<TVec<TValue>>>()?;
    let outputs = plan.run(inputs)?;
    let y = outputs[0].cast_to::<f32>()?;
    Ok(Values { shape: y.shape().to_vec(), elements: y.try_as_plain_ram()?.as_slice::<f32>()?.to_vec() })
}

fn check(stage: &str, found: &Values, expected: &Values, tolerance: f32) -> Result<(), Fault> {
    if found.shape != expected.shape {
        return Err(Fault::Wrong(format!("{stage}: the shape {:?}, not {:?}", found.shape, expected.shape)));
    }
    for (place, (found, expected)) in found.elements.iter().zip(&expected.elements).enumerate() {
        let same = found == expected || (found.is_nan() && expected.is_nan());
        // Written so that a NaN fails.
        let near = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        if !same && !near {
            return Err(Fault::Wrong(format!("{stage}: element {place} is {found}, not {expected}")));
        }
    }
    Ok(())
}

#[test]
fn random_encoders_answer_what_onnx_runtime_answers_at_every_length() {
    let mut wrong = Vec::new();
    let (mut fused, mut graphs, mut later) = (0, 0, 0);
    for encoder in Encoder::all() {
        let network = Network::import_for(&encoder.onnx, 4, &Lengths::up_to(encoder.longest));
        let network = network.unwrap_or_else(|error| panic!("{}: {error}", encoder.name));
        let is_fused = network.program().is_ok();
        *(if is_fused { &mut fused } else { &mut graphs }) += 1;
        later += usize::from(network.program().is_err_and(|unfused| unfused.reason.contains("in sequences of")));
        let mut engine = CpuEngine::new(network, Precision::Fp32, 1).unwrap();
        if let Err(text) = encoder.compare(&mut engine, is_fused) {
            wrong.push(format!("{} (fused: {is_fused}): {text}", encoder.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Windows, positions and biases that begin beyond five tokens are among those that did not.
    assert!(fused >= 3 && graphs >= 3 && later >= 3, "{fused} fused, {graphs} did not, {later} for what begins later");
}
