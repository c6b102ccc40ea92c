//! The rooms of each package: who may name whom, and that nobody goes in circles.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{self, Named};
use super::source::Source;
use super::{Place, Tree};

const AGENT: &str = "node-agent/src/";
/// The agent's rooms and the crates that only they may name.
const ROOMS: [(&str, &[&str]); 3] = [
    ("capture", &["aya", "aya_log", "aya_obj"]),
    ("cluster", &["kube", "k8s_openapi"]),
    ("report", &["prometheus_client"]),
];
/// Who joins the rooms.
const JOINER: &str = "agent";
/// Where packages have their top-level rooms.
const PACKAGES: [&str; 5] = [
    AGENT,
    "node-agent/engine/src/",
    "node-agent-common/src/",
    "node-agent-ebpf/src/",
    "xtask/src/",
];

/// Checks that the agent's rooms do not know each other, and keep their crates to themselves.
pub(super) fn check_apart(tree: &Tree) -> Vec<Place> {
    let mut places = Vec::new();
    for source in tree.rust_below(AGENT) {
        let home = room_of(source, AGENT);
        let mut named_rooms = BTreeSet::new();
        for path in paths::named(&source.code) {
            for (room, crates) in ROOMS {
                let first = path.segments.first().copied().unwrap_or_default();
                if home != room && path.segments.len() > 1 && crates.contains(&first) {
                    places.push(Place::new(
                        source,
                        path.line,
                        format!("only {room} names {first}"),
                    ));
                }
            }
            let Some(other) =
                target(&path, source, AGENT).filter(|other| is_room(other) && *other != home)
            else {
                continue;
            };
            let is_new = named_rooms.insert(other);
            if is_room(home) {
                places.push(Place::new(
                    source,
                    path.line,
                    format!("{home} must not name {other}"),
                ));
            } else if home != JOINER && is_new && named_rooms.len() > 1 {
                let both = named_rooms
                    .iter()
                    .copied()
                    .collect::<Vec<_>>()
                    .join(" and ");
                places.push(Place::new(
                    source,
                    path.line,
                    format!("only {JOINER} joins {both}"),
                ));
            }
        }
    }
    places
}

/// Checks that no top-level room names one that names it, directly or through others.
pub(super) fn check_cycles(tree: &Tree) -> Vec<Place> {
    PACKAGES
        .iter()
        .flat_map(|package| package_cycles(tree, package))
        .collect()
}

fn package_cycles(tree: &Tree, package: &str) -> Vec<Place> {
    let sources: Vec<_> = tree
        .rust_below(package)
        .filter(|source| !source.is_test())
        .collect();
    let rooms: BTreeSet<_> = sources
        .iter()
        .map(|source| room_of(source, package))
        .collect();
    let mut arrows: BTreeMap<&str, BTreeMap<&str, (&Source, usize)>> = BTreeMap::new();
    for source in &sources {
        let home = room_of(source, package);
        let tests = source.test_lines();
        for path in paths::named(&source.code) {
            let in_tests = tests.iter().any(|lines| lines.contains(&path.line));
            if let Some(&other) = target(&path, source, package).and_then(|name| rooms.get(name))
                && other != home
                && !in_tests
                && !is_root(home)
            {
                arrows
                    .entry(home)
                    .or_default()
                    .entry(other)
                    .or_insert((source, path.line));
            }
        }
    }
    let reaches = |from: &str| reachable(&arrows, from);
    let mut places = Vec::new();
    for (home, others) in &arrows {
        for (other, (source, line)) in others {
            // Each circle is told once, where its first room in the alphabet leaves it.
            if reaches(other).contains(home)
                && reaches(other)
                    .iter()
                    .all(|room| room >= home || !reaches(room).contains(home))
            {
                places.push(Place::new(
                    source,
                    *line,
                    format!("{home} and {other} know each other"),
                ));
            }
        }
    }
    places
}

fn reachable<'a, T>(
    arrows: &BTreeMap<&'a str, BTreeMap<&'a str, T>>,
    from: &str,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = vec![from];
    while let Some(room) = open.pop() {
        for next in arrows.get(room).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(*next) {
                open.push(next);
            }
        }
    }
    found
}

