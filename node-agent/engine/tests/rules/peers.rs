use node_agent_engine::Profile;
use node_agent_engine::verdict::LeftOpen;
use serde_json::{Value, json};

use crate::support::*;

fn from(peers: Value) -> World {
    with(&[policy(
        "x/p",
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": peers}]}),
    )])
}

fn block(cidr: &str, except: &[&str]) -> World {
    from(json!([{"ipBlock": {"cidr": cidr, "except": except}}]))
}

#[test]
fn r10_no_peers_is_everybody() {
    for peers in [json!([]), json!(null)] {
        let world = from(peers);
        world.check(&[
            ("x/b", "x/a", 80, Tcp, Allowed),
            ("198.51.100.1", "x/a", 80, Tcp, Allowed),
            ("2001:db8::1", "x/a", 80, Tcp, Allowed),
        ]);
    }
    let world = with(&[
        node("n", "192.0.2.1"),
        policy(
            "x/p",
            json!({"egress": [{"to": [], "ports": [{"port": 80}]}], "policyTypes": ["Egress"]}),
        ),
    ]);
    world.check(&[
        ("x/a", "192.0.2.1", 80, Tcp, Allowed),
        ("x/a", "198.51.100.1", 80, Tcp, Allowed),
        ("x/a", "y/a", 81, Tcp, Denied),
    ]);
}

#[test]
fn r11_blocks_are_of_one_family_and_masked() {
    block("0.0.0.0/0", &[]).check(&[
        ("198.51.100.1", "x/a", 80, Tcp, Allowed),
        ("2001:db8::1", "x/a", 80, Tcp, Denied),
    ]);
    block("::/0", &[]).check(&[
        ("198.51.100.1", "x/a", 80, Tcp, Denied),
        ("2001:db8::1", "x/a", 80, Tcp, Allowed),
    ]);
    block("203.0.113.77/24", &[]).check(&[
        ("203.0.113.0", "x/a", 80, Tcp, Allowed),
        ("203.0.113.255", "x/a", 80, Tcp, Allowed),
        ("203.0.114.0", "x/a", 80, Tcp, Denied),
        ("::ffff:203.0.113.9", "x/a", 80, Tcp, Allowed),
    ]);
}

