//! A bad sequence does not affect others: a failed batch runs again in halves, until only the sequences at fault have failed.

use crate::schedule::LogitsRow;
use grice_model::{Batch, Engine, EngineError, Logits};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The outcome of each sequence of a batch, in order.
pub type Rows = Vec<Result<LogitsRow, EngineError>>;

/// Runs a batch with `run`; if it fails, runs its halves, and so on down to single sequences.
///
/// # Errors
/// Errors of a broken engine, which stop everything: [`EngineError::DeviceLost`], [`EngineError::Panicked`], or [`EngineError::Plan`] if it
/// could not be built again.
pub async fn run_rows(
    batch: &Batch,
    mut run: impl AsyncFnMut(&Batch) -> Result<Logits, EngineError>,
) -> Result<Rows, EngineError> {
    let mut rows = Vec::with_capacity(batch.rows());
    // The parts that must still run, the next one last.
    let mut parts = vec![batch.clone()];
    while let Some(part) = parts.pop() {
        match run(&part).await {
            Ok(logits) if logits.rows() == part.rows() => {
                rows.extend((0..logits.rows()).map(|row| Ok(logits.row(row).into())));
            }
            Err(error @ (EngineError::DeviceLost(_) | EngineError::Panicked | EngineError::Plan(_))) => {
                return Err(error);
            }
            failed if part.rows() == 1 => rows.push(Err(failed.err().unwrap_or_else(wrong_count))),
            _ => {
                let middle = part.rows() / 2;
                parts.extend([part.slice(middle..part.rows()), part.slice(0..middle)]);
            }
        }
    }
    Ok(rows)
}

/// The same for an engine that blocks.
///
/// # Errors
/// As [`run_rows`].
pub fn run_rows_blocking(
    batch: &Batch,
    mut run: impl FnMut(&Batch) -> Result<Logits, EngineError>,
) -> Result<Rows, EngineError> {
    pollster::block_on(run_rows(batch, async |part: &Batch| run(part)))
}

/// Runs an engine. A panic becomes [`EngineError::Panicked`]: its message would not help a user.
///
/// # Errors
/// As [`Engine::forward`].
pub fn run_guarded(engine: &mut (impl Engine + ?Sized), batch: &Batch) -> Result<Logits, EngineError> {
    catch_unwind(AssertUnwindSafe(|| engine.forward(batch))).unwrap_or(Err(EngineError::Panicked))
}

/// The message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or("no reason given")
}

/// Length of the sequence that tests whether an engine still runs; every model accepts it.
const PROBE_TOKENS: usize = 8;

/// The logits of each sequence. A sequence that fails twice when it runs alone is at fault, if the engine can still run others.
///
/// # Errors
/// Errors of a broken engine.
pub fn run_each(engine: &mut (impl Engine + ?Sized), batch: &Batch) -> Result<Rows, EngineError> {
    let rows = run_rows_blocking(batch, |part| match run_guarded(engine, part) {
        Err(EngineError::Run(_)) if part.rows() == 1 => run_guarded(engine, part),
        outcome => outcome,
    })?;
    let is_suspect = rows.iter().all(|row| matches!(row, Err(EngineError::Run(_))));
    if let (true, Ok(known)) = (is_suspect, Batch::pack(&[[0; PROBE_TOKENS]])) {
        run_guarded(engine, &known)?;
    }
    Ok(rows)
}

fn wrong_count() -> EngineError {
    EngineError::Run("it did not return one row for a sequence".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the first token of each sequence, and fails for a batch with a sequence that begins with 9.
    fn run(part: &Batch, runs: &mut usize) -> Result<Logits, EngineError> {
        *runs += 1;
        let mut logits = Logits::zeros(part.rows(), 1);
        for row in 0..part.rows() {
            match part.sequence(row)[0] {
                9 => return Err(EngineError::Run("nine".to_owned())),
                first => logits.row_mut(row)[0] = first as f32,
            }
        }
        Ok(logits)
    }

    proptest! {
        #[test]
        fn only_what_is_at_fault_fails(firsts in prop::collection::vec(0u32..10, 1..40)) {
            let sequences: Vec<Vec<u32>> = firsts.iter().map(|&first| vec![first; first as usize + 1]).collect();
            let mut runs = 0;
            let rows = run_rows_blocking(&Batch::pack(&sequences).unwrap(), |part| run(part, &mut runs)).unwrap();
            prop_assert_eq!(rows.len(), firsts.len());
            for (row, &first) in rows.iter().zip(&firsts) {
                match row {
                    Ok(logits) => prop_assert!(first != 9 && logits[..] == [first as f32]),
                    Err(error) => prop_assert!(first == 9 && error.to_string().contains("nine")),
                }
            }
            let bad = firsts.iter().filter(|&&first| first == 9).count();
            prop_assert!(runs <= 1 + 2 * bad * firsts.len().ilog2() as usize + 2 * bad, "{} runs, {} bad", runs, bad);
        }
    }

    #[test]
    fn an_engine_that_is_gone_is_not_tried_again() {
        let batch = Batch::pack(&[[1], [2]]).unwrap();
        let mut runs = 0;
        let lost = run_rows_blocking(&batch, |_| {
            runs += 1;
            Err(EngineError::DeviceLost("unplugged".to_owned()))
        });
        assert!(matches!((lost, runs), (Err(EngineError::DeviceLost(_)), 1)));
    }
}