/// Gives the top-level room that a path leads to from the package's root.
fn target<'a>(path: &Named<'a>, source: &Source, package: &str) -> Option<&'a str> {
    let first = *path.segments.first()?;
    match first {
        "crate" => path.segments.get(1).copied(),
        // The package's own library, named from its binary.
        "netverdict" if package == AGENT => path.segments.get(1).copied(),
        "super" => {
            let ups = path
                .segments
                .iter()
                .take_while(|segment| **segment == "super")
                .count();
            path.segments
                .get(ups)
                .copied()
                .filter(|_| ups >= depth(source, package))
        }
        _ => None,
    }
}

/// Gives the number of modules between a file's own and the package's root.
fn depth(source: &Source, package: &str) -> usize {
    let inside = source.path.trim_start_matches(package);
    inside.split('/').count() - usize::from(inside.ends_with("mod.rs"))
}

/// Gives the top-level room that a file is in.
fn room_of<'a>(source: &'a Source, package: &str) -> &'a str {
    let inside = source.path.strip_prefix(package).unwrap_or(&source.path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

fn is_root(room: &str) -> bool {
    room == "lib" || room == "main"
}

fn is_room(name: &str) -> bool {
    ROOMS.iter().any(|(room, _)| *room == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    fn check(rule: fn(&Tree) -> Vec<Place>, files: &[(&str, &str)]) -> Vec<String> {
        rule(&tree(files))
            .into_iter()
            .map(|place| format!("{}:{}: {}", place.path, place.line, place.what))
            .collect()
    }

    #[test]
    fn rooms_that_name_each_other_are_found() {
        for text in [
            "\nuse crate::report::Sink;",
            "\nuse crate::{args, report::Sink};",
            "\nfn f() { super::super::report::f() }",
        ] {
            let found = check(check_apart, &[("node-agent/src/capture/tcx.rs", text)]);
            assert_eq!(
                found,
                ["node-agent/src/capture/tcx.rs:2: capture must not name report"],
                "{text}"
            );
        }
        let from_root = check(
            check_apart,
            &[("node-agent/src/cluster.rs", "use super::capture;")],
        );
        assert_eq!(
            from_root,
            ["node-agent/src/cluster.rs:1: cluster must not name capture"]
        );
    }

    #[test]
    fn a_crate_stays_in_its_room() {
        let found = check(
            check_apart,
            &[(
                "node-agent/src/agent.rs",
                "use aya::Ebpf;\nuse prometheus_client::x;",
            )],
        );
        let wanted = [
            "node-agent/src/agent.rs:1: only capture names aya",
            "node-agent/src/agent.rs:2: only report names prometheus_client",
        ];
        assert_eq!(found, wanted);
        assert!(
            check(
                check_apart,
                &[("node-agent/src/capture/mod.rs", "use aya::Ebpf;")]
            )
            .is_empty()
        );
    }

    #[test]
    fn only_the_agent_joins_rooms() {
        let text = "use crate::capture::Hooks;\nuse netverdict::cluster::Files;";
        assert!(check(check_apart, &[("node-agent/src/agent.rs", text)]).is_empty());
        assert!(check(check_apart, &[("node-agent/src/agent/start.rs", text)]).is_empty());
        let found = check(
            check_apart,
            &[("node-agent/src/commands/evaluate.rs", text)],
        );
        assert_eq!(
            found,
            ["node-agent/src/commands/evaluate.rs:2: only agent joins capture and cluster"]
        );
    }

    #[test]
    fn cycles_are_found_once_and_test_modules_are_free() {
        let files = [
            ("node-agent/engine/src/lib.rs", "mod a; mod b; mod c;"),
            ("node-agent/engine/src/a.rs", "use crate::b::B;"),
            ("node-agent/engine/src/b/inner.rs", "\nuse super::super::c;"),
            ("node-agent/engine/src/c.rs", "use crate::a::A;"),
        ];
        assert_eq!(
            check(check_cycles, &files),
            ["node-agent/engine/src/a.rs:1: a and b know each other"]
        );
        let in_tests = [
            ("node-agent/engine/src/a.rs", "use crate::b::B;"),
            (
                "node-agent/engine/src/b.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
            ),
        ];
        assert!(check(check_cycles, &in_tests).is_empty());
    }
}