#[test]
fn r12_an_exception_is_no_deny() {
    let world = block("203.0.113.0/24", &["203.0.113.8/29", "203.0.113.128/25"]);
    world.check(&[
        ("203.0.113.7", "x/a", 80, Tcp, Allowed),
        ("203.0.113.8", "x/a", 80, Tcp, Denied),
        ("203.0.113.15", "x/a", 80, Tcp, Denied),
        ("203.0.113.16", "x/a", 80, Tcp, Allowed),
        ("203.0.113.200", "x/a", 80, Tcp, Denied),
    ]);
    let world = from(
        json!([{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.8/29"]}}, {"ipBlock": {"cidr": "203.0.113.8/32"}}]),
    );
    world.check(&[
        ("203.0.113.8", "x/a", 80, Tcp, Allowed),
        ("203.0.113.9", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r13_a_pod_selector_looks_into_the_own_namespace() {
    from(json!([{"podSelector": {}}])).check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("y/b", "x/a", 80, Tcp, Denied),
        ("198.51.100.1", "x/a", 80, Tcp, Denied),
    ]);
    from(json!([{"podSelector": {"matchLabels": {"app": "b"}}}])).check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("x/c", "x/a", 80, Tcp, Denied),
        ("y/b", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r14_a_namespace_selector_looks_into_those_that_match() {
    from(json!([{"namespaceSelector": {}}])).check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("z/a", "x/a", 80, Tcp, Allowed),
        ("198.51.100.1", "x/a", 80, Tcp, Denied),
    ]);
    from(json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": null}]))
        .check(&[
            ("y/a", "x/a", 80, Tcp, Allowed),
            ("y/b", "x/a", 80, Tcp, Allowed),
            ("x/b", "x/a", 80, Tcp, Denied),
        ]);
    from(json!([{"namespaceSelector": null, "podSelector": {}}])).check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("y/a", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r15_both_selectors_must_match() {
    from(json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "b"}}}])).check(&[
        ("y/b", "x/a", 80, Tcp, Allowed),
        ("y/a", "x/a", 80, Tcp, Denied),
        ("x/b", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r16_one_of_several_peers_is_enough() {
    from(json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"podSelector": {"matchLabels": {"app": "b"}}}])).check(&[
        ("y/b", "x/a", 80, Tcp, Allowed),
        ("y/a", "x/a", 80, Tcp, Allowed),
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("x/c", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r17_selectors_select_pods_only() {
    let mut world = from(json!([{"namespaceSelector": {}, "podSelector": {}}]));
    world.add(&node("n", "192.0.2.1"));
    world.check(&[
        ("192.0.2.1", "x/a", 80, Tcp, Denied),
        ("198.51.100.1", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r18_blocks_match_pods_but_not_on_cilium() {
    let world = block("10.0.0.0/24", &["10.0.0.3/32"]);
    world.check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("x/c", "x/a", 80, Tcp, Denied),
    ]);
    let table = [
        (Profile::Generic, Allowed),
        (Profile::KubeRouter, Allowed),
        (Profile::Calico, Allowed),
        (Profile::Cilium, Denied),
        (Profile::Disputed, Unknown),
    ];
    for (profile, expected) in table {
        assert_eq!(
            world.judge_as(profile, "x/b", "x/a", 80, Tcp).verdict,
            expected,
            "{profile:?}"
        );
        assert_eq!(
            world.judge_as(profile, "10.0.0.77", "x/a", 80, Tcp).verdict,
            Allowed,
            "{profile:?}, an address of nobody"
        );
    }
}

/// Who enforces is one of several: a block that Cilium would not hold a pod or node against says nothing.
#[test]
fn r18_is_open_where_it_may_be_cilium() {
    let mut world = block("10.0.0.0/24", &["10.0.0.3/32"]);
    world.add(&node("n", "10.0.0.200"));
    for (from, expected, left_open) in [
        ("x/b", Unknown, Some(LeftOpen::Dataplane)),
        ("10.0.0.200", Unknown, Some(LeftOpen::Dataplane)),
        ("x/c", Denied, None),
        ("10.0.0.77", Allowed, None),
        ("198.51.100.1", Denied, None),
    ] {
        let verdict = world.judge_as(Profile::Disputed, from, "x/a", 80, Tcp);
        assert_eq!(
            (verdict.ingress.verdict, verdict.ingress.left_open),
            (expected, left_open),
            "{from}"
        );
    }
}

#[test]
fn r36_selectors_take_every_address_of_a_pod_and_blocks_the_one_that_is_used() {
    let dual = pod_with(
        "x/dual",
        &["10.0.1.1", "2001:db8::1"],
        json!({"app": "dual"}),
        json!({}),
    );
    let to = |peer: Value| {
        let mut world = with(&[policy(
            "x/p",
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": [peer]}]}),
        )]);
        world.add(&dual);
        world
    };
    to(json!({"podSelector": {"matchLabels": {"app": "dual"}}})).check(&[
        ("x/dual@10.0.1.1", "x/a", 80, Tcp, Allowed),
        ("x/dual@2001:db8::1", "x/a", 80, Tcp, Allowed),
        ("2001:db8::1", "x/a", 80, Tcp, Allowed),
    ]);
    to(json!({"ipBlock": {"cidr": "2001:db8::/32"}})).check(&[
        ("x/dual@10.0.1.1", "x/a", 80, Tcp, Denied),
        ("x/dual@2001:db8::1", "x/a", 80, Tcp, Allowed),
        ("x/dual", "x/a", 80, Tcp, Denied),
    ]);
}
