//! The planned network, one reusable state a thread, and how a packed batch is spread over them.

use grice_model::{Batch, EngineError, FixedAxes, Logits, Network, Padded, Trace, record_step as record};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;

/// Rows run together; more only moves activations out of cache.
const ROWS_MAX: usize = 8;
/// Sequences share a padded run while at most one token in eight is padding.
const PADDING_SHARE_MAX: f64 = 0.125;
/// Tokens of the sequences that tell whether padding is hidden: of the shortest `max_tokens` that a model may have.
const PROBES: [[usize; 2]; 2] = [[5, 16], [13, 16]];
/// Between sums in another order.
const TOLERANCE: f32 = 1e-4;

type Plan = TypedSimplePlan;
type State = TypedSimpleState;

/// The whole graph, planned by tract.
#[derive(Clone)]
pub(crate) struct PaddedPlan {
    plan: Arc<Plan>,
    inputs: Inputs,
}

/// What the graph takes.
#[derive(Clone, Copy)]
struct Inputs {
    token_types: bool,
    axes: FixedAxes,
    longest: Option<usize>,
    /// Whether sequences of different lengths may run together.
    hides_padding: bool,
}

impl PaddedPlan {
    pub(crate) fn new(network: &Network) -> Result<PaddedPlan, EngineError> {
        let plan = plan_network(network).map_err(|error| EngineError::Plan(format!("{error:#}")))?;
        let (axes, longest) = (network.fixed_axes(), network.longest());
        let mut inputs = Inputs { token_types: network.takes_token_types(), axes, longest, hides_padding: false };
        let words = network.embedding_rows().unwrap_or(1);
        let probe = || {
            PROBES.iter().try_fold(true, |hides, lengths| {
                Ok::<_, TractError>(hides && hides_padding(&plan, inputs, words, *lengths)?)
            })
        };
        // A graph that cannot say is never padded further than its own axes ask.
        let may_pad = axes.sequence.is_none() && axes.batch != Some(1);
        inputs.hides_padding = may_pad && matches!(catch_unwind(AssertUnwindSafe(probe)), Ok(Ok(true)));
        Ok(PaddedPlan { plan, inputs })
    }

    /// Whether a sequence has the same answer with padding as without.
    pub(crate) fn hides_padding(&self) -> bool {
        self.inputs.hides_padding
    }
}

/// Whether a sequence has the same answer beside a longer one: not where a graph ignores its mask, or where a quantizer has cut off
/// the mask's far value.
fn hides_padding(plan: &Arc<Plan>, inputs: Inputs, words: usize, lengths: [usize; 2]) -> TractResult<bool> {
    let row = |length: usize| (0..length).map(|place| ((place * 7_919 + 1) % words) as u32).collect::<Vec<u32>>();
    let batch = Batch::pack(&lengths.map(row))?;
    let mut state = plan.spawn()?;
    let alone = run_padded(&mut state, &batch.padded(&[0], inputs.axes), inputs.token_types)?;
    let beside = run_padded(&mut state, &batch.padded(&[0, 1], inputs.axes), inputs.token_types)?;
    let pairs = alone.iter().zip(&beside);
    Ok(pairs.into_iter().all(|(a, b)| (a - b).abs() <= TOLERANCE * a.abs().max(1.0)))
}

/// Threads that share a plan, each with the buffers of a state of its own.
pub(crate) struct PaddedEngine {
    states: Vec<State>,
    inputs: Inputs,
}

impl PaddedEngine {
    pub(crate) fn new(plan: PaddedPlan, threads: usize) -> Result<PaddedEngine, EngineError> {
        let states: TractResult<Vec<State>> = (0..threads).map(|_| plan.plan.spawn()).collect();
        let states = states.map_err(|error| EngineError::Plan(format!("{error:#}")))?;
        Ok(PaddedEngine { states, inputs: plan.inputs })
    }

    pub(crate) fn forward(
        &mut self,
        batch: &Batch,
        labels: usize,
        mut trace: Option<&mut Trace>,
    ) -> Result<Logits, EngineError> {
        let job = Job { batch, labels, inputs: self.inputs };
        job.check_lengths()?;
        let runs = group_rows(batch, self.inputs);
        let answers = record(&mut trace, None, "graph", 0, || run_all(&mut self.states, &job, &runs))?;
        let mut logits = Logits::zeros(batch.rows(), labels);
        for (rows, values) in runs.iter().zip(answers) {
            for (row, values) in rows.iter().zip(values.chunks_exact(labels)) {
                logits.row_mut(*row).copy_from_slice(values);
            }
        }
        Ok(logits)
    }
}

fn plan_network(network: &Network) -> TractResult<Arc<Plan>> {
    // Decluttered already, so what `into_optimized` does first is left out.
    let mut model = network.typed().ok_or_else(|| format_err!("it has only a fused form"))?.clone();
    model.optimize()?;
    model.into_runnable()
}

