//! The engine touches nothing: no clock, no file, no socket, no log; and wire types stay at its border.

use super::paths::{self, Named};
use super::{Place, Tree};

const ENGINE: &str = "node-agent/engine/src/";
/// Crates that do things or know the time.
const CRATES: [&str; 8] = [
    "tokio",
    "kube",
    "k8s_openapi",
    "aya",
    "tracing",
    "log",
    "chrono",
    "prometheus_client",
];
/// Modules of the standard library that do things.
const MODULES: [&str; 4] = ["fs", "env", "process", "thread"];
/// Types of the standard library that know the time or talk to others.
const TYPES: [&str; 6] = [
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
];
/// Types that can be printed but not asked for the time.
const CLOCKS: [&str; 2] = ["Timestamp", "Zoned"];
/// Macros that print.
const MACROS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// Finds effects in the engine.
pub(super) fn check_effects(tree: &Tree) -> Vec<Place> {
    let mut places = Vec::new();
    for source in tree.rust_below(ENGINE) {
        for path in paths::named(&source.code) {
            if let Some(what) = effect(&path) {
                places.push(Place::new(
                    source,
                    path.line,
                    format!("the engine never names {what}"),
                ));
            }
        }
    }
    places
}

/// Finds wire types outside `k8s`: only the API's own names are written in camel case.
pub(super) fn check_wire_types(tree: &Tree) -> Vec<Place> {
    let is_border = |path: &str| path.trim_start_matches(ENGINE).starts_with("k8s");
    let mut places = Vec::new();
    for source in tree
        .rust_below(ENGINE)
        .filter(|source| !is_border(&source.path))
    {
        for (at, line) in source.uncommented.lines().enumerate() {
            if line.contains("\"camelCase\"") {
                places.push(Place::new(
                    source,
                    at + 1,
                    "types in the API's own words belong in k8s",
                ));
            }
        }
    }
    places
}

/// Names the effect that a path stands for.
fn effect(path: &Named<'_>) -> Option<String> {
    let segments = &path.segments;
    let first = segments.first().copied().unwrap_or_default();
    let is_crate = segments.len() > 1 && CRATES.contains(&first);
    let is_module = first == "std"
        && segments
            .get(1)
            .is_some_and(|module| MODULES.contains(module));
    let is_type = segments.iter().any(|segment| TYPES.contains(segment));
    let is_clock = matches!(segments.as_slice(), [.., clock, "now"] if CLOCKS.contains(clock));
    let is_print = path.is_macro && segments.last().is_some_and(|name| MACROS.contains(name));
    if is_print {
        return Some(format!("{}!", segments.join("::")));
    }
    (is_crate || is_module || is_type || is_clock).then(|| segments.join("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    fn check(text: &str) -> Vec<(usize, String)> {
        let tree = tree(&[("node-agent/engine/src/core.rs", text)]);
        check_effects(&tree)
            .into_iter()
            .map(|place| (place.line, place.what))
            .collect()
    }

    #[test]
    fn effects_are_found() {
        for (text, what) in [
            ("use tokio::time;", "tokio::time"),
            ("use std::time::{Duration, Instant};", "std::time::Instant"),
            ("fn f() { std::fs::read(p); }", "std::fs::read"),
            ("use std::{env, fmt};", "std::env"),
            ("use std::net::{IpAddr, UdpSocket};", "std::net::UdpSocket"),
            ("fn f() { Timestamp::now() }", "Timestamp::now"),
            ("fn f() { println!(\"x\") }", "println!"),
            ("#[tracing::instrument] fn f() {}", "tracing::instrument"),
            ("fn f() { aya::maps::f() }", "aya::maps::f"),
        ] {
            assert_eq!(
                check(text),
                [(1, format!("the engine never names {what}"))],
                "{text}"
            );
        }
    }

    #[test]
    fn words_in_comments_and_own_names_are_free() {
        let text = "//! No tokio::x, std::fs or println!(…).\nuse std::time::Duration;\nlet kube = crate::kube_router::f(\"std::fs\");\n";
        assert_eq!(check(text), []);
    }

    #[test]
    fn wire_types_belong_in_k8s() {
        let text = "\n#[serde(rename_all = \"camelCase\")]\nstruct Pod;\n";
        let tree = tree(&[
            ("node-agent/engine/src/model.rs", text),
            ("node-agent/engine/src/k8s/pod.rs", text),
        ]);
        let found: Vec<_> = check_wire_types(&tree)
            .into_iter()
            .map(|place| (place.path, place.line))
            .collect();
        assert_eq!(found, [("node-agent/engine/src/model.rs".to_owned(), 2)]);
    }
}
