//! HTTP in, verdicts out: routes, keys and limits around the same core that the command line runs.
//!
//! ```text
//! socket ─► listen ─► envelope ─► routes ─► served ─► runner ─► replicas
//!           TLS,      ids, keys,  JSON,     text to    schedule  one engine
//!           limits    metrics     v2, gRPC  tokens     and back  a thread
//! ```
//!
//! Not in this crate: how a verdict is made, when a batch runs, the cache (all in `grice-core`), and the command line.

mod app;
mod arrival;
mod attempt;
mod cache;
mod catalog;
mod encoding;
mod envelope;
mod guard;
mod ids;
mod inferred;
mod judging;
mod lanes;
mod listen;
mod loaded;
mod metrics;
mod otlp;
mod problem;
mod replica;
mod routes;
mod runner;
mod served;
mod server;
mod settings;
mod statistics;
mod texts;
mod timing;
#[cfg(feature = "tls")]
mod tls;

pub use loaded::{BuildEngine, Loaded, Plans, Replica};
pub use routes::fuzz;
pub use server::{Handle, Server, check_health};
pub use settings::{Access, BundleSource, Limits, Pool, ServeError, Settings, TlsFiles};
