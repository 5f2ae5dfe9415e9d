//! The options of `serve`: flags, environment and `grice.toml` share one list.

use clap::{Args, ValueEnum};
use grice_core::Device;
use grice_core::schedule::Accumulate;
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Declares each option once: for clap, for the file, and for merging the two.
macro_rules! options {
    ($(#[doc = $heading:literal] { $($(#[$attribute:meta])* $name:ident: $type:ty = $environment:literal,)* })*) => {
        /// All options; `None` means that the option is not set.
        #[derive(Clone, Debug, Default, Args, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct ServeOptions {
            $($(
                $(#[$attribute])*
                #[arg(long, env = $environment, hide_env = true, help_heading = $heading)]
                pub(crate) $name: Option<$type>,
            )*)*
            /// Threads of each replica: in the file only, because every command has the flag.
            #[arg(skip)]
            pub(crate) threads: Option<NonZeroUsize>,
        }

        impl ServeOptions {
            /// These options; where one is not set, the one from `below`.
            pub(crate) fn or(self, below: ServeOptions) -> ServeOptions {
                ServeOptions { $($($name: self.$name.or(below.$name),)*)* threads: self.threads.or(below.threads) }
            }
        }
    };
}

options! {
    #[doc = "Models and replicas"] {
        /// A model and its name; may be given several times, the first one is the default model [default: --model]
        #[arg(value_name = "NAME=PATH", value_delimiter = ',')]
        bundle: Vec<NamedBundle> = "GRICE_BUNDLE",
        /// A corpus of responses, for turns that are off topic: a folder or table that `grice index` wrote
        #[arg(value_name = "PATH")]
        corpus: PathBuf = "GRICE_CORPUS",
        /// The model that made the corpus, if it is not among the models: a sentence-transformers folder
        #[arg(value_name = "PATH", requires = "corpus")]
        embedder: PathBuf = "GRICE_EMBEDDER",
        /// Device of each replica of a model: `cpu,cpu` for two replicas, `gpu:0,gpu:1` for one on each of two GPUs [default: auto]
        #[arg(value_name = "DEVICE,…", value_delimiter = ',')]
        device: Vec<Place> = "GRICE_DEVICE",
        /// Number of replicas of each model; --threads applies to each [default: one, on all cores]
        #[arg(value_name = "N")]
        replicas: NonZeroUsize = "GRICE_REPLICAS",
        /// Memory for the keys and values of each replica of a model that writes texts, in MiB [default: 512]
        #[arg(value_name = "MIB")]
        memory: NonZeroUsize = "GRICE_MEMORY",
        /// Run each sequence length once before the server is ready [default: true]
        #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        warm_up: bool = "GRICE_WARM_UP",
    }
    #[doc = "Network"] {
        /// Address and port to listen on [default: 127.0.0.1:8080]
        #[arg(value_name = "ADDRESS:PORT")]
        listen: SocketAddr = "GRICE_LISTEN",
        /// PEM file with the certificate chain, for HTTPS
        #[arg(value_name = "FILE", requires = "tls_key")]
        tls_certificate: PathBuf = "GRICE_TLS_CERTIFICATE",
        /// PEM file with the private key, for HTTPS
        #[arg(value_name = "FILE", requires = "tls_certificate")]
        tls_key: PathBuf = "GRICE_TLS_KEY",
        /// Maximum number of open connections [default: 4096]
        #[arg(value_name = "N")]
        connections_max: NonZeroUsize = "GRICE_CONNECTIONS_MAX",
        /// Time limit for the head of a request, and for idle connections, in milliseconds [default: 15000]
        #[arg(value_name = "MS")]
        head_max_ms: u64 = "GRICE_HEAD_MAX_MS",
        /// Time limit between two parts of a body, in milliseconds [default: 5000]
        #[arg(value_name = "MS")]
        body_pause_max_ms: u64 = "GRICE_BODY_PAUSE_MAX_MS",
        /// Time after SIGTERM in which new connections are still accepted, in milliseconds [default: 500]
        #[arg(value_name = "MS")]
        drain_delay_ms: u64 = "GRICE_DRAIN_DELAY_MS",
        /// Time limit after that for accepted requests, in milliseconds [default: 30000]
        #[arg(value_name = "MS")]
        drain_max_ms: u64 = "GRICE_DRAIN_MAX_MS",
    }
    #[doc = "Access"] {
        /// File with one API key per line; or set GRICE_API_KEYS to the keys, comma-separated [default: no key needed]
        #[arg(value_name = "FILE")]
        api_keys_file: PathBuf = "GRICE_API_KEYS_FILE",
        /// File with the key for POST /admin/reload; or set GRICE_ADMIN_KEY to the key [default: the route is off]
        #[arg(value_name = "FILE")]
        admin_key_file: PathBuf = "GRICE_ADMIN_KEY_FILE",
        /// Requests per minute for each API key; 0 means no limit [default: 100]
        #[arg(value_name = "N")]
        rate_per_minute: u32 = "GRICE_RATE_PER_MINUTE",
        /// Requests in a burst for each API key [default: 200]
        #[arg(value_name = "N")]
        rate_burst: u32 = "GRICE_RATE_BURST",
        /// Origins of web pages that may call the server (CORS); `*` for all [default: none]
        #[arg(value_name = "ORIGIN,…", value_delimiter = ',')]
        cors_origin: Vec<String> = "GRICE_CORS_ORIGIN",
    }
    #[doc = "Requests"] {
        /// Time limit for an answer without X-Deadline-Ms, in milliseconds [default: 10000]
        #[arg(value_name = "MS")]
        deadline_ms: u64 = "GRICE_DEADLINE_MS",
        /// Maximum of X-Deadline-Ms, in milliseconds [default: 60000]
        #[arg(value_name = "MS")]
        deadline_max_ms: u64 = "GRICE_DEADLINE_MAX_MS",
        /// Maximum size of a body, in bytes [default: 2097152]
        #[arg(value_name = "BYTES")]
        body_bytes_max: NonZeroUsize = "GRICE_BODY_BYTES_MAX",
        /// Maximum number of turns in a request [default: 256]
        #[arg(value_name = "N")]
        items_max: NonZeroUsize = "GRICE_ITEMS_MAX",
    }
    #[doc = "Batches and caches"] {
        /// Maximum number of sequences in a batch [default: 64]
        #[arg(value_name = "N")]
        batch_rows_max: NonZeroUsize = "GRICE_BATCH_ROWS_MAX",
        /// Maximum number of tokens in a batch [default: 1024 on a CPU, 8192 on a GPU]
        #[arg(value_name = "N")]
        batch_tokens_max: NonZeroUsize = "GRICE_BATCH_TOKENS_MAX",
        /// When to delay a batch that is not full [default: never]
        #[arg(value_name = "WHEN")]
        batch_wait: BatchWait = "GRICE_BATCH_WAIT",
        /// Maximum of that delay, in milliseconds [default: 50]
        #[arg(value_name = "MS")]
        batch_wait_max_ms: u64 = "GRICE_BATCH_WAIT_MAX_MS",
        /// Maximum number of waiting sequences; further requests get 429 [default: 1024]
        #[arg(value_name = "N")]
        queue_rows_max: NonZeroUsize = "GRICE_QUEUE_ROWS_MAX",
        /// Maximum number of waiting tokens; further requests get 429 [default: 262144]
        #[arg(value_name = "N")]
        queue_tokens_max: NonZeroUsize = "GRICE_QUEUE_TOKENS_MAX",
        /// Maximum expected wait of a new request, in milliseconds; if it is longer, the request gets 429 [default: 1000]
        #[arg(value_name = "MS")]
        queue_wait_max_ms: u64 = "GRICE_QUEUE_WAIT_MAX_MS",
        /// Size of the cache of logits per model, in bytes; 0 turns it off [default: 67108864]
        #[arg(value_name = "BYTES")]
        cache_bytes_max: u64 = "GRICE_CACHE_BYTES_MAX",
        /// Size of the cache of tokenized texts per model, in bytes; 0 turns it off [default: 16777216]
        #[arg(value_name = "BYTES")]
        text_cache_bytes_max: u64 = "GRICE_TEXT_CACHE_BYTES_MAX",
        /// Redis server with a cache for several servers: redis://host:port/database [default: none]
        #[arg(value_name = "URL", hide_env_values = true)]
        cache: String = "GRICE_CACHE",
    }
    #[doc = "Logs and traces"] {
        /// Format of log lines [default: human]
        #[arg(value_name = "FORMAT")]
        log_format: LogFormat = "GRICE_LOG_FORMAT",
        /// Log level: error, warn, info, debug or trace; per module as in `info,grice_server=debug` [default: info]
        #[arg(value_name = "LEVEL")]
        log: String = "GRICE_LOG",
        /// OpenTelemetry collector for the spans of sampled requests (OTLP over HTTP): http://host:4318 [default: none]
        #[arg(value_name = "URL")]
        otlp_endpoint: String = "GRICE_OTLP_ENDPOINT",
        /// Log one line per request [default: false]
        #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        access_log: bool = "GRICE_ACCESS_LOG",
        /// Include user texts in those lines [default: false]
        #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        log_texts: bool = "GRICE_LOG_TEXTS",
    }
}

