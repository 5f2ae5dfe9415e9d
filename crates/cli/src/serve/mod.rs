//! `serve`: options → settings, a runtime around the server, and signals.

mod config;
pub(crate) mod config_file;
mod keys;
pub(crate) mod options;

use crate::args::{Common, LogFormat, Serve, ServeOptions, THREADS_MAX};
use crate::corpus;
use crate::error::{CliError, Result};
use crate::model::{by_maxim, gpu_cache, open_bundle};
use grice_core::{Bundle, Device, Embedder, Options, Writer};
use grice_server::{
    BundleSource, CorpusSource, EmbedderSource, Handle, ServeError, Server, Settings, TlsFiles, WriterSource,
};
use options::NamedBundle;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const PORT: u16 = 8080;

/// Serves until a signal ends it.
///
/// # Errors
/// Invalid options, models that cannot be used, an address in use.
pub(crate) fn run(args: &Serve, common: &Common) -> Result<()> {
    let options = args.options.clone().or(config::read_serve(args.config.as_deref())?);
    start_logging(&options)?;
    let settings = settings(options, args, common)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(ServeError::Runtime)?.block_on(async {
        let server = Server::start(settings).await?;
        tracing::info!(address = %server.address(), "listening; loading the models");
        tokio::spawn(heed_signals(server.handle()));
        server.run().await
    })?;
    tracing::info!("stopped");
    Ok(())
}

fn start_logging(options: &ServeOptions) -> Result<()> {
    let level = options.log.as_deref().unwrap_or("info");
    let targets: Targets = level.parse().map_err(|error| {
        CliError::ServeOption(format!("--log {level}: {error}; write info, or info,grice_server=debug"))
    })?;
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match options.log_format.unwrap_or(LogFormat::Human) {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Human => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init(),
    };
    started.map_err(|error| CliError::ServeOption(format!("logging cannot start: {error}")))?;
    // The panic's message is left out, because it may contain a user's text.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place = place.as_deref().unwrap_or("unknown"), "panicked");
    }));
    Ok(())
}

fn settings(options: ServeOptions, args: &Serve, common: &Common) -> Result<Settings> {
    let listen = options.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    let Sources { bundles, writers, embedders } = sources(&options, args, common)?;
    let mut settings = Settings::new(listen, bundles);
    (settings.writers, settings.embedders) = (writers, embedders);
    settings.corpus = options.corpus.as_deref().map(corpus_of);
    set(&mut settings.writer_memory_bytes, options.memory.map(|mib| mib.get().saturating_mul(1 << 20)));
    let pool = &mut settings.pool;
    pool.replicas = replicas(&options)?;
    pool.threads = threads(&options, common)?;
    set(&mut pool.warm_up, options.warm_up);
    set_count(&mut settings.limits.connections_max, options.connections_max);
    set_ms(&mut settings.limits.head_max, options.head_max_ms);
    set_ms(&mut settings.limits.body_pause_max, options.body_pause_max_ms);
    set_ms(&mut settings.limits.deadline, options.deadline_ms);
    set_ms(&mut settings.limits.deadline_max, options.deadline_max_ms);
    set_count(&mut settings.limits.body_bytes_max, options.body_bytes_max);
    set_count(&mut settings.limits.items_max, options.items_max);
    set_ms(&mut settings.drain_delay, options.drain_delay_ms);
    set_ms(&mut settings.drain_max, options.drain_max_ms);
    let schedule = &mut settings.schedule;
    set_count(&mut schedule.batch_rows_max, options.batch_rows_max);
    set(&mut schedule.accumulate, options.batch_wait.map(Into::into));
    set_ms(&mut schedule.wait_max, options.batch_wait_max_ms);
    set_count(&mut schedule.queue_rows_max, options.queue_rows_max);
    set_count(&mut schedule.queue_tokens_max, options.queue_tokens_max);
    set(&mut schedule.cache_bytes_max, options.cache_bytes_max);
    set_ms(&mut settings.queue_wait_max, options.queue_wait_max_ms);
    set(&mut settings.text_cache_bytes_max, options.text_cache_bytes_max);
    settings.batch_tokens_max = options.batch_tokens_max.map(NonZeroUsize::get);
    settings.shared_cache = options.cache.filter(|url| !url.is_empty());
    let access = &mut settings.access;
    access.keys = keys::api_keys(options.api_keys_file.as_deref())?;
    access.admin_key = keys::admin_key(options.admin_key_file.as_deref())?;
    set(&mut access.rate_per_minute, options.rate_per_minute);
    set(&mut access.rate_burst, options.rate_burst);
    access.cors_origins = options.cors_origin.unwrap_or_default();
    settings.tls = match (options.tls_certificate, options.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        _ => return Err(CliError::ServeOption("give both --tls-certificate and --tls-key".to_owned())),
    };
    settings.otlp_endpoint = options.otlp_endpoint.filter(|endpoint| !endpoint.is_empty());
    set(&mut settings.access_log, options.access_log);
    set(&mut settings.log_texts, options.log_texts);
    Ok(settings)
}

/// The models to serve.
#[derive(Default)]
struct Sources {
    bundles: Vec<BundleSource>,
    writers: Vec<WriterSource>,
    embedders: Vec<EmbedderSource>,
}

