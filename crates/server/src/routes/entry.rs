//! The keys that routes require.

use crate::guard::Entry;

/// What a route requires from its caller.
pub(crate) fn entry_of(route: &str) -> Entry {
    match route {
        "/detect" | "/repair" | "/generate" => Entry::KeyOr403,
        "/v2/health/live" | "/v2/health/ready" | "/health" | "/metrics" | "/openapi.json" | "/docs" | "/" => {
            Entry::Open
        }
        "/inference.GRPCInferenceService/ServerLive" | "/inference.GRPCInferenceService/ServerReady" => Entry::Open,
        _ if route.starts_with("/inference.") => Entry::Key,
        "/admin/reload" => Entry::Admin,
        _ if route.starts_with("/v1/") || route.starts_with("/v2") => Entry::Key,
        // There is nothing to protect.
        _ => Entry::Open,
    }
}
