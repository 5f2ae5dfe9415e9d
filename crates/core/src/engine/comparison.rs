//! Tests whether a GPU computes this model correctly: compares a few short sequences and one of full length with the processor.
//!
//! Shader compilers and drivers sometimes give wrong results without an error, and a wrong verdict is worse than a slow one.

use grice_cpu::CpuPlan;
use grice_gpu::GpuPlan;
use grice_model::{Batch, Engine, Logits, Network, Precision};

/// Lengths around the edges of tiles; the model's maximum length is tested too.
const LENGTHS: [usize; 4] = [1, 7, 33, 64];

/// Compares logits, and reports a difference that is larger than the precision explains.
pub(super) async fn compare(network: Network, precision: Precision, plan: &GpuPlan) -> Result<(), String> {
    let batch = batch(&network)?;
    let expected = answer(network, precision, &batch)?;
    compare_answers(&batch, &expected, precision, plan).await
}

/// The processor's answers.
pub(super) fn answer(network: Network, precision: Precision, batch: &Batch) -> Result<Logits, String> {
    let cpu = CpuPlan::new(network, precision).and_then(|plan| plan.engine(1));
    cpu.and_then(|mut engine| engine.forward(batch)).map_err(|error| error.to_string())
}

/// Compares with the processor's answers.
pub(super) async fn compare_answers(
    batch: &Batch,
    expected: &Logits,
    precision: Precision,
    plan: &GpuPlan,
) -> Result<(), String> {
    let mut engine = plan.engine().map_err(|error| error.to_string())?;
    let found = engine.run(batch).await.map_err(|error| error.to_string())?;
    let tolerance = tolerance(precision);
    for row in 0..batch.rows() {
        for (found, expected) in found.row(row).iter().zip(expected.row(row)) {
            // Written so that a NaN fails.
            let is_near = (found - expected).abs() <= tolerance * (1.0 + expected.abs());
            if !is_near {
                return Err(format!(
                    "{} computes this model wrongly: a logit is {found}, on the processor {expected}",
                    engine.adapter().name
                ));
            }
        }
    }
    Ok(())
}

/// The limit that rounding explains; a wrong index, a missing tile or a broken function exceeds it by far.
fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::Fp32 => 0.01,
        Precision::Fp16 => 0.05,
        // Two orders of summation may differ by one byte step in each layer.
        Precision::Int8 | Precision::Int4 => 0.5,
    }
}

/// Ids spread over the vocabulary, the same each time, in sequences within the model's positions.
pub(super) fn batch(network: &Network) -> Result<Batch, String> {
    let rows = network.embedding_rows().unwrap_or(1).max(1);
    let positions = network.program().ok().and_then(|program| program.encoder.embedding.positions.as_ref());
    let length_max = positions.map_or(usize::MAX, |positions| positions.tokens_max());
    let ids = |length: usize| (0..length).map(|place| ((place * 7_919 + length) % rows) as u32).collect();
    let lengths = LENGTHS.into_iter().chain(network.compared_up_to());
    let sequences: Vec<Vec<u32>> = lengths.map(|length| ids(length.min(length_max))).collect();
    Batch::pack(&sequences).map_err(|error| error.to_string())
}
