//! Metrics for Prometheus.

use crate::problem::Problem;
use axum::http::StatusCode;
use grice_core::schedule::Counters;
use grice_core::task::{StepKind, TraceStep};
use grice_core::{Maxim, Verdict};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// All metrics. `docs/serving.md` lists names and labels.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    rejected: Family<ReasonLabels, Counter>,
    violations: [Counter; 4],
    pub(crate) tokenize: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) infer: Histogram,
    pub(crate) first_token: Histogram,
    pub(crate) between_tokens: Histogram,
    pub(crate) batch_size: Histogram,
    pub(crate) batch_tokens: Histogram,
    pub(crate) batch_padding: Histogram,
    pub(crate) inflight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) ready: Gauge,
    pub(crate) reloads: Family<OutcomeLabels, Counter>,
    repairs: Family<RepairLabels, Counter>,
    pub(crate) shared_cache_up: Gauge,
    pub(crate) shared_cache: Family<OutcomeLabels, Counter>,
    pub(crate) spans: Family<OutcomeLabels, Counter>,
    pub(crate) replica_failures: Family<ModelLabels, Counter>,
    pub(crate) device_losses: Family<ModelLabels, Counter>,
    replicas: Family<ReplicaLabels, Gauge>,
    models: Family<InfoLabels, Gauge>,
    /// The labels of `models`.
    models_told: Mutex<Vec<InfoLabels>>,
    of_models: ModelFamilies,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RepairLabels {
    maxim: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ModelLabels {
    pub(crate) model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReplicaLabels {
    model: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct InfoLabels {
    pub(crate) model: String,
    pub(crate) version: String,
    pub(crate) precision: &'static str,
    pub(crate) device: String,
    pub(crate) digest: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PageLabels {
    model: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MaximLabels {
    maxim: &'static str,
}

/// The counters of the schedules, one series per model.
#[derive(Default)]
struct ModelFamilies {
    queue_size: Family<ModelLabels, Gauge>,
    queue_tokens: Family<ModelLabels, Gauge>,
    cache_bytes: Family<ModelLabels, Gauge>,
    cache_hits: Family<ModelLabels, Counter>,
    cache_misses: Family<ModelLabels, Counter>,
    cache_evictions: Family<ModelLabels, Counter>,
    coalesced: Family<ModelLabels, Counter>,
    cancelled: Family<ModelLabels, Counter>,
    retried: Family<ModelLabels, Counter>,
    courses: Family<ModelLabels, Gauge>,
    pages: Family<PageLabels, Gauge>,
    tokens: Family<TokenLabels, Counter>,
}

/// Seconds, from a cache hit to a full-size model on a slow machine.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let seconds = || Histogram::new(SECONDS);
        let violations = Family::<MaximLabels, Counter>::default();
        let mut metrics = Metrics {
            registry: Registry::with_prefix("grice"),
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            rejected: Family::default(),
            violations: Maxim::ALL.map(|maxim| violations.get_or_create_owned(&MaximLabels { maxim: maxim.name() })),
            tokenize: seconds(),
            queue: seconds(),
            infer: seconds(),
            first_token: seconds(),
            between_tokens: seconds(),
            batch_size: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            batch_tokens: Histogram::new([32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0]),
            batch_padding: Histogram::new([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0]),
            inflight: Gauge::default(),
            connections: Gauge::default(),
            ready: Gauge::default(),
            reloads: Family::default(),
            repairs: Family::default(),
            shared_cache_up: Gauge::default(),
            shared_cache: Family::default(),
            spans: Family::default(),
            replica_failures: Family::default(),
            device_losses: Family::default(),
            replicas: Family::default(),
            models: Family::default(),
            models_told: Mutex::default(),
            of_models: ModelFamilies::default(),
        };
        // Start at zero: a series that begins at one hides its first event from `increase` and `rate`.
        for reason in ["deadline", "denied", "queue-full", "rate-limited", "too-large", "unavailable"] {
            metrics.rejected.get_or_create_owned(&ReasonLabels { reason });
        }
        for maxim in Maxim::ALL.map(Maxim::name) {
            for outcome in ["taken", "refused", "failed"] {
                metrics.repairs.get_or_create_owned(&RepairLabels { maxim, outcome });
            }
        }
        metrics.register_requests(violations);
        metrics.register_batches();
        metrics.register_models();
        metrics
    }

    /// Counts the end of a request. `code` is the code of its problem, if any.
    pub(crate) fn count_request(&self, route: &str, status: StatusCode, code: Option<&'static str>, took: Duration) {
        let labels = RequestLabels { route: route.to_owned(), outcome: Problem::outcome_of(status) };
        self.requests.get_or_create(&labels).inc();
        self.duration.get_or_create(&RouteLabels { route: labels.route }).observe(took.as_secs_f64());
        if let Some(reason) = code.filter(|_| matches!(status.as_u16(), 401 | 403 | 413 | 429 | 503 | 504)) {
            self.rejected.get_or_create(&ReasonLabels { reason }).inc();
        }
    }

    /// Counts a request whose client disconnected before the answer.
    pub(crate) fn count_cancelled(&self, route: &str) {
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), outcome: "cancelled" }).inc();
    }

    pub(crate) fn count_verdict(&self, verdict: &Verdict) {
        for (counter, (_, &violated)) in self.violations.iter().zip(verdict.violations.iter()) {
            counter.inc_by(u64::from(violated));
        }
    }

    /// Counts the tried repairs of a turn: `taken`, `refused` (no better than the response), or `failed` (degenerate, or no text).
    pub(crate) fn count_repairs(&self, trace: &[TraceStep]) {
        for step in trace {
            let (Some(maxim), Some(taken)) = (step.maxim, step.taken) else { continue };
            let outcome = match step.step {
                StepKind::Detect if taken => "taken",
                StepKind::Detect => "refused",
                _ => "failed",
            };
            self.repairs.get_or_create(&RepairLabels { maxim: maxim.name(), outcome }).inc();
        }
    }

    /// Sets the models that are served.
    pub(crate) fn set_models(&self, models: Vec<InfoLabels>) {
        let mut told = self.models_told.lock().unwrap_or_else(PoisonError::into_inner);
        // Only if needed: a reader in between would see no models.
        if *told != models {
            self.models.clear();
            models.iter().for_each(|labels| _ = self.models.get_or_create(labels).set(1));
            *told = models;
        }
    }

    pub(crate) fn set_replicas(&self, model: &str, in_use: usize, failed: usize) {
        let set = |state, count: usize| {
            let labels = ReplicaLabels { model: model.to_owned(), state };
            self.replicas.get_or_create(&labels).set(count as i64);
        };
        set("in_use", in_use);
        set("failed", failed);
        // Start at zero, as in `new`.
        for failures in [&self.replica_failures, &self.device_losses] {
            failures.get_or_create_owned(&ModelLabels { model: model.to_owned() });
        }
    }

    /// Adds the counts of a schedule since `last`.
    pub(crate) fn add_counters(&self, model: &str, last: &Counters, now: &Counters) {
        let labels = ModelLabels { model: model.to_owned() };
        let of = &self.of_models;
        of.queue_size.get_or_create(&labels).set(now.queue_rows as i64);
        of.queue_tokens.get_or_create(&labels).set(now.queue_tokens as i64);
        of.cache_bytes.get_or_create(&labels).set(now.cache_bytes as i64);
        let add = |family: &Family<ModelLabels, Counter>, last: u64, now: u64| {
            family.get_or_create(&labels).inc_by(now.saturating_sub(last));
        };
        add(&of.cache_hits, last.cache_hits_total, now.cache_hits_total);
        add(&of.cache_misses, last.cache_misses_total, now.cache_misses_total);
        add(&of.cache_evictions, last.cache_evictions_total, now.cache_evictions_total);
        add(&of.coalesced, last.coalesced_total, now.coalesced_total);
        add(&of.cancelled, last.cancelled_total, now.cancelled_total);
        add(&of.retried, last.retried_total, now.retried_total);
        if now.pages > 0 {
            of.courses.get_or_create(&labels).set(now.running_courses as i64);
            for (state, pages) in [("used", now.pages_used), ("free", now.pages.saturating_sub(now.pages_used))] {
                of.pages.get_or_create(&PageLabels { model: model.to_owned(), state }).set(pages as i64);
            }
            let made = now.new_tokens_total.saturating_sub(last.new_tokens_total);
            self.count_tokens(model, "generated", made);
        }
    }

    /// Counts tokens of texts: `prompt` or `generated`; or of texts that are embedded.
    pub(crate) fn count_tokens(&self, model: &str, kind: &'static str, count: u64) {
        let labels = TokenLabels { model: model.to_owned(), kind };
        self.of_models.tokens.get_or_create(&labels).inc_by(count);
    }

    /// In the OpenMetrics text format, which Prometheus reads.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        // Writing to a string cannot fail.
        _ = text::encode(&mut out, &self.registry);
        out
    }

    // Counters get their `_total` from the encoder.

    fn register_requests(&mut self, violations: Family<MaximLabels, Counter>) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests by route and outcome", self.requests.clone());
        registry.register("request_duration_seconds", "From the head's arrival to the answer", self.duration.clone());
        registry.register("rejected", "Rejected requests, by reason", self.rejected.clone());
        registry.register("violations", "Responses found to violate a maxim", violations);
        registry.register("repairs", "Tried repairs, by maxim and outcome", self.repairs.clone());
        registry.register("inflight", "Requests being handled", self.inflight.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("ready", "1 while the server is ready", self.ready.clone());
        registry.register("reloads", "Reloads of the models, by outcome", self.reloads.clone());
        let up = "1 while the shared cache answers; 0 when it is down or there is none";
        registry.register("shared_cache_up", up, self.shared_cache_up.clone());
        registry.register("spans", "Spans for the collector, by outcome", self.spans.clone());
        registry.register("shared_cache", "Operations on the shared cache, by outcome", self.shared_cache.clone());
    }

    fn register_batches(&mut self) {
        let registry = &mut self.registry;
        registry.register("tokenize_duration_seconds", "Time from text to token ids, per turn", self.tokenize.clone());
        registry.register("queue_duration_seconds", "Wait for a run, per turn", self.queue.clone());
        registry.register("infer_duration_seconds", "Time of a batch in its engine", self.infer.clone());
        let first = "From the head's arrival to the first token of a text";
        registry.register("time_to_first_token_seconds", first, self.first_token.clone());
        let between = "Between the tokens of a text, as its reader is sent them";
        registry.register("time_between_tokens_seconds", between, self.between_tokens.clone());
        registry.register("batch_size", "Sequences in a batch", self.batch_size.clone());
        registry.register("batch_tokens", "Tokens in a batch", self.batch_tokens.clone());
        let padding = "Share of padding, were the batch padded to its longest sequence";
        registry.register("batch_padding_ratio", padding, self.batch_padding.clone());
    }

    fn register_models(&mut self) {
        let registry = &mut self.registry;
        registry.register("model_info", "The models that are served", self.models.clone());
        registry.register("replicas", "Replicas by state", self.replicas.clone());
        let failures = "Failures of replicas that took them out of use";
        registry.register("replica_failures", failures, self.replica_failures.clone());
        let losses = "Failures of replicas because of a lost device";
        registry.register("device_losses", losses, self.device_losses.clone());
        let of = &self.of_models;
        registry.register("queue_size", "Turns waiting for a run", of.queue_size.clone());
        registry.register("queue_tokens", "Tokens waiting for a run", of.queue_tokens.clone());
        registry.register("cache_bytes", "Bytes in the cache", of.cache_bytes.clone());
        registry.register("cache_hits", "Turns answered by the cache", of.cache_hits.clone());
        registry.register("cache_misses", "Turns not found in the cache", of.cache_misses.clone());
        registry.register("cache_evictions", "Rows evicted from the cache to make room", of.cache_evictions.clone());
        registry.register("coalesced", "Turns that shared the run of an identical one", of.coalesced.clone());
        registry.register("cancelled", "Turns whose client disconnected", of.cancelled.clone());
        registry.register("courses_running", "Texts being written", of.courses.clone());
        registry.register("kv_pages", "Pages of memory for keys and values, by state", of.pages.clone());
        registry.register("tokens", "Tokens of models that write and embed texts, by kind", of.tokens.clone());
        registry.register("retried", "Turns retried after their replica failed", of.retried.clone());
    }
}
