//! Sends spans to an OpenTelemetry collector: OTLP over HTTP in JSON, one span per sampled request.
//!
//! Written by hand, because it is one message of fixed form, and the usual exporter needs protobuf and another HTTP client.
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use crate::ServeError;
use crate::ids::Trace;
use crate::metrics::{Metrics, OutcomeLabels};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PORT: u16 = 4318;
const PATH: &str = "/v1/traces";
/// Maximum number of spans that wait to be sent; more are dropped and counted.
const WAITING_MAX: usize = 4096;
const BATCH_MAX: usize = 512;
const BATCH_WAIT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);

/// One request.
pub(crate) struct Span {
    pub(crate) trace: Trace,
    /// Method and route.
    pub(crate) name: String,
    pub(crate) took: Duration,
    pub(crate) status: u16,
    pub(crate) problem: Option<&'static str>,
    pub(crate) cache: Option<String>,
    pub(crate) request_id: String,
}

/// Sends spans from a separate thread; when dropped, it sends the remaining spans and ends.
pub(crate) struct Exporter {
    spans: Option<SyncSender<(SystemTime, Span)>>,
    thread: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
}

/// The address of the collector.
struct Collector {
    host: String,
    path: String,
}

impl Exporter {
    /// For a collector at `http://host:port`.
    ///
    /// # Errors
    /// [`ServeError::Setting`] for an invalid address.
    pub(crate) fn start(endpoint: &str, metrics: Arc<Metrics>) -> Result<Exporter, ServeError> {
        let collector = Collector::parse(endpoint).ok_or_else(|| ServeError::Setting {
            what: "--otlp-endpoint".to_owned(),
            cause: format!(
                "`{endpoint}` is not of the form http://host:port; to use HTTPS, run a local collector that forwards"
            ),
        })?;
        let (spans, inbox) = sync_channel(WAITING_MAX);
        let counted = Arc::clone(&metrics);
        let work = move || collector.send_all(&inbox, &counted);
        let thread = std::thread::Builder::new().name("otlp".to_owned()).spawn(work).map_err(ServeError::Runtime)?;
        Ok(Exporter { spans: Some(spans), thread: Some(thread), metrics })
    }

    /// Accepts a span that ends now. Never blocks.
    pub(crate) fn take(&self, span: Span) {
        let is_taken = self.spans.as_ref().is_some_and(|spans| spans.try_send((SystemTime::now(), span)).is_ok());
        if !is_taken {
            count(&self.metrics, "dropped", 1);
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.spans = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, nothing could be sent.
            _ = thread.join();
        }
    }
}

impl Collector {
    fn parse(endpoint: &str) -> Option<Collector> {
        let rest = endpoint.strip_prefix("http://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:{PORT}") };
        let path = if path.is_empty() { PATH.to_owned() } else { format!("/{path}") };
        let is_fit = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        (!host.starts_with(':') && is_fit(&host) && is_fit(&path)).then_some(Collector { host, path })
    }

    fn send_all(&self, inbox: &Receiver<(SystemTime, Span)>, metrics: &Metrics) {
        while let Ok(first) = inbox.recv() {
            let mut batch = vec![first];
            let until = Instant::now() + BATCH_WAIT;
            let mut is_over = false;
            while batch.len() < BATCH_MAX && !is_over {
                match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(span) => batch.push(span),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => is_over = true,
                }
            }
            match self.send(&batch) {
                Ok(()) => count(metrics, "sent", batch.len()),
                Err(error) => {
                    tracing::warn!(%error, spans = batch.len(), "the collector did not accept spans");
                    count(metrics, "failed", batch.len());
                }
            }
        }
    }

    fn send(&self, batch: &[(SystemTime, Span)]) -> std::io::Result<()> {
        let body = message(batch).to_string();
        let address = self.host.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.path,
            self.host,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        let status = String::from_utf8_lossy(&start[9..]).into_owned();
        if status.starts_with('2') { Ok(()) } else { Err(std::io::Error::other(format!("it answers {status}"))) }
    }
}

fn count(metrics: &Metrics, outcome: &'static str, spans: usize) {
    metrics.spans.get_or_create(&OutcomeLabels { outcome }).inc_by(spans as u64);
}

/// `ExportTraceServiceRequest` in JSON: ids in hex, times as strings of nanoseconds.
fn message(batch: &[(SystemTime, Span)]) -> Value {
    let spans: Vec<Value> = batch.iter().map(|(ended, span)| span_message(*ended, span)).collect();
    let resource = [text("service.name", "grice"), text("service.version", env!("CARGO_PKG_VERSION"))];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "grice-server" }, "spans": spans }],
    }] })
}

fn span_message(ended: SystemTime, span: &Span) -> Value {
    let nanoseconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    let (method, route) = span.name.split_once(' ').unwrap_or((&span.name, ""));
    let mut attributes = vec![
        text("http.request.method", method),
        text("http.route", route),
        json!({ "key": "http.response.status_code", "value": { "intValue": span.status.to_string() } }),
        text("grice.request_id", &span.request_id),
    ];
    attributes.extend(span.problem.map(|problem| text("error.type", problem)));
    attributes.extend(span.cache.as_ref().map(|cache| text("grice.cache", cache)));
    let parent = span.trace.parent_id.map_or(String::new(), |id| format!("{id:016x}"));
    json!({
        "traceId": format!("{:032x}", span.trace.trace_id),
        "spanId": format!("{:016x}", span.trace.span_id),
        "parentSpanId": parent,
        "name": span.name,
        "kind": 2,
        "startTimeUnixNano": nanoseconds(ended - span.took),
        "endTimeUnixNano": nanoseconds(ended),
        "attributes": attributes,
        "status": { "code": if span.status >= 500 { 2 } else { 0 } },
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

#[cfg(test)]
mod tests {
    use super::Collector;

    #[test]
    fn addresses_get_the_usual_port_and_path() {
        for (endpoint, expected) in [
            ("http://host", Some(("host:4318", "/v1/traces"))),
            ("http://host:80/", Some(("host:80", "/v1/traces"))),
            ("http://[::1]:80/x/y", Some(("[::1]:80", "/x/y"))),
            ("https://host", None),
            ("host:4318", None),
            ("http://", None),
            ("http://a b", None),
        ] {
            let found = Collector::parse(endpoint);
            assert_eq!(found.as_ref().map(|c| (c.host.as_str(), c.path.as_str())), expected, "{endpoint}");
        }
    }
}