/// Rows of like length together, longest first, so that threads finish about together.
fn group_rows(batch: &Batch, inputs: Inputs) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..batch.rows()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(batch.sequence(row).len()));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    let Inputs { axes, hides_padding, .. } = inputs;
    let rows_max = axes.batch.unwrap_or(ROWS_MAX);
    // Where every run has the same size, whatever fits is in good company.
    let share_max = match (axes.sequence, axes.batch, hides_padding) {
        (Some(_), _, _) | (None, Some(_), true) => 1.0,
        (None, None, true) => PADDING_SHARE_MAX,
        (None, _, false) => 0.0,
    };
    for row in order {
        let length = batch.sequence(row).len();
        if let Some(group) = groups.last_mut() {
            let slots = (group.len() + 1) * batch.sequence(group[0]).len();
            let padding = slots - tokens - length;
            if group.len() < rows_max && padding as f64 <= share_max * slots as f64 {
                group.push(row);
                tokens += length;
                continue;
            }
        }
        groups.push(vec![row]);
        tokens = length;
    }
    groups
}

struct Job<'a> {
    batch: &'a Batch,
    labels: usize,
    inputs: Inputs,
}

impl Job<'_> {
    /// A row that is too long would fail inside an operator, and not by name.
    fn check_lengths(&self) -> Result<(), EngineError> {
        let longest = (0..self.batch.rows()).map(|row| self.batch.sequence(row).len()).max().unwrap_or(0);
        match self.inputs.longest {
            Some(positions) if longest > positions => Err(EngineError::Positions { tokens: longest, positions }),
            _ => Ok(()),
        }
    }

    /// Logits `[rows.len(), labels]` of one padded run.
    fn run(&self, state: &mut State, rows: &[usize]) -> Result<Vec<f32>, EngineError> {
        let padded = self.batch.padded(rows, self.inputs.axes);
        // tract panics where a graph looks up what is not there; a graph is a file, and no file may end the process.
        let ran = catch_unwind(AssertUnwindSafe(|| run_padded(state, &padded, self.inputs.token_types)));
        let ran = ran.unwrap_or_else(|_| Err(format_err!("an operator gave up")));
        let ran = ran.and_then(|values| {
            let expected = padded.rows * self.labels;
            ensure!(values.len() == expected, "{} logits, not {expected}", values.len());
            Ok(values)
        });
        ran.or_else(|error| {
            // What a run that failed leaves behind, such as the length of its sequences, would fail all that follow.
            *state = state.plan().spawn()?;
            Err(error)
        })
        .map_err(|error| EngineError::Run(format!("{error:#}")))
    }
}

fn run_padded(state: &mut State, padded: &Padded, takes_token_types: bool) -> TractResult<Vec<f32>> {
    let shape = [padded.rows, padded.length];
    let mut inputs = tvec!(
        Tensor::from_shape(&shape, &padded.input_ids)?.into_tvalue(),
        Tensor::from_shape(&shape, &padded.attention_mask)?.into_tvalue()
    );
    if takes_token_types {
        inputs.push(Tensor::zero::<i64>(&shape)?.into_tvalue());
    }
    let outputs = state.run(inputs)?;
    Ok(outputs[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

/// The answers of all runs, in their order; idle threads take the next run.
#[cfg(not(target_arch = "wasm32"))]
fn run_all(states: &mut [State], job: &Job<'_>, runs: &[Vec<usize>]) -> Result<Vec<Vec<f32>>, EngineError> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    if runs.len() == 1 || states.len() == 1 {
        return run_in_turn(&mut states[0], job, runs);
    }
    let next = AtomicUsize::new(0);
    let take_runs = |state: &mut State| -> Vec<(usize, Result<Vec<f32>, EngineError>)> {
        let mut done = Vec::new();
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            let Some(rows) = runs.get(run) else { return done };
            done.push((run, job.run(state, rows)));
        }
    };
    let mut answers: Vec<(usize, Result<Vec<f32>, EngineError>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = states.iter_mut().map(|state| scope.spawn(|| take_runs(state))).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.flat_map(|done| done.unwrap_or_else(|_| vec![(0, Err(worker_panicked()))])).collect()
    });
    answers.sort_by_key(|(run, _)| *run);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(target_arch = "wasm32")]
fn run_all(states: &mut [State], job: &Job<'_>, runs: &[Vec<usize>]) -> Result<Vec<Vec<f32>>, EngineError> {
    run_in_turn(&mut states[0], job, runs)
}

fn run_in_turn(state: &mut State, job: &Job<'_>, runs: &[Vec<usize>]) -> Result<Vec<Vec<f32>>, EngineError> {
    runs.iter().map(|rows| job.run(state, rows)).collect()
}

#[cfg(not(target_arch = "wasm32"))]
fn worker_panicked() -> EngineError {
    EngineError::Run("a worker thread panicked".to_owned())
}
