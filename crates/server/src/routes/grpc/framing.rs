//! gRPC over HTTP/2: messages in a body, and answers with their status in trailers.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: each message is preceded by a byte that says whether it is
//! compressed, and its length in 32 bits, big-endian.

use super::status;
use crate::app::App;
use crate::encoding::{self, Coding};
use crate::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Frame;
use prost::Message;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout_at;

const PREFIX_BYTES: usize = 5;
/// Compressing a smaller answer gains nothing.
const PACKED_BYTES_LEAST: usize = 1 << 10;

/// The compression of a call's messages, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Packing(Option<Coding>);

impl Packing {
    /// The method in `grpc-encoding`.
    ///
    /// # Errors
    /// 415 with the unknown method.
    pub(super) fn of(headers: &HeaderMap) -> Result<Packing, Problem> {
        let Some(told) = headers.get("grpc-encoding") else { return Ok(Packing(None)) };
        let name = told.to_str().unwrap_or_default().trim();
        match Coding::named(name) {
            Some(coding) => Ok(Packing(Some(coding))),
            None if name.is_empty() || name.eq_ignore_ascii_case("identity") => Ok(Packing(None)),
            None => {
                let name: String = name.escape_default().take(40).collect();
                Err(Problem::unknown_encoding(format!("grpc-encoding `{name}` is not supported")))
            }
        }
    }

    /// A message with its prefix. It uses the client's compression method, which the client can decompress.
    pub(super) fn frame(self, message: &impl Message) -> Bytes {
        let plain = message.encode_to_vec();
        let packed = self.0.filter(|_| plain.len() >= PACKED_BYTES_LEAST).map(|coding| coding.pack(&plain));
        let (flag, content) = packed.map_or((0, plain), |packed| (1, packed));
        let mut frame = Vec::with_capacity(PREFIX_BYTES + content.len());
        frame.push(flag);
        frame.extend((content.len() as u32).to_be_bytes());
        frame.extend(content);
        frame.into()
    }

    /// Sets the header for the client.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        if let Some(coding) = self.0 {
            headers.insert("grpc-encoding", HeaderValue::from_static(coding.name()));
        }
    }
}

/// The messages of a body, in order.
pub(super) struct Messages {
    body: Body,
    packing: Packing,
    buffer: BytesMut,
    has_ended: bool,
}

impl Messages {
    pub(super) fn new(body: Body, packing: Packing) -> Messages {
        Messages { body, packing, buffer: BytesMut::new(), has_ended: false }
    }

    /// The next message, decompressed; `None` at the end. Waits until `patience` for the first byte, and for each
    /// further part as long as for parts of a body.
    ///
    /// # Errors
    /// 413 if it is too large, 400 if it is broken, 408 if it arrives too slowly, 504 at the deadline.
    pub(super) async fn next(&mut self, app: &App, patience: Option<Instant>) -> Result<Option<Bytes>, Problem> {
        let bytes_max = app.settings.limits.body_bytes_max;
        loop {
            if let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() {
                let [flag, length @ ..] = *prefix;
                let length = u32::from_be_bytes(length) as usize;
                if length > bytes_max {
                    return Err(Problem::too_large(format!("a message of {length} bytes is larger than {bytes_max}")));
                }
                if self.buffer.len() >= PREFIX_BYTES + length {
                    self.buffer.advance(PREFIX_BYTES);
                    let content = self.buffer.split_to(length).freeze();
                    let deadline = patience.unwrap_or_else(|| Instant::now() + app.settings.limits.deadline);
                    return unpack(app, self.packing, flag, content, deadline).await.map(Some);
                }
            }
            if self.has_ended {
                return match self.buffer.len() {
                    0 => Ok(None),
                    left => Err(Problem::malformed(format!("the last message is cut off after {left} bytes"))),
                };
            }
            self.fill(app.settings.limits.body_pause_max, patience).await?;
        }
    }

    async fn fill(&mut self, pause_max: Duration, patience: Option<Instant>) -> Result<(), Problem> {
        let pause = (!self.buffer.is_empty()).then(|| Instant::now() + pause_max);
        let frame = match [pause, patience].into_iter().flatten().min() {
            None => self.body.frame().await,
            Some(until) => timeout_at(until.into(), self.body.frame()).await.map_err(|_| {
                if patience.is_some_and(|patience| Instant::now() >= patience) {
                    return Problem::deadline();
                }
                Problem::slow_body()
            })?,
        };
        match frame {
            None => self.has_ended = true,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => return Err(Problem::malformed(format!("the messages break off: {error}"))),
        }
        Ok(())
    }
}

async fn unpack(app: &App, packing: Packing, flag: u8, content: Bytes, deadline: Instant) -> Result<Bytes, Problem> {
    match (flag, packing.0) {
        (0, _) => Ok(content),
        (1, Some(coding)) => encoding::unpack(app, vec![coding], content, deadline).await,
        (1, None) => Err(Problem::malformed("a message is marked as compressed, but there is no grpc-encoding")),
        (other, _) => Err(Problem::malformed(format!("a message begins with {other}; it must be 0 or 1"))),
    }
}

/// Decodes a message.
///
/// # Errors
/// 400 with protobuf's error.
pub(super) fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Problem> {
    M::decode(bytes).map_err(|error| Problem::malformed(format!("the message cannot be read: {error}")))
}

/// The body of an answer: messages, then the status in trailers.
pub(super) enum Answer {
    /// One message, then success.
    One(Option<Bytes>),
    /// Messages as they become ready; the last frame is the trailers.
    Many(Option<Receiver<Frame<Bytes>>>),
    Done,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match &mut *self {
            Answer::One(message) => match message.take() {
                Some(message) => Some(Frame::data(message)),
                None => {
                    *self = Answer::Done;
                    Some(Frame::trailers(status::fine()))
                }
            },
            Answer::Many(frames) => {
                let next = match frames {
                    Some(frames) => std::task::ready!(frames.poll_recv(context)),
                    None => None,
                };
                // The sender is gone.
                let frame =
                    next.unwrap_or_else(|| Frame::trailers(status::of(&Problem::internal("a stream broke off"))));
                if frame.is_trailers() {
                    *self = Answer::Done;
                }
                Some(frame)
            }
            Answer::Done => None,
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Done)
    }
}

/// An answer's head around its body.
pub(super) fn response(packing: Packing, answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::new(answer));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(status::CONTENT));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static(status::ACCEPTED));
    packing.tell(headers);
    response
}
