//! The allowed dependencies between crates, as data.

use crate::workspace::Kind;

/// One line of a manifest's dependency tables.
#[derive(Clone, Copy)]
pub(super) struct Arrow<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) kind: Kind,
}

/// A member of the workspace and the members that it may depend on.
struct Room {
    name: &'static str,
    knows: &'static [&'static str],
    /// Further members for its tests. `grice-testkit` is always allowed.
    tests_know: &'static [&'static str],
}

/// A family of outside crates that only some members may depend on.
struct Outsider {
    /// The crate with this name, and crates that continue the name after a hyphen.
    name: &'static str,
    only_in: &'static [&'static str],
}

const TESTKIT: &str = "grice-testkit";

const ROOMS: &[Room] = &[
    Room { name: "grice-kernels", knows: &[], tests_know: &[] },
    Room { name: "grice-model", knows: &["grice-kernels"], tests_know: &[] },
    Room { name: "grice-cpu", knows: &["grice-model", "grice-kernels"], tests_know: &[] },
    // Its tests compare it with the other engine.
    Room { name: "grice-gpu", knows: &["grice-model", "grice-kernels"], tests_know: &["grice-cpu"] },
    Room { name: "grice-core", knows: &["grice-model", "grice-cpu", "grice-gpu"], tests_know: &[] },
    // Its tests run its output on the engine.
    Room { name: "grice-quantize", knows: &["grice-model"], tests_know: &["grice-cpu"] },
    Room { name: "grice-server", knows: &["grice-core"], tests_know: &[] },
    // Quantizing and serving are commands; browsers do not need them in core.
    Room {
        name: "grice-cli",
        knows: &["grice-core", "grice-quantize", "grice-server", "grice-postgres"],
        tests_know: &[],
    },
    // A corpus outside of memory; neither core nor the browser needs it.
    Room { name: "grice-postgres", knows: &["grice-core"], tests_know: &[] },
    // Its tests compare the browser's engines with the reference logits, below core's interface.
    Room { name: "grice-wasm", knows: &["grice-core"], tests_know: &["grice-cpu", "grice-gpu", "grice-model"] },
    // Its hand-written programs use the norms and activations of kernels.
    Room { name: TESTKIT, knows: &["grice-kernels", "grice-model", "grice-cpu", "grice-core"], tests_know: &[] },
    Room {
        name: "grice-benches",
        knows: &["grice-kernels", "grice-model", "grice-cpu", "grice-core", "grice-quantize", TESTKIT],
        tests_know: &[],
    },
    Room { name: "xtask", knows: &[], tests_know: &[] },
];

const OUTSIDERS: &[Outsider] = &[
    Outsider { name: "tract", only_in: &["grice-model", "grice-cpu", "grice-quantize"] },
    Outsider { name: "wgpu", only_in: &["grice-gpu"] },
    Outsider { name: "naga", only_in: &["grice-gpu"] },
    Outsider { name: "postgres", only_in: &["grice-postgres"] },
    Outsider { name: "tokio", only_in: &["grice-server", "grice-cli"] },
    Outsider { name: "axum", only_in: &["grice-server", "grice-cli"] },
    // The first match wins; only the wasm crate uses the test runner.
    Outsider { name: "wasm-bindgen-test", only_in: &["grice-wasm"] },
    Outsider { name: "wasm-bindgen", only_in: &["grice-wasm", "grice-gpu"] },
    Outsider { name: "js-sys", only_in: &["grice-wasm", "grice-gpu"] },
    Outsider { name: "web-sys", only_in: &["grice-wasm", "grice-gpu"] },
];

/// The rule that a dependency breaks, if any.
pub(super) fn broken_rule(arrow: Arrow<'_>) -> Option<String> {
    let Arrow { from, to, kind } = arrow;
    let Some(room) = ROOMS.iter().find(|room| room.name == from) else {
        return Some(format!("`{from}` has no row in xtask/src/tidy/arrows.rs; give it one"));
    };
    if is_member(to) {
        return broken_by_member(room, to, kind);
    }
    let outsider = OUTSIDERS.iter().find(|outsider| outsider.covers(to))?;
    let allowed = outsider.only_in.contains(&from) && (outsider.name != "wasm-bindgen-test" || kind == Kind::Dev);
    (!allowed).then(|| format!("{}* is allowed only in {}", outsider.name, outsider.only_in.join(", ")))
}

fn broken_by_member(room: &Room, to: &str, kind: Kind) -> Option<String> {
    let in_tests = kind == Kind::Dev;
    if room.knows.contains(&to) || in_tests && (to == TESTKIT || to == room.name || room.tests_know.contains(&to)) {
        return None;
    }
    Some(match (to, room.knows) {
        (TESTKIT, _) => format!("{TESTKIT} is for tests: only under [dev-dependencies]"),
        (_, []) => format!("{} may depend on no other member", room.name),
        (_, knows) => format!("{} may depend only on {}", room.name, knows.join(", ")),
    })
}

