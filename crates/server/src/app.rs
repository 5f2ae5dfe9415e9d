//! State that all requests share.

use crate::Settings;
use crate::catalog::Catalog;
use crate::guard::Guard;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::otlp::Exporter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tokio::sync::watch;

/// Settings, models, and the parts that requests pass through.
pub(crate) struct App {
    pub(crate) settings: Arc<Settings>,
    /// When the server started.
    pub(crate) started: SystemTime,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) guard: Guard,
    pub(crate) exporter: Option<Exporter>,
    pub(crate) lanes: Lanes,
    pub(crate) is_draining: AtomicBool,
    /// Becomes true when connections must end; each connection and each stream of requests holds a receiver.
    pub(crate) ending: watch::Sender<bool>,
}

impl App {
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    pub(crate) fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether a load balancer should send requests here.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining() && self.catalog.is_ready()
    }
}