fn sources(options: &ServeOptions, args: &Serve, common: &Common) -> Result<Sources> {
    let (precision, thresholds) = (common.precision, by_maxim(&args.thresholds));
    let base = Options { precision, thresholds, gpu_cache: gpu_cache(), ..Options::default() };
    let devices: Vec<Device> = match &options.device {
        Some(places) => places.iter().map(|place| place.0).collect(),
        None => vec![Device::Auto],
    };
    // Texts are embedded on the CPU.
    let embedding = Options { precision, device: Device::Cpu, ..Options::default() };
    let embedder = embedding.clone();
    let source = move |name: Option<String>, open: Box<dyn Fn() -> grice_core::Result<Bundle> + Send + Sync>| {
        BundleSource::new(name, base.clone(), devices.clone(), open)
    };
    let mut sources = Sources::default();
    let mut add = |NamedBundle { name, path }: NamedBundle| match () {
        () if Embedder::is_folder(&path) => {
            sources.embedders.push(EmbedderSource::new(name, path, embedding.clone()));
        }
        () if Writer::is_folder(&path) => sources.writers.push(WriterSource::new(name, path, precision)),
        () => sources.bundles.push(source(name, Box::new(move || Bundle::open(&path)))),
    };
    match (&options.bundle, &common.model) {
        (Some(named), None) => named.iter().cloned().for_each(add),
        (Some(_), Some(_)) => {
            let cause = "give --model for one model or --bundle for several, not both".to_owned();
            return Err(CliError::ServeOption(cause));
        }
        (None, Some(path)) => add(NamedBundle { name: None, path: path.clone() }),
        (None, None) => {
            // Fails now if there is none.
            open_bundle(common)?;
            sources.bundles.push(source(None, Box::new(open_embedded)));
            sources.writers.extend(embedded_writer());
        }
    }
    if let Some(path) = options.embedder.clone() {
        sources.embedders.push(EmbedderSource::new(None, path, embedder));
    }
    Ok(sources)
}

/// A search of the server uses one thread.
fn corpus_of(place: &Path) -> CorpusSource {
    match corpus::url_of(place) {
        None => CorpusSource::new(place.to_owned()),
        Some(_) => {
            let place = place.to_owned();
            CorpusSource::new_with("corpus".to_owned(), move || Ok(corpus::open(&place, 1)?.into()))
        }
    }
}

#[cfg(feature = "embedded-model")]
fn open_embedded() -> grice_core::Result<Bundle> {
    Bundle::embedded()
}

#[cfg(feature = "embedded-model")]
fn embedded_writer() -> Option<WriterSource> {
    Some(WriterSource::new_with("repair-mini".to_owned(), Writer::embedded))
}

#[cfg(not(feature = "embedded-model"))]
fn embedded_writer() -> Option<WriterSource> {
    None
}

#[cfg(not(feature = "embedded-model"))]
fn open_embedded() -> grice_core::Result<Bundle> {
    // `open_bundle` has already refused this case.
    Bundle::open("")
}

/// Of `--threads`, or of the file.
fn threads(options: &ServeOptions, common: &Common) -> Result<Option<usize>> {
    match options.threads.map(NonZeroUsize::get) {
        Some(threads) if threads > THREADS_MAX && common.threads.is_none() => {
            let cause =
                format!("`threads = {threads}` in section [serve]: it must be a number from 1 to {THREADS_MAX}");
            Err(CliError::ServeOption(cause))
        }
        threads => Ok(common.threads.or(threads)),
    }
}

fn replicas(options: &ServeOptions) -> Result<usize> {
    let devices = options.device.as_ref().map_or(1, Vec::len).max(1);
    match options.replicas.map(NonZeroUsize::get) {
        Some(replicas) if devices > 1 && replicas != devices => {
            let cause = format!(
                "--replicas {replicas} and --device with {devices} devices contradict each other; use only one of them"
            );
            Err(CliError::ServeOption(cause))
        }
        Some(replicas) => Ok(replicas),
        None => Ok(devices),
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn set_count(place: &mut usize, value: Option<NonZeroUsize>) {
    set(place, value.map(NonZeroUsize::get));
}

fn set_ms(place: &mut Duration, value: Option<u64>) {
    set(place, value.map(Duration::from_millis));
}

/// Stops on SIGTERM and SIGINT, at once on a second one; reloads on SIGHUP.
#[cfg(unix)]
async fn heed_signals(handle: Handle) {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        tracing::error!("cannot install signal handlers; signals will end the server at once");
        return;
    };
    let mut is_stopping = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                tracing::info!("reloading the models");
                match handle.reload().await {
                    Ok(()) => tracing::info!("the new models are in use"),
                    Err(error) => tracing::error!(%error, "the old models stay in use"),
                }
                continue;
            }
        }
        if is_stopping {
            tracing::warn!("second signal; stopping at once");
            std::process::exit(1);
        }
        is_stopping = true;
        handle.stop();
    }
}

#[cfg(not(unix))]
async fn heed_signals(handle: Handle) {
    if tokio::signal::ctrl_c().await.is_ok() {
        handle.stop();
    }
}
