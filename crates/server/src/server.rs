//! The whole server: start, reload, stop.

use crate::app::App;
use crate::cache::SharedCache;
use crate::catalog::Catalog;
use crate::guard::Guard;
use crate::lanes::Lanes;
use crate::listen::Front;
use crate::metrics::Metrics;
use crate::otlp::Exporter;
use crate::router::router;
use crate::{ServeError, Settings};
use axum::http::HeaderValue;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A server that listens.
pub struct Server {
    app: Arc<App>,
    front: Front,
    listener: TcpListener,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

/// Controls a running server.
#[derive(Clone)]
pub struct Handle {
    catalog: Arc<Catalog>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Listens, then loads and warms up the models. Requests are answered from the start, with 503 until the models
    /// are ready.
    ///
    /// # Errors
    /// [`ServeError`] that names the setting, file or address at fault.
    pub async fn start(settings: Settings) -> Result<Server, ServeError> {
        check_origins(&settings.access.cors_origins)?;
        let settings = Arc::new(settings);
        let metrics = Arc::new(Metrics::new());
        let guard = Guard::new(&settings.access)?;
        let shared =
            settings.shared_cache.as_ref().map(|url| SharedCache::start(url, Arc::clone(&metrics))).transpose()?;
        let catalog = Arc::new(Catalog::new(Arc::clone(&settings), Arc::clone(&metrics), shared));
        let exporter = settings.otlp_endpoint.as_ref();
        let exporter = exporter.map(|endpoint| Exporter::start(endpoint, Arc::clone(&metrics))).transpose()?;
        let app = Arc::new(App {
            settings,
            started: SystemTime::now(),
            catalog,
            metrics,
            guard,
            exporter,
            lanes: Lanes::new(),
            is_draining: AtomicBool::new(false),
            ending: watch::channel(false).0,
        });
        let front = Front::new(Arc::clone(&app), router(&app))?;
        let asked = app.settings.listen;
        let listen = |source| ServeError::Listen { address: asked, source };
        let listener = TcpListener::bind(asked).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Server { app, front, listener, address, stop: watch::channel(false).0 })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle to control it.
    pub fn handle(&self) -> Handle {
        Handle { catalog: Arc::clone(&self.app.catalog), stop: self.stop.clone() }
    }

    /// Loads the models and answers requests until it is stopped and all accepted requests are answered.
    ///
    /// # Errors
    /// [`ServeError`] of the models, or [`ServeError::Undrained`].
    pub async fn run(self) -> Result<(), ServeError> {
        let stopped = self.stop.subscribe();
        let serving = tokio::spawn(self.front.serve(self.listener, stopped));
        let loaded = self.app.catalog.reload().await;
        match &loaded {
            Ok(()) => tracing::info!(address = %self.address, models = self.app.catalog.replicas().len(), "ready"),
            Err(_) => _ = self.stop.send(true),
        }
        let left = serving.await.map_err(|error| ServeError::Runtime(std::io::Error::other(error)))?;
        loaded?;
        if left == 0 { Ok(()) } else { Err(ServeError::Undrained(left)) }
    }
}

impl Handle {
    /// Stops the server after it has answered all accepted requests.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Reloads all bundles without dropping a request.
    ///
    /// # Errors
    /// [`ServeError`] if a bundle cannot be used; then the old ones stay in use.
    pub async fn reload(&self) -> Result<(), ServeError> {
        self.catalog.reload().await
    }
}

fn check_origins(origins: &[String]) -> Result<(), ServeError> {
    let is_fit = |origin: &String| origin.contains("://") && HeaderValue::from_str(origin).is_ok();
    let unfit = match origins {
        [any] if any == "*" => None,
        some => some.iter().find(|origin| !is_fit(origin)),
    };
    match unfit {
        Some(origin) => {
            let cause = format!("`{}` is not an origin; write https://host, or only *", origin.escape_default());
            Err(ServeError::Setting { what: "--cors-origin".to_owned(), cause })
        }
        None => Ok(()),
    }
}

/// Checks whether the server at `http://host:port` is ready, for a container's health check. The URL may have a path.
///
/// # Errors
/// The reason why it is not ready.
pub fn check_health(url: &str, patience: Duration) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// addresses can be checked")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = if path.is_empty() { "v2/health/ready" } else { path };
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let addresses = with_port.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let mut failure = format!("{host}: no address");
    for address in addresses {
        match ask(address, host, path, patience) {
            Ok(200) => return Ok(()),
            Ok(status) => return Err(format!("{url} answers {status}")),
            Err(error) => failure = format!("{url}: {error}"),
        }
    }
    Err(failure)
}

fn ask(address: SocketAddr, host: &str, path: &str, patience: Duration) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    // `HTTP/1.1 200` is enough.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = std::str::from_utf8(&head[9..]).ok().and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("it does not speak HTTP"))
}
