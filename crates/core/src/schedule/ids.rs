//! Identifiers of requests, runs and engines.

/// Identifies a request from [`super::Schedule::push`] to its [`super::Answer`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct RequestId(pub u64);

/// Identifies a batch from [`super::Step::Run`] to [`super::Schedule::complete`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// Identifies a pass from [`super::Step::Courses`] to [`super::Schedule::complete_courses`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PassId(pub u64);

/// One of the engines (replicas) that the driver runs batches on, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(pub usize);
