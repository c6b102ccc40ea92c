//! Policies of the whole cluster come, go and are kept like any other.

use node_agent_engine::k8s::{Decode, decode};
use node_agent_engine::model::Delta;
use node_agent_engine::record;
use node_agent_engine::{Change, Moment};
use serde_json::{Value, json};

use crate::support::*;

fn one(object: &Value) -> Delta {
    decode(object, &Decode::default()).unwrap().remove(0)
}

#[test]
fn a_change_of_a_policy_or_of_what_it_looks_at_moves_verdicts_and_is_dated() {
    let team = json!({"namespaces": {"matchLabels": {"team": "b"}}});
    let spec = json!({"subject": team, "egress": [
        {"action": "Deny", "to": [{"nodes": {"matchLabels": {"role": "control"}}}]},
        {"action": "Deny", "to": [{"pods": {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {}}}]},
    ]});
    let deny = one(&cluster_policy("p", "Admin", 1, spec));
    let mut control = node("n", "192.0.2.1");
    let mut world = with(&[control.clone()]);
    control["metadata"]["labels"] = json!({"role": "control"});
    let Delta::Policy(policy) = deny.clone() else {
        panic!()
    };
    let key = policy.key.clone();
    let policy_change = |change| Change::Policy {
        key: key.clone(),
        change,
    };
    // What changes, what that is, and whether y/a and then z/a may go to the node and to x/a.
    let steps = [
        (
            deny.clone(),
            policy_change(record::Change::Added),
            [Allowed, Denied, Allowed, Allowed],
        ),
        (deny, Change::None, [Allowed, Denied, Allowed, Allowed]),
        (
            one(&control),
            Change::Verdicts,
            [Denied, Denied, Allowed, Allowed],
        ),
        (
            one(&namespace("z", json!({"team": "b"}))),
            Change::Verdicts,
            [Denied, Denied, Denied, Denied],
        ),
        (
            one(&namespace("x", json!({}))),
            Change::Verdicts,
            [Denied, Allowed, Denied, Allowed],
        ),
        (
            Delta::NamespaceGone("y".into()),
            Change::Verdicts,
            [Allowed, Allowed, Denied, Allowed],
        ),
        (
            Delta::PolicyGone(key.clone()),
            policy_change(record::Change::Removed),
            [Allowed; 4],
        ),
    ];
    for (number, (delta, change, expected)) in steps.into_iter().enumerate() {
        let ends = [
            ("y/a", "192.0.2.1"),
            ("y/a", "x/a"),
            ("z/a", "192.0.2.1"),
            ("z/a", "x/a"),
        ];
        let judged = |world: &World| ends.map(|(from, to)| world.judge(from, to, 80, Tcp).verdict);
        let before = judged(&world);
        let now = Moment(NOW.0 + 1 + u64::try_from(number).unwrap());
        assert_eq!(world.cluster.apply(&delta, now), change, "step {number}");
        let after = judged(&world);
        assert_eq!(after, expected, "step {number}");
        for (index, (from, to)) in ends.into_iter().enumerate() {
            let settled = world
                .cluster
                .settled_since(&world.connection(from, to, 80, Tcp));
            assert!(settled <= now);
            if before[index] != after[index] {
                assert_eq!(settled, now, "step {number}, {from} -> {to}");
            }
        }
    }
    assert!(world.cluster.policies().next().is_none());
}

#[test]
fn a_recorded_policy_is_the_same_again() {
    let rules = json!([
        {"action": "Pass", "to": [{"networks": ["10.0.0.0/8"]}, {"nodes": {}}, {"domainNames": ["*.example.org"]}]},
        {"action": "Accept", "to": [everybody()], "protocols": [{"destinationNamedPort": "web"}]},
    ]);
    let delta = one(&cluster_policy(
        "p",
        "Baseline",
        7,
        json!({"subject": everybody(), "egress": rules}),
    ));
    let line = serde_json::to_string(&delta).unwrap();
    assert_eq!(serde_json::from_str::<Delta>(&line).unwrap(), delta);
}
