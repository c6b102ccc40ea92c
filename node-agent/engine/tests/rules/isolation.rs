use node_agent_engine::verdict::Reason;
use serde_json::json;

use crate::support::*;

#[test]
fn r1_no_policy_allows_everything() {
    let world = with(&[]);
    world.check(&[
        ("x/a", "x/b", 80, Tcp, Allowed),
        ("x/a", "198.51.100.1", 443, Udp, Allowed),
        ("198.51.100.1", "x/a", 1, Sctp, Allowed),
    ]);
    assert_eq!(
        world.judge("x/a", "x/b", 80, Tcp).ingress.reason,
        Reason::NotIsolated
    );
}

#[test]
fn r2_isolates_its_own_namespace_and_its_directions_only() {
    for selector in [json!({}), json!(null)] {
        let world = with(&[policy(
            "x/deny",
            json!({"podSelector": selector, "policyTypes": ["Ingress"]}),
        )]);
        world.check(&[
            ("y/a", "x/a", 80, Tcp, Denied),
            ("x/b", "x/a", 80, Tcp, Denied),
            ("x/a", "y/a", 80, Tcp, Allowed),
            ("x/a", "y/b", 80, Tcp, Allowed),
            ("y/a", "y/b", 80, Tcp, Allowed),
        ]);
    }
    let world = with(&[policy("x/deny", json!({"policyTypes": ["Egress"]}))]);
    world.check(&[
        ("x/a", "y/a", 80, Tcp, Denied),
        ("y/a", "x/a", 80, Tcp, Allowed),
    ]);
    let world = with(&[policy(
        "x/nobody",
        json!({"podSelector": {"matchLabels": {"app": "none"}}}),
    )]);
    world.check(&[("y/a", "x/a", 80, Tcp, Allowed)]);
    let world = with(&[policy(
        "x/one",
        json!({"podSelector": {"matchLabels": {"app": "a"}}}),
    )]);
    world.check(&[
        ("y/a", "x/a", 80, Tcp, Denied),
        ("y/a", "x/b", 80, Tcp, Allowed),
        ("x/b", "y/a", 80, Tcp, Allowed),
    ]);
}

#[test]
fn r3_policy_types_are_defaulted() {
    let to_y = json!([{"to": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]);
    let from_y = json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]);
    // Rules and types; what y/a -> x/a and x/a -> z/a are.
    let table = [
        (json!({}), Denied, Allowed),
        (json!({"policyTypes": []}), Denied, Allowed),
        (json!({"policyTypes": null}), Denied, Allowed),
        (json!({"egress": []}), Denied, Allowed),
        (json!({"egress": null}), Denied, Allowed),
        (json!({"egress": to_y}), Denied, Denied),
        (json!({"egress": to_y, "policyTypes": []}), Denied, Denied),
        (json!({"ingress": from_y}), Allowed, Allowed),
        (json!({"ingress": from_y, "egress": to_y}), Allowed, Denied),
        (
            json!({"ingress": from_y, "policyTypes": ["Egress"]}),
            Allowed,
            Denied,
        ),
        (
            json!({"egress": to_y, "policyTypes": ["Ingress"]}),
            Denied,
            Allowed,
        ),
        (
            json!({"policyTypes": ["Ingress", "Egress"]}),
            Denied,
            Denied,
        ),
        (
            json!({"policyTypes": ["Egress", "Egress"]}),
            Allowed,
            Denied,
        ),
    ];
    for (spec, into, out) in table {
        let world = with(&[policy("x/p", spec.clone())]);
        assert_eq!(
            world.judge("y/a", "x/a", 80, Tcp).verdict,
            into,
            "into, {spec}"
        );
        assert_eq!(
            world.judge("x/a", "z/a", 80, Tcp).verdict,
            out,
            "out, {spec}"
        );
    }
}

#[test]
fn r4_policies_add_up() {
    let allow = |app: &str| json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app}}}]}]});
    let world = with(&[
        policy("x/deny", json!({})),
        policy("x/from-b", allow("b")),
        policy("x/from-c", allow("c")),
    ]);
    world.check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("x/c", "x/a", 80, Tcp, Allowed),
        ("y/b", "x/a", 80, Tcp, Denied),
    ]);
    let verdict = world.judge("x/c", "x/a", 80, Tcp);
    let isolated: Vec<&str> = verdict
        .ingress
        .isolated_by
        .iter()
        .map(|policy| policy.key.name.as_ref())
        .collect();
    assert_eq!(
        isolated,
        ["deny", "from-b", "from-c"],
        "all of them, in the order of their names"
    );
    let rule = verdict.ingress.allowed_by.unwrap();
    assert_eq!(
        (
            rule.policy.key.name.as_ref(),
            rule.rule,
            rule.peer,
            rule.port
        ),
        ("from-c", 0, Some(0), None)
    );
}

#[test]
fn r9_rule_lists() {
    for nothing in [json!({"ingress": []}), json!({"ingress": null}), json!({})] {
        with(&[policy("x/p", nothing)]).check(&[("x/b", "x/a", 80, Tcp, Denied)]);
    }
    with(&[policy("x/p", json!({"ingress": [{}]}))]).check(&[
        ("198.51.100.1", "x/a", 80, Tcp, Allowed),
        ("y/a", "x/a", 9, Sctp, Allowed),
    ]);
    // The ports of one rule never go with the peers of another.
    let world = with(&[policy(
        "x/p",
        json!({"ingress": [
        {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "c"}}}], "ports": [{"port": 81}]}]}),
    )]);
    world.check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("x/b", "x/a", 81, Tcp, Denied),
        ("x/c", "x/a", 81, Tcp, Allowed),
        ("x/c", "x/a", 80, Tcp, Denied),
    ]);
}
