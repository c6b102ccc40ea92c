use node_agent_engine::k8s::{Decode, Validation, decode};
use serde_json::{Value, json};

use crate::support::*;

/// Whether a policy with that pod selector isolates a pod with those labels.
fn isolates(selector: &Value, labels: &Value) -> bool {
    let world = World::of(&[
        pod("x/a", "10.0.0.1", labels.clone()),
        policy("x/p", json!({"podSelector": selector})),
    ]);
    world.judge("198.51.100.1", "x/a", 80, Tcp).verdict == Denied
}

#[track_caller]
fn check(rows: &[(Value, Value, bool)]) {
    for (selector, labels, expected) in rows {
        assert_eq!(
            isolates(selector, labels),
            *expected,
            "{selector} on {labels}"
        );
    }
}

#[test]
fn r5_everything_in_a_selector_must_hold() {
    let two = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["2", "3"]}]});
    let twice = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}, {"key": "a", "operator": "NotIn", "values": ["2"]}]});
    check(&[
        (json!({}), json!({}), true),
        (
            json!({"matchLabels": {}, "matchExpressions": []}),
            json!({"a": "1"}),
            true,
        ),
        (json!({"matchLabels": null}), json!({"a": "1"}), true),
        (two.clone(), json!({"a": "1", "b": "3"}), true),
        (two.clone(), json!({"a": "1"}), false),
        (two, json!({"b": "3"}), false),
        (twice.clone(), json!({"a": "1"}), true),
        (twice, json!({"a": "2"}), false),
    ]);
}

#[test]
fn r6_an_empty_value_is_a_value() {
    let equal = json!({"matchLabels": {"a": ""}});
    let within = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": [""]}]});
    check(&[
        (equal.clone(), json!({"a": ""}), true),
        (equal.clone(), json!({}), false),
        (equal, json!({"a": "1"}), false),
        (within.clone(), json!({"a": ""}), true),
        (within, json!({}), false),
    ]);
    let world = with(&[policy(
        "x/p",
        json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"empty": ""}}}]}]}),
    )]);
    world.check(&[
        ("y/a", "x/a", 80, Tcp, Allowed),
        ("z/a", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r7_not_in_and_does_not_exist_match_what_is_absent() {
    let not_in = json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]});
    let absent = json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]});
    check(&[
        (not_in.clone(), json!({}), true),
        (not_in.clone(), json!({"a": "2"}), true),
        (not_in.clone(), json!({"a": ""}), true),
        (not_in, json!({"a": "1"}), false),
        (absent.clone(), json!({}), true),
        (absent, json!({"a": ""}), false),
    ]);
}

#[test]
fn r8_exists_and_case_and_what_cannot_be_right() {
    let exists = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
    check(&[
        (exists.clone(), json!({"a": ""}), true),
        (exists, json!({"A": "1"}), false),
        (json!({"matchLabels": {"a": "X"}}), json!({"a": "x"}), false),
    ]);
    let bad = [
        json!({"key": "a", "operator": "In"}),
        json!({"key": "a", "operator": "NotIn", "values": []}),
        json!({"key": "a", "operator": "Exists", "values": ["1"]}),
        json!({"key": "a", "operator": "Like", "values": ["1"]}),
    ];
    for expression in bad {
        let object = policy(
            "x/p",
            json!({"podSelector": {"matchExpressions": [expression]}}),
        );
        let rejections = decode(&object, &Decode::default()).unwrap_err();
        assert!(
            rejections.iter().all(|rejection| rejection.rule == "V11"),
            "{rejections:?}"
        );
        // Where it is taken all the same it fails closed: a peer that nobody is.
        let peer =
            json!({"ingress": [{"from": [{"podSelector": {"matchExpressions": [expression]}}]}]});
        let options = Decode {
            validation: Validation::Off,
            ..Decode::default()
        };
        let deltas = decode(&policy("x/p", peer), &options).unwrap();
        let mut world = with(&[]);
        world.cluster.apply(&deltas[0], NOW);
        world.check(&[("x/b", "x/a", 80, Tcp, Denied)]);
    }
}

#[test]
fn r34_every_namespace_has_its_name_as_a_label() {
    let by_name = |name: &str| json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]}]});
    let world = with(&[policy("x/p", by_name("z"))]);
    world.check(&[
        ("z/a", "x/a", 80, Tcp, Allowed),
        ("y/a", "x/a", 80, Tcp, Denied),
    ]);
    // Also one that is known only from its pods, and whatever its object says.
    let world = World::of(&[
        pod("n/a", "10.0.0.1", json!({})),
        pod("m/a", "10.0.0.2", json!({})),
        namespace("m", json!({"kubernetes.io/metadata.name": "liar"})),
        policy("n/p", by_name("n")),
        policy("m/p", by_name("m")),
    ]);
    world.check(&[
        ("n/a", "m/a", 80, Tcp, Denied),
        ("m/a", "n/a", 80, Tcp, Denied),
    ]);
    assert_eq!(
        world.cluster.namespace("m").unwrap().labels["kubernetes.io/metadata.name"].as_ref(),
        "m"
    );
    assert_eq!(
        world.cluster.namespace("n").unwrap().labels["kubernetes.io/metadata.name"].as_ref(),
        "n"
    );
}
