//! The server over real sockets: with the tiny models, and with engines that do as they are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod answers;
mod chatty;
mod encodings;
mod failover;
mod fake;
#[cfg(feature = "gpu")]
mod gpu_loss;
mod grpc;
mod grpc_client;
mod http;
mod malformed;
mod memory;
mod openai;
mod openai_client;
mod openai_streams;
mod openapi;
mod overload;
mod protocol;
mod reload;
mod repairs;
#[cfg(feature = "redis")]
mod shared_cache;
mod started;
mod statistics;
mod texts;
#[cfg(feature = "tls")]
mod tls;
mod traces;
mod triton;
mod triton_texts;
