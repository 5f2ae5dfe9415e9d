//! Connections: accepts them within a limit, serves HTTP/1.1 or 2, and ends them without losing an answer.

use crate::app::App;
use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// More than the backlog of the system.
const WAITING_MAX: usize = 4096;
/// How long a new connection may wait with its first request when the server ends.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(1);

/// How long streams of texts have to say that the server stops.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Accepts connections and serves them.
pub(crate) struct Front {
    app: Arc<App>,
    http: Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    places: Arc<Semaphore>,
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
            app,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Serves until `stop` becomes true, then for the drain delay, then finishes the accepted requests. Returns the number of
    /// connections that were still open after the time limit.
    pub(crate) async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) -> usize {
        let stopped = async {
            // Stop too if the sender is gone.
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
        self.take_waiting(listener);
        let app = Arc::clone(&self.app);
        let open = || app.metrics.connections.get().max(0) as usize;
        self.app.ending.send_replace(true);
        if timeout(self.app.settings.drain_max, self.app.ending.closed()).await.is_ok() {
            return 0;
        }
        // A stream says why its text breaks off.
        self.app.catalog.abort_texts();
        match timeout(LAST_WORDS_MAX, self.app.ending.closed()).await {
            Ok(()) => 0,
            Err(_) => open(),
        }
    }

    /// Accepts the connections that the system has already accepted, which closing the listener would cut off, and closes it. Looks only once,
    /// without a pause, because reconnecting clients would otherwise keep the listener open.
    fn take_waiting(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..WAITING_MAX {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
            // It does not block; the first error means that no connection waits.
            let Ok((stream, _)) = listener.accept() else { return };
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            self.start(stream.ok().map(|stream| (stream, place)));
        }
    }

    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(error) if is_of_one_connection(&error) => None,
            Err(error) => {
                // Probably out of file descriptors: wait for some connections to end.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }

    fn start(&self, accepted: Option<(TcpStream, OwnedSemaphorePermit)>) {
        let Some((stream, place)) = accepted else { return };
        // Small answers must not wait for more data.
        _ = stream.set_nodelay(true);
        let connection = Connection {
            http: self.http.clone(),
            service: self.service.clone(),
            ending: self.app.ending.subscribe(),
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
    ending: watch::Receiver<bool>,
    open: Open,
}

impl Connection {
    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let has_asked = AtomicBool::new(false);
        let service = service_fn(|request| {
            has_asked.store(true, Ordering::Relaxed);
            self.service.call(request)
        });
        let mut serving = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ending = async {
            _ = self.ending.wait_for(|ending| *ending).await;
            // Its first request may already be in the system's buffer. The answer to it ends the connection.
            if !has_asked.load(Ordering::Relaxed) {
                sleep(FIRST_REQUEST_MAX).await;
            }
        };
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = ending => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            // Invalid data or a disconnect: the client's fault.
            tracing::debug!(%error, "connection ended");
        }
        drop(self.open);
    }
}

/// A connection's slot and its metric.
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

/// An error of one client, which does not affect others.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
