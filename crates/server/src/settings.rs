//! Settings of a server.

use crate::Loaded;
use grice_core::{Corpus, Embedder, Nearest, Precision, Writer, schedule};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// All settings. [`Settings::new`] sets safe defaults.
#[derive(Clone)]
pub struct Settings {
    /// The address to listen on; port 0 selects a free one.
    pub listen: SocketAddr,
    /// The models, the first of them the default.
    pub bundles: Vec<BundleSource>,
    /// The models that write texts, the first of them the default.
    pub writers: Vec<WriterSource>,
    /// The models that embed texts, the first of them the default.
    pub embedders: Vec<EmbedderSource>,
    /// A corpus of responses for turns that violate relation. Its embedder must be among the models.
    pub corpus: Option<CorpusSource>,
    /// Memory for keys and values of each replica of models that write, in bytes.
    pub writer_memory_bytes: usize,
    /// Replicas of each model.
    pub pool: Pool,
    /// Queue, batches and the cache in the process. `engines` is replaced by the number of replicas, and `batch_tokens_max` by
    /// [`Settings::batch_tokens_max`].
    pub schedule: schedule::Config,
    /// Maximum number of tokens in a batch; `None` for the device's default.
    pub batch_tokens_max: Option<usize>,
    /// Requests are rejected while a new one would wait longer than this for its run, so the queue recovers
    /// this long after an overload ends.
    pub queue_wait_max: Duration,
    /// Size of the cache of tokenizations per model, in bytes.
    pub text_cache_bytes_max: u64,
    /// A second cache that several servers share, as `redis://host:port/database`.
    pub shared_cache: Option<String>,
    /// Limits of requests.
    pub limits: Limits,
    /// Keys, rates and origins.
    pub access: Access,
    /// Certificate and key; plain HTTP if `None`.
    pub tls: Option<TlsFiles>,
    /// The collector for the spans of sampled requests, as `http://host:port`.
    pub otlp_endpoint: Option<String>,
    /// Log one line per request.
    pub access_log: bool,
    /// Include user texts in those lines. If off, no user text is logged.
    pub log_texts: bool,
    /// How long new connections are accepted after the stop signal, so that load balancers can notice it.
    pub drain_delay: Duration,
    /// How long accepted requests may take after that.
    pub drain_max: Duration,
}

/// One model and its source.
#[derive(Clone)]
pub struct BundleSource {
    /// Its name in URLs; the manifest's if `None`.
    pub name: Option<String>,
    /// Reads the model; called at the start and at each reload.
    #[allow(clippy::type_complexity)]
    pub load: Arc<dyn Fn() -> Result<Loaded, grice_core::Error> + Send + Sync>,
}

/// One model that writes texts, and its source.
#[derive(Clone)]
pub struct WriterSource {
    /// Its name in URLs.
    pub name: String,
    /// Reads the model; called at the start and at each reload.
    #[allow(clippy::type_complexity)]
    pub load: Arc<dyn Fn() -> Result<Writer, grice_core::Error> + Send + Sync>,
}

/// One model that embeds texts, and its source.
#[derive(Clone)]
pub struct EmbedderSource {
    /// Its name in URLs.
    pub name: String,
    /// Reads the model; called at the start and at each reload.
    #[allow(clippy::type_complexity)]
    pub load: Arc<dyn Fn() -> Result<Embedder, grice_core::Error> + Send + Sync>,
}

/// A corpus, and its source.
#[derive(Clone)]
pub struct CorpusSource {
    /// Its name in messages.
    pub name: String,
    /// Reads the corpus; called at the start and at each reload.
    #[allow(clippy::type_complexity)]
    pub load: Arc<dyn Fn() -> Result<Arc<dyn Nearest>, grice_core::Error> + Send + Sync>,
}

/// Replicas of each model.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Number of replicas; at least 1.
    pub replicas: usize,
    /// Threads of each; `None` divides all cores.
    pub threads: Option<usize>,
    /// Run every shape once before the server is ready.
    pub warm_up: bool,
    /// First pause before a failed replica is rebuilt; it doubles up to `rebuild_pause_max`.
    pub rebuild_pause: Duration,
    /// The longest pause.
    pub rebuild_pause_max: Duration,
}

