//! What runs a model, for reports: threads of the processor, or a GPU.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Threads or a GPU; the other is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Workers {
    pub(crate) threads: Option<usize>,
    /// The GPU's name.
    pub(crate) adapter: Option<String>,
}

impl Workers {
    /// For an engine with this number of threads on this adapter, if any.
    pub(crate) fn new(threads: usize, adapter: Option<&str>) -> Workers {
        Workers { threads: adapter.is_none().then_some(threads), adapter: adapter.map(str::to_owned) }
    }

    /// The text after the name of the kernels: `with 2 threads`, `on GeForce`.
    pub(crate) fn phrase(&self) -> String {
        let preposition = if self.adapter.is_some() { "on" } else { "with" };
        format!("{preposition} {self}")
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.adapter {
            Some(adapter) => f.write_str(adapter),
            None => f.write_str(&counted(self.threads.unwrap_or(1), "thread")),
        }
    }
}

/// `1 thread`, `2 threads`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_named_in_place_of_threads() {
        let check = |threads: usize, adapter: Option<&str>, phrase: &str, json: &str| {
            let workers = Workers::new(threads, adapter);
            assert_eq!(workers.phrase(), phrase);
            assert_eq!(serde_json::to_string(&workers).unwrap_or_default(), json);
            assert_eq!(serde_json::from_str::<Workers>(json).ok(), Some(workers));
        };
        check(1, None, "with 1 thread", r#"{"threads":1,"adapter":null}"#);
        check(2, None, "with 2 threads", r#"{"threads":2,"adapter":null}"#);
        check(2, Some("Radeon"), "on Radeon", r#"{"threads":null,"adapter":"Radeon"}"#);
    }
}
