//! What can be chosen about a server.

use crate::Loaded;
use grice_core::schedule;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that can be chosen. [`Settings::new`] gives what is safe and usual.
#[derive(Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The models, the first of them the default.
    pub bundles: Vec<BundleSource>,
    /// Replicas of each model.
    pub pool: Pool,
    /// Queue, batches and the cache in the process. `engines` is set to the number of replicas, and `batch_tokens_max` to what
    /// [`Settings::batch_tokens_max`] says.
    pub schedule: schedule::Config,
    /// Tokens in a batch; what suits the device if `None`.
    pub batch_tokens_max: Option<usize>,
    /// Requests are turned away while whoever came now would wait longer than this for a run: with it, an overload has passed
    /// this long after its end.
    pub queue_wait_max: Duration,
    /// Bytes that remembered tokenizations may take, a model.
    pub text_cache_bytes_max: u64,
    /// A second cache that servers share, as `redis://host:port/database`.
    pub shared_cache: Option<String>,
    /// What a client may ask for and how long it may take.
    pub limits: Limits,
    /// Who may ask.
    pub access: Access,
    /// Certificate and key; plain HTTP if `None`.
    pub tls: Option<TlsFiles>,
    /// A collector that spans of sampled requests go to, as `http://host:port`.
    pub otlp_endpoint: Option<String>,
    /// One log line a request.
    pub access_log: bool,
    /// Texts in those lines too. Off, nothing that a user wrote is logged.
    pub log_texts: bool,
    /// How long new connections are still taken once the server is told to stop, so that load balancers can notice.
    pub drain_delay: Duration,
    /// How long accepted requests may take then.
    pub drain_max: Duration,
}

/// One model and where it comes from.
#[derive(Clone)]
pub struct BundleSource {
    /// Its name in URLs; the manifest's if `None`.
    pub name: Option<String>,
    /// Reads it; called at the start and at each reload.
    #[allow(clippy::type_complexity)]
    pub load: Arc<dyn Fn() -> Result<Loaded, grice_core::Error> + Send + Sync>,
}

/// Replicas of each model.
#[derive(Clone, Debug)]
pub struct Pool {
    /// How many; at least 1.
    pub replicas: usize,
    /// Threads of each; all cores shared out if `None`.
    pub threads: Option<usize>,
    /// Runs every shape once before the server says that it is ready.
    pub warm_up: bool,
    /// First pause before a failed replica is built anew; it doubles up to `rebuild_pause_max`.
    pub rebuild_pause: Duration,
    /// The longest pause.
    pub rebuild_pause_max: Duration,
}

/// What a client may ask for and how long it may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes in a body.
    pub body_bytes_max: usize,
    /// Turns in one request.
    pub items_max: usize,
    /// Until an answer, when `X-Deadline-Ms` says nothing.
    pub deadline: Duration,
    /// The most that `X-Deadline-Ms` may ask for.
    pub deadline_max: Duration,
    /// Connections at once; more wait in the system's backlog.
    pub connections_max: usize,
    /// For a request's head to arrive, and for a kept-alive connection to stay idle.
    pub head_max: Duration,
    /// Between two pieces of a body.
    pub body_pause_max: Duration,
}

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// API keys; none means that everybody may ask.
    pub keys: Vec<String>,
    /// The key for `POST /admin/reload`; without one there is no such route.
    pub admin_key: Option<String>,
    /// Requests a minute for each key; 0 means no limit.
    pub rate_per_minute: u32,
    /// Requests at once for each key.
    pub rate_burst: u32,
    /// Origins that browsers may call from; `*` for all. None means no CORS headers.
    pub cors_origins: Vec<String>,
}

/// PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Settings {
    /// The usual, for these models.
    pub fn new(listen: SocketAddr, bundles: Vec<BundleSource>) -> Settings {
        Settings {
            listen,
            bundles,
            pool: Pool::default(),
            schedule: schedule::Config::default(),
            batch_tokens_max: None,
            queue_wait_max: Duration::from_secs(1),
            text_cache_bytes_max: 16 << 20,
            shared_cache: None,
            limits: Limits::default(),
            access: Access { rate_per_minute: 100, rate_burst: 200, ..Access::default() },
            tls: None,
            otlp_endpoint: None,
            access_log: false,
            log_texts: false,
            drain_delay: Duration::from_millis(500),
            drain_max: Duration::from_secs(30),
        }
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            replicas: 1,
            threads: None,
            warm_up: true,
            rebuild_pause: Duration::from_millis(100),
            rebuild_pause_max: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 2 << 20,
            items_max: 256,
            deadline: Duration::from_secs(10),
            deadline_max: Duration::from_secs(60),
            connections_max: 4096,
            head_max: Duration::from_secs(15),
            body_pause_max: Duration::from_secs(5),
        }
    }
}

impl BundleSource {
    /// A bundle opened by `open`, its replicas on `devices` in turn.
    pub fn new(
        name: Option<String>,
        options: grice_core::Options,
        devices: Vec<grice_core::Device>,
        open: impl Fn() -> grice_core::Result<grice_core::Bundle> + Send + Sync + 'static,
    ) -> BundleSource {
        let load = move || Loaded::open(&open()?, &options, &devices);
        BundleSource { name, load: Arc::new(load) }
    }
}

/// Why a server cannot start, or stopped in a bad way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A bundle cannot be used.
    #[error("{name}: {source}")]
    Bundle {
        /// Its name, as far as it is known.
        name: String,
        /// Why.
        source: grice_core::Error,
    },
    /// Loading a bundle panicked.
    #[error("{0}: the model cannot be loaded; loading it gave up: {1}")]
    BundlePanic(String, String),
    /// Two bundles of one name.
    #[error("two models are called `{0}`; give each a name of its own, as in --bundle name=path")]
    SameName(String),
    /// A name that cannot stand in a URL.
    #[error(
        "`{0}` cannot be a model's name; use letters, digits, `-`, `_` and `.`, and not `stats`, and name it as in --bundle name=path"
    )]
    BadName(String),
    /// Nothing to serve.
    #[error("no model to serve; name one with --bundle")]
    NoBundle,
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file or value of the settings cannot be used.
    #[error("{what}: {cause}")]
    Setting {
        /// Which.
        what: String,
        /// Why, and what to do.
        cause: String,
    },
    /// The runtime cannot start.
    #[error("the server cannot start: {0}")]
    Runtime(std::io::Error),
    /// Requests were left when the time for draining was up.
    #[error(
        "stopped with {0} connections still open after the drain time; raise --drain-max if answers take that long"
    )]
    Undrained(usize),
}
