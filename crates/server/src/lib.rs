//! HTTP in, verdicts, texts and vectors out: routes, keys and limits around the same core that the command line runs.
//!
//! ```text
//! socket ─► listen ─► envelope ─► routes ─► served,  ─► runner ─► replicas
//!           TLS,      ids, keys,  JSON,     scribe      schedule  one engine
//!           limits    metrics     v2, gRPC  text to     and back  a thread
//!                                           tokens
//! ```
//!
//! Not in this crate: how a verdict or a text is made, when a batch runs, the cache (all in `grice-core`), and the command line.

mod app;
mod arrival;
mod attempt;
mod begun;
mod cache;
mod catalog;
mod embedding;
mod encoding;
mod envelope;
mod guard;
mod ids;
mod inferred;
mod inferring;
mod judging;
mod lanes;
mod listen;
mod listener;
mod loaded;
mod mending;
mod metrics;
mod otlp;
mod problem;
mod replica;
mod retrieval;
mod router;
mod routes;
mod runner;
mod scribe;
mod served;
mod server;
mod settings;
mod statistics;
mod streamed;
mod texts;
mod timing;
#[cfg(feature = "tls")]
mod tls;
mod turns;

pub use loaded::{BuildEngine, Loaded, Plans, Replica};
pub use routes::fuzz;
pub use server::{Handle, Server, check_health};
pub use settings::{
    Access, BundleSource, CorpusSource, EmbedderSource, Limits, Pool, ServeError, Settings, TlsFiles, WriterSource,
};