/// Whether the name is one of ours, in the table or not.
fn is_member(name: &str) -> bool {
    name.starts_with("grice-") || ROOMS.iter().any(|room| room.name == name)
}

impl Outsider {
    fn covers(&self, name: &str) -> bool {
        name.strip_prefix(self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Build, Dev, Normal};

    fn check(from: &str, to: &str, kind: Kind, expected: Result<(), &str>) {
        let rule = broken_rule(Arrow { from, to, kind });
        match (expected, rule) {
            (Ok(()), None) => {}
            (Err(words), Some(rule)) if rule.contains(words) => {}
            (expected, rule) => panic!("{from} → {to} ({kind:?}): expected {expected:?}, got {rule:?}"),
        }
    }

    #[test]
    fn arrows_that_follow_the_flow_pass() {
        check("grice-core", "grice-cpu", Normal, Ok(()));
        check("grice-model", "grice-kernels", Normal, Ok(()));
        check("grice-cli", "grice-core", Normal, Ok(()));
        check("grice-cli", "grice-quantize", Normal, Ok(()));
        check("grice-quantize", "grice-model", Normal, Ok(()));
        check("grice-quantize", "grice-cpu", Dev, Ok(()));
        check("grice-cpu", "tract-linalg", Normal, Ok(()));
        check("grice-server", "tokio", Normal, Ok(()));
        check("grice-cli", "grice-server", Normal, Ok(()));
        check("grice-wasm", "js-sys", Normal, Ok(()));
        check("grice-wasm", "wasm-bindgen-test", Dev, Ok(()));
        check("grice-cpu", "grice-testkit", Dev, Ok(()));
        check("grice-core", "serde", Normal, Ok(()));
        check("xtask", "toml", Normal, Ok(()));
    }

    #[test]
    fn arrows_that_run_backwards_are_caught() {
        check("grice-kernels", "grice-model", Normal, Err("may depend on no other member"));
        check("grice-model", "grice-core", Normal, Err("may depend only on grice-kernels"));
        check("grice-cpu", "grice-core", Normal, Err("may depend only on"));
        check("grice-cpu", "grice-gpu", Normal, Err("may depend only on"));
        check("grice-core", "grice-cli", Normal, Err("may depend only on"));
        check("grice-server", "grice-cli", Normal, Err("may depend only on grice-core"));
        check("grice-wasm", "grice-server", Build, Err("may depend only on"));
        check("grice-core", "grice-server", Dev, Err("may depend only on"));
        check("grice-server", "grice-cpu", Normal, Err("may depend only on grice-core"));
        check("grice-quantize", "grice-core", Normal, Err("may depend only on grice-model"));
        check("grice-quantize", "grice-cpu", Normal, Err("may depend only on grice-model"));
        check("grice-server", "grice-quantize", Normal, Err("may depend only on grice-core"));
        check("grice-core", "grice-quantize", Normal, Err("may depend only on"));
        check("xtask", "grice-core", Normal, Err("may depend on no other member"));
    }

    #[test]
    fn tests_get_no_free_pass() {
        check("grice-model", "grice-core", Dev, Err("may depend only on"));
        check("grice-core", "tokio", Dev, Err("only in grice-server"));
        check("grice-cpu", "wasm-bindgen-test", Dev, Err("only in grice-wasm"));
        check("grice-wasm", "wasm-bindgen-test", Normal, Err("only in grice-wasm"));
    }

    #[test]
    fn the_testkit_stays_in_tests() {
        check("grice-core", "grice-testkit", Normal, Err("[dev-dependencies]"));
        check("grice-core", "grice-testkit", Build, Err("[dev-dependencies]"));
        check("grice-testkit", "grice-cli", Normal, Err("may depend only on"));
    }

    #[test]
    fn outsiders_stay_where_they_belong() {
        check("grice-core", "tract-onnx", Normal, Err("tract* is allowed only in grice-model"));
        check("grice-cpu", "wgpu", Normal, Err("only in grice-gpu"));
        check("grice-gpu", "tract-core", Normal, Err("tract*"));
        check("grice-core", "tokio-util", Normal, Err("only in grice-server"));
        check("grice-cpu", "axum", Normal, Err("only in grice-server"));
        check("grice-cli", "web-sys", Normal, Err("only in grice-wasm"));
        // A name with the same beginning is another crate.
        check("grice-core", "tractor", Normal, Ok(()));
    }

    #[test]
    fn a_member_without_a_row_is_caught_from_both_sides() {
        check("grice-attic", "serde", Normal, Err("no row"));
        check("grice-cli", "grice-attic", Normal, Err("may depend only on"));
    }
}
