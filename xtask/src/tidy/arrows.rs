//! Which package may depend on which: `ebpf -> common <- node-agent -> engine`.

use serde_json::Value;

use super::{Place, Tree};

/// What a package may depend on.
enum Allowed {
    /// Only these, and with `?` only behind a feature.
    Only(&'static [&'static str]),
    /// Anything but these, and what starts with one of them and a dash or an underscore.
    AnythingBut(&'static [&'static str]),
}

const ARROWS: [(&str, Allowed); 6] = [
    ("node-agent-common", Allowed::Only(&["aya?"])),
    (
        "node-agent-ebpf",
        Allowed::Only(&["node-agent-common", "aya-ebpf", "aya-log-ebpf?"]),
    ),
    (
        "node-agent-engine",
        Allowed::AnythingBut(&[
            "node-agent",
            "netns",
            "aya",
            "tokio",
            "kube",
            "k8s",
            "tracing",
            "chrono",
            "time",
            "prometheus",
        ]),
    ),
    // The enforcement in the namespaces comes from the expectations, never from the engine's own verdicts.
    ("netns", Allowed::AnythingBut(&["node-agent"])),
    // A judge that asks the judged is none.
    ("naive", Allowed::Only(&["ipnet", "serde_json"])),
    (
        "xtask",
        Allowed::AnythingBut(&["node-agent", "netns", "conformance", "fuzz", "naive"]),
    ),
];

/// Checks every package's dependencies; those for tests only are free.
pub(super) fn check(tree: &Tree) -> Vec<Place> {
    let packages = tree.metadata.get("packages").and_then(Value::as_array);
    let root = text(&tree.metadata, "workspace_root");
    let mut places = Vec::new();
    for package in packages.into_iter().flatten() {
        let Some((_, allowed)) = ARROWS
            .iter()
            .find(|(name, _)| *name == text(package, "name"))
        else {
            continue;
        };
        let manifest = text(package, "manifest_path")
            .trim_start_matches(root)
            .trim_start_matches('/');
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        for dependency in dependencies
            .into_iter()
            .flatten()
            .filter(|dependency| text(dependency, "kind") != "dev")
        {
            let name = text(dependency, "name");
            let optional = dependency
                .get("optional")
                .and_then(Value::as_bool)
                .unwrap_or_default();
            if let Some(what) = refusal(allowed, name, optional) {
                let what = format!("{} {what}", text(package, "name"));
                places.push(Place {
                    path: manifest.to_owned(),
                    line: line_of(tree, manifest, name),
                    what,
                });
            }
        }
    }
    places
}

/// Says why a package may not have this dependency.
fn refusal(allowed: &Allowed, name: &str, optional: bool) -> Option<String> {
    match allowed {
        Allowed::Only(names) if names.contains(&name) => None,
        Allowed::Only(names) => {
            let behind_a_feature = names
                .iter()
                .any(|allowed| allowed.strip_suffix('?') == Some(name));
            match (behind_a_feature, optional) {
                (true, true) => None,
                (true, false) => Some(format!("may depend on {name} only behind a feature")),
                (false, _) => Some(format!("must not depend on {name}")),
            }
        }
        Allowed::AnythingBut(names) => names
            .iter()
            .any(|refused| {
                name.strip_prefix(refused)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
            })
            .then(|| format!("must not depend on {name}")),
    }
}

fn line_of(tree: &Tree, manifest: &str, name: &str) -> usize {
    let source = tree.sources.iter().find(|source| source.path == manifest);
    let at = source.and_then(|source| source.text.lines().position(|line| line.starts_with(name)));
    at.map_or(1, |at| at + 1)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tidy::Source;

    fn check_dependency(package: &str, dependency: Value) -> Vec<String> {
        let manifest = format!("/house/{package}/Cargo.toml");
        let packages =
            json!([{ "name": package, "manifest_path": manifest, "dependencies": [dependency] }]);
        let text = format!(
            "[package]\n\n[dependencies]\n{} = \"1\"\n",
            text(&dependency, "name")
        );
        let sources = vec![Source::new(format!("{package}/Cargo.toml"), text)];
        let tree = Tree {
            sources,
            metadata: json!({ "workspace_root": "/house", "packages": packages }),
        };
        check(&tree)
            .into_iter()
            .map(|place| format!("{}:{}: {}", place.path, place.line, place.what))
            .collect()
    }

    #[test]
    fn forbidden_arrows_are_found() {
        for (package, name) in [
            ("node-agent-common", "serde"),
            ("node-agent-ebpf", "libc"),
            ("node-agent-engine", "node-agent-common"),
            ("node-agent-engine", "tokio"),
            ("node-agent-engine", "tracing-subscriber"),
            ("netns", "node-agent-engine"),
        ] {
            let found = check_dependency(
                package,
                json!({ "name": name, "kind": null, "optional": false }),
            );
            assert_eq!(
                found,
                [format!(
                    "{package}/Cargo.toml:4: {package} must not depend on {name}"
                )]
            );
        }
    }

    #[test]
    fn some_are_allowed_behind_a_feature_only() {
        let found = check_dependency(
            "node-agent-common",
            json!({ "name": "aya", "kind": null, "optional": false }),
        );
        assert_eq!(
            found,
            [
                "node-agent-common/Cargo.toml:4: node-agent-common may depend on aya only behind a feature"
            ]
        );
        let optional = json!({ "name": "aya", "kind": null, "optional": true });
        assert!(check_dependency("node-agent-common", optional).is_empty());
    }

    #[test]
    fn the_drawn_arrows_and_tests_own_dependencies_are_free() {
        for (package, name, kind) in [
            ("node-agent-ebpf", "node-agent-common", Value::Null),
            ("node-agent-engine", "timely", Value::Null),
            ("node-agent-common", "proptest", json!("dev")),
            ("node-agent", "tokio", Value::Null),
        ] {
            assert!(
                check_dependency(
                    package,
                    json!({ "name": name, "kind": kind, "optional": false })
                )
                .is_empty()
            );
        }
    }
}
