//! Connections: accepted within a bound, served by HTTP/1.1 or 2, ended without losing an answer.

use crate::server::App;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// A head longer than this is refused with 431.
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;
#[cfg(feature = "tls")]
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const STREAMS_MAX: u32 = 128;

/// Takes connections and serves them.
pub(crate) struct Front {
    app: Arc<App>,
    http: Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsAcceptor>,
}

impl Front {
    pub(crate) fn new(app: Arc<App>, router: Router) -> Result<Front, crate::ServeError> {
        let limits = &app.settings.limits;
        let mut http = Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_max)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .keep_alive_interval(limits.head_max)
            .keep_alive_timeout(limits.head_max);
        #[cfg(feature = "tls")]
        let tls = app.settings.tls.as_ref().map(crate::tls::acceptor).transpose()?;
        #[cfg(not(feature = "tls"))]
        if app.settings.tls.is_some() {
            let cause = "this build has no TLS; build with the feature `tls`".to_owned();
            return Err(crate::ServeError::Setting { what: "--tls-certificate".to_owned(), cause });
        }
        Ok(Front {
            places: Arc::new(Semaphore::new(limits.connections_max)),
            service: TowerToHyperService::new(router),
            http,
            graceful: GracefulShutdown::new(),
            app,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Serves until `stop` turns true, then for the drain's delay, then lets what was accepted come to its end. How many
    /// connections were still open when the time for that was up.
    pub(crate) async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) -> usize {
        let stopped = async {
            // The sender gone is a reason to stop too.
            _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                accepted = self.accept(&listener) => self.start(accepted),
                () = &mut stopped => break,
            }
        }
        self.app.start_draining();
        tracing::info!("stopping: accepted requests are answered first");
        let until = Instant::now() + self.app.settings.drain_delay;
        while let Ok(accepted) = timeout_at(until, self.accept(&listener)).await {
            self.start(accepted);
        }
        // What the system has accepted for us already would be cut off by closing the listener.
        while let Ok(accepted) = timeout(Duration::from_millis(10), self.accept(&listener)).await {
            self.start(accepted);
        }
        drop(listener);
        let app = Arc::clone(&self.app);
        let open = || app.metrics.connections.get().max(0) as usize;
        match timeout(self.app.settings.drain_max, self.graceful.shutdown()).await {
            Ok(()) => 0,
            Err(_) => open(),
        }
    }

    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(error) if is_of_one_connection(&error) => None,
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets some connections end.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }

    fn start(&self, accepted: Option<(TcpStream, OwnedSemaphorePermit)>) {
        let Some((stream, place)) = accepted else { return };
        // Small answers must not wait for more.
        _ = stream.set_nodelay(true);
        let connection = Connection {
            http: self.http.clone(),
            service: self.service.clone(),
            watcher: self.graceful.watcher(),
            open: Open::new(&self.app, place),
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            tokio::spawn(async move {
                match timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection.serve(stream).await,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                }
            });
            return;
        }
        tokio::spawn(connection.serve(stream));
    }
}

struct Connection {
    http: Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
    open: Open,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let serving = self.http.serve_connection(TokioIo::new(stream), self.service).into_owned();
        if let Err(error) = self.watcher.watch(serving).await {
            // Clients that send nonsense or go away: no concern of ours.
            tracing::debug!(%error, "connection ended");
        }
        drop(self.open);
    }
}

/// A connection's place and its count.
struct Open {
    app: Arc<App>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(app: &Arc<App>, place: OwnedSemaphorePermit) -> Open {
        app.metrics.connections.inc();
        Open { app: Arc::clone(app), _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
    }
}

/// The fault of one client, which says nothing of the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
