//! gRPC by hand, on HTTP/2 frames, to test details that a generated client would hide.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::{Message, Oneof};
use std::collections::HashMap;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use ureq::http::{HeaderMap, Request};

/// A connection.
pub(crate) struct Grpc {
    sender: SendRequest<Bytes>,
}

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) http_status: u16,
    pub(crate) head: HeaderMap,
    pub(crate) messages: Vec<Bytes>,
    /// Those after the messages, or the head's own, if it was the end as well.
    pub(crate) trailers: HeaderMap,
}

impl Grpc {
    pub(crate) async fn connect(address: SocketAddr) -> Grpc {
        let (sender, connection) = h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
        tokio::spawn(async move { _ = connection.await });
        Grpc { sender }
    }

    /// Opens a stream to a method.
    pub(crate) async fn open(
        &self,
        method: &str,
        metadata: &[(&str, &str)],
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut request = Request::post(format!("http://localhost/inference.GRPCInferenceService/{method}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await.unwrap();
        sender.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// Sends bytes as they are, and waits for the end.
    pub(crate) async fn send(&self, method: &str, metadata: &[(&str, &str)], body: &[u8]) -> Reply {
        let (answer, mut stream) = self.open(method, metadata).await;
        let body = Bytes::copy_from_slice(body);
        // The server may have had enough before all of it is sent.
        tokio::spawn(async move { _ = send_all(&mut stream, body).await });
        read(answer).await
    }

    /// One message there, one back.
    pub(crate) async fn call<Q: Message, A: Message + Default>(&self, method: &str, message: &Q) -> A {
        let reply = self.send(method, &[], &frame(message)).await;
        reply.expect(0, "");
        assert_eq!(reply.messages.len(), 1);
        A::decode(reply.messages[0].clone()).unwrap()
    }
}

/// As the window of the stream allows.
async fn send_all(stream: &mut h2::SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
            Some(room) => room?,
            None => return Ok(()),
        };
        let piece = body.split_to(room.min(body.len()));
        stream.send_data(piece, false)?;
    }
    stream.send_data(Bytes::new(), true)
}

/// The answer, to its end.
pub(crate) async fn read(answer: h2::client::ResponseFuture) -> Reply {
    let answer = answer.await.unwrap();
    let (head, mut body) = answer.into_parts();
    let mut data = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        _ = body.flow_control().release_capacity(piece.len());
        data.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_else(|| head.headers.clone());
    let mut messages = Vec::new();
    while !data.is_empty() {
        let length = u32::from_be_bytes(data[1..5].try_into().unwrap()) as usize;
        let packed = data[0] == 1;
        let message = data.split_to(5 + length).freeze().slice(5..);
        messages.push(if packed { unpack(&message) } else { message });
    }
    Reply { http_status: head.status.as_u16(), head: head.headers, messages, trailers }
}

fn unpack(bytes: &[u8]) -> Bytes {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut out).unwrap();
    out.into()
}

/// A message with its prefix.
pub(crate) fn frame(message: &impl Message) -> Vec<u8> {
    prefixed(0, &message.encode_to_vec())
}

pub(crate) fn prefixed(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.put_u32(content.len() as u32);
    frame.extend_from_slice(content);
    frame
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.trailers["grpc-status"].to_str().unwrap().parse().unwrap()
    }

    pub(crate) fn message(&self) -> &str {
        self.trailers.get("grpc-message").map_or("", |message| message.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16, words: &str) {
        assert_eq!(self.http_status, 200);
        assert_eq!(self.head["content-type"], "application/grpc");
        assert_eq!((self.status(), self.message().contains(words)), (status, true), "{words}: {}", self.message());
        assert!(self.head.contains_key("x-request-id"));
        assert_eq!(self.head["grpc-accept-encoding"], "identity,deflate,gzip");
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Flag {
    #[prost(bool, tag = "1")]
    pub(crate) is_so: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Parameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3")]
    pub(crate) choice: Option<Choice>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int(i64),
    #[prost(string, tag = "3")]
    Text(String),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Infer {
    #[prost(string, tag = "1")]
    pub(crate) model: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(map = "string, message", tag = "4")]
    pub(crate) parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) outputs: Vec<Output>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub(crate) raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    pub(crate) contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Contents {
    #[prost(int64, repeated, tag = "3")]
    pub(crate) int64s: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(crate) texts: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Output {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(map = "string, message", tag = "2")]
    pub(crate) parameters: HashMap<String, Parameter>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Inferred {
    #[prost(string, tag = "1")]
    pub(crate) model: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(map = "string, message", tag = "4")]
    pub(crate) parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) outputs: Vec<Tensor>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub(crate) raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Streamed {
    #[prost(string, tag = "1")]
    pub(crate) error: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) inferred: Option<Inferred>,
}

/// Some texts to judge.
pub(crate) fn texts(model: &str, id: &str, responses: &[&str]) -> Infer {
    let texts = responses.iter().map(|text| text.as_bytes().to_vec()).collect();
    let input = Tensor {
        name: "response".to_owned(),
        datatype: "BYTES".to_owned(),
        shape: vec![responses.len() as i64, 1],
        contents: Some(Contents { texts, ..Contents::default() }),
    };
    Infer { model: model.to_owned(), id: id.to_owned(), inputs: vec![input], ..Infer::default() }
}

/// Padded sequences with their mask, raw.
pub(crate) fn padded(model: &str, ids: &[Vec<u32>], mask: &[Vec<u32>]) -> Infer {
    let input = |name: &str, rows: &[Vec<u32>]| Tensor {
        name: name.to_owned(),
        datatype: "INT64".to_owned(),
        shape: vec![rows.len() as i64, rows[0].len() as i64],
        contents: None,
    };
    let raw = |rows: &[Vec<u32>]| rows.iter().flatten().flat_map(|&value| i64::from(value).to_le_bytes()).collect();
    let inputs = vec![input("input_ids", ids), input("attention_mask", mask)];
    Infer { model: model.to_owned(), inputs, raw: vec![raw(ids), raw(mask)], ..Infer::default() }
}

/// One sequence of tokens, raw.
pub(crate) fn tokens(model: &str, ids: &[i64]) -> Infer {
    let input = Tensor {
        name: "input_ids".to_owned(),
        datatype: "INT64".to_owned(),
        shape: vec![1, ids.len() as i64],
        contents: None,
    };
    let raw = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    Infer { model: model.to_owned(), inputs: vec![input], raw: vec![raw], ..Infer::default() }
}

impl Inferred {
    /// The numbers of an output.
    pub(crate) fn numbers(&self, place: usize) -> Vec<f32> {
        assert_eq!(self.outputs[place].datatype, "FP32");
        self.raw[place].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
