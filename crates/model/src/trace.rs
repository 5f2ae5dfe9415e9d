//! What a run spent its time on.

use std::time::Duration;

/// One step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What ran, such as `layer 3 feed_forward`.
    pub name: String,
    /// The kind of step, such as `feed_forward`.
    pub op: &'static str,
    /// Since the start of the run.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
    /// Multiplications and additions, counted as two operations each; 0 where nobody counts them.
    pub operations: u64,
}

/// The steps of a run, in their order. Times come from the clock that the caller hands in: browsers have another one.
#[derive(Debug)]
pub struct Trace {
    clock: fn() -> Duration,
    start: Duration,
    spans: Vec<Span>,
}

impl Trace {
    /// Starts now. `clock` gives the time since any fixed moment.
    pub fn start(clock: fn() -> Duration) -> Trace {
        Trace { clock, start: clock(), spans: Vec::new() }
    }

    /// A trace of steps that somebody else timed, such as a device with a clock of its own.
    pub fn of(spans: Vec<Span>) -> Trace {
        Trace { clock: || Duration::ZERO, start: Duration::ZERO, spans }
    }

    /// The steps so far.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    fn now(&self) -> Duration {
        (self.clock)().saturating_sub(self.start)
    }
}

impl Span {
    /// A step of a layer, or of no layer in particular.
    pub fn new(layer: Option<usize>, op: &'static str, start: Duration, duration: Duration, operations: u64) -> Span {
        let name = layer.map_or_else(|| op.to_owned(), |layer| format!("layer {layer} {op}"));
        Span { name, op, start, duration, operations }
    }
}

/// Runs a step and records it, if anybody wants to know. `operations` as [`Span::operations`].
pub fn record_step<T>(
    trace: &mut Option<&mut Trace>,
    layer: Option<usize>,
    op: &'static str,
    operations: u64,
    step: impl FnOnce() -> T,
) -> T {
    let Some(trace) = trace else { return step() };
    let start = trace.now();
    let result = step();
    let duration = trace.now().saturating_sub(start);
    trace.spans.push(Span::new(layer, op, start, duration, operations));
    result
}