/// Limits of requests.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum size of a body in bytes.
    pub body_bytes_max: usize,
    /// Maximum number of turns in a request.
    pub items_max: usize,
    /// Time limit for an answer without `X-Deadline-Ms`.
    pub deadline: Duration,
    /// Maximum of `X-Deadline-Ms`.
    pub deadline_max: Duration,
    /// Maximum number of open connections; more wait in the system's backlog.
    pub connections_max: usize,
    /// Time limit for the head of a request, and for idle connections.
    pub head_max: Duration,
    /// Time limit between two parts of a body.
    pub body_pause_max: Duration,
}

/// Keys, rates and origins.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// API keys; without keys, everyone may send requests.
    pub keys: Vec<String>,
    /// The key for `POST /admin/reload`; without it the route is off.
    pub admin_key: Option<String>,
    /// Requests per minute for each key; 0 means no limit.
    pub rate_per_minute: u32,
    /// Requests in a burst for each key.
    pub rate_burst: u32,
    /// Origins of web pages that may call the server; `*` for all. Without origins there are no CORS headers.
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
    /// Default settings for these models.
    pub fn new(listen: SocketAddr, bundles: Vec<BundleSource>) -> Settings {
        Settings {
            listen,
            bundles,
            writers: Vec::new(),
            embedders: Vec::new(),
            corpus: None,
            writer_memory_bytes: 512 << 20,
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

impl WriterSource {
    /// A model that `load` reads.
    pub fn new_with(
        name: String,
        load: impl Fn() -> grice_core::Result<Writer> + Send + Sync + 'static,
    ) -> WriterSource {
        WriterSource { name, load: Arc::new(load) }
    }

    /// A Hugging Face folder, called as it is on disk if no name is given.
    pub fn new(name: Option<String>, folder: PathBuf, precision: Option<Precision>) -> WriterSource {
        let name = name.unwrap_or_else(|| name_of(&folder));
        WriterSource { name, load: Arc::new(move || Writer::open(&folder, precision)) }
    }
}

impl EmbedderSource {
    /// A sentence-transformers folder, called as it is on disk if no name is given.
    pub fn new(name: Option<String>, folder: PathBuf, options: grice_core::Options) -> EmbedderSource {
        let name = name.unwrap_or_else(|| name_of(&folder));
        EmbedderSource { name, load: Arc::new(move || Embedder::open(&folder, &options)) }
    }
}

impl CorpusSource {
    /// What `load` opens.
    pub fn new_with(
        name: String,
        load: impl Fn() -> grice_core::Result<Arc<dyn Nearest>> + Send + Sync + 'static,
    ) -> CorpusSource {
        CorpusSource { name, load: Arc::new(load) }
    }

    /// A folder that `grice index` wrote. A search runs on one thread.
    pub fn new(folder: PathBuf) -> CorpusSource {
        CorpusSource::new_with(name_of(&folder), move || Ok(Arc::new(Corpus::open(&folder, 1)?)))
    }
}

/// The name of a folder on disk.
fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Why a server cannot start, or stopped with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A bundle cannot be used.
    #[error("{name}: {source}")]
    Bundle {
        /// Its name, if known.
        name: String,
        /// Why.
        source: grice_core::Error,
    },
    /// Loading a bundle panicked.
    #[error("{0}: the model cannot be loaded; loading it panicked: {1}")]
    BundlePanic(String, String),
    /// Two bundles of one name.
    #[error("two models are called `{0}`; give each a different name with --bundle name=path")]
    SameName(String),
    /// A corpus whose embedder is not served.
    #[error(
        "the corpus `{0}` was made by the embedder `{1}`, which is none of the models, or another version of it; name its folder with --embedder"
    )]
    NoEmbedder(String, String),
    /// A name that cannot be part of a URL.
    #[error(
        "`{0}` cannot be a model's name; use letters, digits, `-`, `_` and `.`, but not `stats`; set the name with --bundle name=path"
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
    /// Requests were still open after the drain time.
    #[error(
        "stopped with {0} connections still open after the drain time; raise --drain-max-ms if answers take that long"
    )]
    Undrained(usize),
}
