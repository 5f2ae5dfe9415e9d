//! The messages of `inference.GRPCInferenceService`, with the published field numbers: the fields that are read or written here,
//! and fields that must not be ignored. protobuf skips all others.

use prost::{Message, Oneof};
use std::collections::HashMap;

/// Also used for requests about the whole server.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Flag {
    #[prost(bool, tag = "1")]
    pub(crate) is_so: bool,
}

/// A model's name, and optionally its version.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelAsked {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServerMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) extensions: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) platform: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) outputs: Vec<TensorMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelConfigAnswer {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<ModelConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelConfig {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) platform: String,
    #[prost(string, tag = "17")]
    pub(crate) backend: String,
    #[prost(int32, tag = "4")]
    pub(crate) max_batch_size: i32,
    #[prost(message, repeated, tag = "5")]
    pub(crate) input: Vec<ConfigInput>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) output: Vec<ConfigOutput>,
    #[prost(message, optional, tag = "11")]
    pub(crate) dynamic_batching: Option<Empty>,
    #[prost(message, optional, tag = "19")]
    pub(crate) transaction_policy: Option<TransactionPolicy>,
}

/// Whether a model answers in pieces.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct TransactionPolicy {
    #[prost(bool, tag = "1")]
    pub(crate) decoupled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigInput {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(int64, repeated, tag = "4")]
    pub(crate) dims: Vec<i64>,
    #[prost(bool, tag = "8")]
    pub(crate) optional: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigOutput {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) dims: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IndexAsked {
    #[prost(string, tag = "1")]
    pub(crate) repository_name: String,
    #[prost(bool, tag = "2")]
    pub(crate) ready: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Index {
    #[prost(message, repeated, tag = "1")]
    pub(crate) models: Vec<IndexEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IndexEntry {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(string, tag = "3")]
    pub(crate) state: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Parameter {
    #[prost(oneof = "ParameterValue", tags = "1, 2, 3, 4, 5")]
    pub(crate) value: Option<ParameterValue>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ParameterValue {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(uint64, tag = "5")]
    Uint(u64),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferAsked {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, tag = "2")]
    pub(crate) model_version: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(map = "string, message", tag = "4")]
    pub(crate) parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) inputs: Vec<InputTensor>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) outputs: Vec<OutputAsked>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(crate) raw_input_contents: Vec<bytes::Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InputTensor {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
    #[prost(map = "string, message", tag = "4")]
    pub(crate) parameters: HashMap<String, Parameter>,
    #[prost(message, optional, tag = "5")]
    pub(crate) contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OutputAsked {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(map = "string, message", tag = "2")]
    pub(crate) parameters: HashMap<String, Parameter>,
}

/// Values in the field of their type. Fields of unsupported types are read too, so that they can be refused.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Contents {
    #[prost(bool, repeated, tag = "1")]
    pub(crate) bools: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    pub(crate) ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) int64s: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub(crate) uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub(crate) uint64s: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub(crate) fp32s: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub(crate) fp64s: Vec<f64>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub(crate) texts: Vec<bytes::Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferAnswer {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, tag = "2")]
    pub(crate) model_version: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(map = "string, message", tag = "4")]
    pub(crate) parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) outputs: Vec<OutputTensor>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub(crate) raw_output_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OutputTensor {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StreamAnswer {
    #[prost(string, tag = "1")]
    pub(crate) error_message: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) infer_response: Option<InferAnswer>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatisticsAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) model_stats: Vec<ModelStatistics>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelStatistics {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(uint64, tag = "3")]
    pub(crate) last_inference: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) inference_count: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) execution_count: u64,
    #[prost(message, optional, tag = "6")]
    pub(crate) inference_stats: Option<InferenceStatistics>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) batch_stats: Vec<BatchStatistics>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Duration {
    #[prost(uint64, tag = "1")]
    pub(crate) count: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) ns: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct InferenceStatistics {
    #[prost(message, optional, tag = "1")]
    pub(crate) success: Option<Duration>,
    #[prost(message, optional, tag = "2")]
    pub(crate) fail: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    pub(crate) queue: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    pub(crate) compute_input: Option<Duration>,
    #[prost(message, optional, tag = "5")]
    pub(crate) compute_infer: Option<Duration>,
    #[prost(message, optional, tag = "6")]
    pub(crate) compute_output: Option<Duration>,
    #[prost(message, optional, tag = "7")]
    pub(crate) cache_hit: Option<Duration>,
    #[prost(message, optional, tag = "8")]
    pub(crate) cache_miss: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct BatchStatistics {
    #[prost(uint64, tag = "1")]
    pub(crate) batch_size: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) compute_input: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    pub(crate) compute_infer: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    pub(crate) compute_output: Option<Duration>,
}