/// `name=path`, or a path alone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct NamedBundle {
    /// `None` for the manifest's name.
    pub(crate) name: Option<String>,
    /// A folder, or a .tar of one.
    pub(crate) path: PathBuf,
}

/// Where a replica runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Place(pub(crate) Device);

/// When to delay a batch that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BatchWait {
    Never,
    WhileBusy,
    Always,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Human,
    Json,
}

impl std::str::FromStr for NamedBundle {
    type Err = String;
    fn from_str(text: &str) -> Result<NamedBundle, String> {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (Some(name.to_owned()), path),
            None => (None, text),
        };
        match path.is_empty() || name.as_ref().is_some_and(String::is_empty) {
            true => Err("write it as name=path".to_owned()),
            false => Ok(NamedBundle { name, path: path.into() }),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Place, String> {
        text.parse().map(Place)
    }
}

impl TryFrom<String> for NamedBundle {
    type Error = String;
    fn try_from(text: String) -> Result<NamedBundle, String> {
        text.parse()
    }
}

impl TryFrom<String> for Place {
    type Error = String;
    fn try_from(text: String) -> Result<Place, String> {
        text.parse()
    }
}

impl From<BatchWait> for Accumulate {
    fn from(wait: BatchWait) -> Accumulate {
        match wait {
            BatchWait::Never => Accumulate::Never,
            BatchWait::WhileBusy => Accumulate::WhileBusy,
            BatchWait::Always => Accumulate::Always,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bundles_have_a_name_or_take_their_own() {
        let named = |text: &str| text.parse::<NamedBundle>();
        assert_eq!(named("a=b/c").unwrap(), NamedBundle { name: Some("a".to_owned()), path: "b/c".into() });
        assert_eq!(named("b/c").unwrap(), NamedBundle { name: None, path: "b/c".into() });
        for bad in ["", "=b", "a="] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_set_above_hides_what_is_set_below() {
        let below: ServeOptions = toml::from_str("replicas = 3\nlog-format = \"json\"\ndevice = [\"cpu\"]").unwrap();
        let above = ServeOptions { replicas: NonZeroUsize::new(2), ..Default::default() };
        let both = above.or(below);
        assert_eq!(both.replicas, NonZeroUsize::new(2));
        assert_eq!(both.log_format, Some(LogFormat::Json));
        assert_eq!(both.device, Some(vec![Place(Device::Cpu)]));
    }

    #[test]
    fn the_file_refuses_what_it_does_not_know() {
        for (text, words) in [
            ("replica = 3", "unknown field `replica`"),
            ("replicas = 0", "nonzero"),
            ("threads = 0", "nonzero"),
            ("device = [\"tpu\"]", "not a device"),
            ("bundle = [\"=x\"]", "name=path"),
            ("batch-wait = \"sometimes\"", "sometimes"),
        ] {
            let error = toml::from_str::<ServeOptions>(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
