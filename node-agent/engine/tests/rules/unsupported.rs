//! Policies of kinds that are not evaluated yet: where one may apply nothing is claimed, elsewhere nothing changes.

use node_agent_engine::Change;
use node_agent_engine::k8s::{Decode, decode, unread_policy};
use node_agent_engine::model::{Delta, PolicyKey};
use node_agent_engine::verdict::{Reason, UnknownBecause};
use serde_json::{Value, json};

use crate::support::*;

fn foreign(version: &str, kind: &str, namespace: Option<&str>, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "other", "namespace": namespace}, "spec": spec})
}

fn cilium(spec: Value) -> Value {
    foreign("cilium.io/v2", "CiliumNetworkPolicy", Some("x"), spec)
}

fn calico(spec: Value) -> Value {
    foreign("projectcalico.org/v3", "NetworkPolicy", Some("x"), spec)
}

fn global(spec: Value) -> Value {
    let version = "crd.projectcalico.org/v1";
    foreign(version, "GlobalNetworkPolicy", None, spec)
}

#[test]
fn where_one_may_apply_the_verdict_is_unknown_and_names_it() {
    for (object, kind, namespace) in [
        (
            cilium(json!({"endpointSelector": {}, "ingress": [{}]})),
            "CiliumNetworkPolicy",
            "x",
        ),
        (
            foreign(
                "cilium.io/v2",
                "CiliumClusterwideNetworkPolicy",
                None,
                json!({"endpointSelector": {}, "ingress": []}),
            ),
            "CiliumClusterwideNetworkPolicy",
            "",
        ),
        (calico(json!({})), "NetworkPolicy.projectcalico.org", "x"),
        (
            foreign(
                "crd.projectcalico.org/v1",
                "NetworkPolicy",
                Some("x"),
                json!({"selector": "all()"}),
            ),
            "NetworkPolicy.crd.projectcalico.org",
            "x",
        ),
        (
            global(json!({"selector": "has(app)", "types": ["Ingress"]})),
            "GlobalNetworkPolicy.crd.projectcalico.org",
            "",
        ),
    ] {
        let world = with(&[policy("x/deny", json!({})), object]);
        let verdict = world.judge("y/a", "x/a", 80, Tcp);
        assert_eq!(verdict.verdict, Unknown, "{kind}");
        assert_eq!(
            verdict.unknown_because,
            Some(UnknownBecause::UnsupportedPolicy),
            "{kind}"
        );
        let named = &verdict.ingress.unsupported[0].key;
        assert_eq!((&*named.kind, &*named.namespace), (kind, namespace));
        assert_eq!(verdict.ingress.would_allow, None);
        // A NetworkPolicy of that kind's name is another object.
        assert_eq!(verdict.ingress.isolated_by.len(), 1);
    }
}

#[test]
fn it_reaches_no_further_than_its_namespace_selector_and_direction() {
    let policies = [
        (
            "namespace",
            calico(json!({})),
            [Unknown, Unknown, Allowed, Allowed],
        ),
        (
            "labels of Cilium",
            cilium(json!({"endpointSelector": {"matchLabels": {"k8s:app": "a"}}, "ingress": [{}]})),
            [Unknown, Allowed, Allowed, Allowed],
        ),
        (
            "expressions of Cilium",
            cilium(
                json!({"endpointSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]},
                "ingressDeny": [{}]}),
            ),
            [Allowed, Unknown, Allowed, Allowed],
        ),
        (
            "several rules",
            json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "n", "namespace": "x"},
                "specs": [{"endpointSelector": {"matchLabels": {"app": "none"}}}, {"endpointSelector": {}, "ingress": []}]}),
            [Unknown, Unknown, Allowed, Allowed],
        ),
        (
            "a label that Cilium makes",
            cilium(
                json!({"endpointSelector": {"matchLabels": {"io.cilium.k8s.policy.cluster": "c"}}, "ingress": [{}]}),
            ),
            [Unknown, Unknown, Allowed, Allowed],
        ),
        (
            "egress only",
            cilium(json!({"endpointSelector": {}, "egress": [{}]})),
            [Allowed, Allowed, Unknown, Unknown],
        ),
        (
            "rules for egress only",
            calico(json!({"egress": [{"action": "Deny"}]})),
            [Allowed, Allowed, Unknown, Unknown],
        ),
        (
            "types",
            calico(json!({"types": ["Egress"]})),
            [Allowed, Allowed, Unknown, Unknown],
        ),
        (
            "an expression",
            calico(json!({"selector": "app in {'b', 'c'}"})),
            [Allowed, Unknown, Allowed, Allowed],
        ),
        (
            "an expression that is not understood",
            calico(json!({"selector": "app == 'b' || app == 'c'"})),
            [Unknown, Unknown, Allowed, Allowed],
        ),
        (
            "namespaces of the whole cluster",
            global(json!({"namespaceSelector": "team == 'b'"})),
            [Allowed, Allowed, Unknown, Unknown],
        ),
        (
            "a selector of hosts that does not reach pods",
            global(
                json!({"selector": "role == 'gateway'", "types": ["Ingress", "Egress"], "applyOnForward": false}),
            ),
            [Allowed; 4],
        ),
    ];
    for (what, object, expected) in policies {
        let world = with(&[object]);
        let pairs = [
            ("y/a", "x/a"),
            ("y/a", "x/b"),
            ("x/a", "y/a"),
            ("x/b", "y/b"),
        ];
        let found = pairs.map(|(from, to)| world.judge(from, to, 80, Tcp).verdict);
        assert_eq!(found, expected, "{what}");
    }
}

/// Calico's policies of hosts say something of what a host forwards, whatever labels its pods have.
#[test]
fn one_for_what_hosts_forward_reaches_every_pod_in_its_directions() {
    for field in ["applyOnForward", "preDNAT", "doNotTrack"] {
        for (direction, to_x, from_x) in
            [("Ingress", Unknown, Allowed), ("Egress", Allowed, Unknown)]
        {
            let mut spec = json!({"selector": "role == 'gateway'", "types": [direction],
                "namespaceSelector": "team == 'none'"});
            spec[field] = json!(true);
            let world = with(&[global(spec)]);
            world.check(&[
                ("192.0.2.1", "x/a", 80, Tcp, to_x),
                ("x/a", "192.0.2.1", 80, Tcp, from_x),
                ("x/a", "y/a", 80, Tcp, Unknown),
            ]);
        }
    }
}

#[test]
fn the_other_side_still_denies() {
    let world = with(&[
        policy("y/deny", json!({"policyTypes": ["Egress"]})),
        calico(json!({})),
    ]);
    world.check(&[("y/a", "x/a", 80, Tcp, Denied)]);
}

#[test]
fn one_of_the_whole_cluster_may_select_nodes() {
    let mut objects = three();
    objects.extend([node("n", "192.0.2.1"), global(json!({"selector": "all()"}))]);
    let world = World::of(&objects);
    let verdict = world.judge("192.0.2.1", "198.51.100.1", 80, Tcp);
    assert_eq!(
        (verdict.verdict, verdict.egress.reason),
        (Unknown, Reason::NotSubject)
    );
    assert_eq!(verdict.egress.unsupported.len(), 1);
}

#[test]
fn what_becomes_of_it_is_a_change_of_the_pods_that_it_may_select() {
    let mut world = with(&[]);
    let connection = world.connection("y/a", "x/a", 80, Tcp);
    let later = node_agent_engine::Moment(NOW.0 * 50);
    for delta in decode(&calico(json!({})), &Decode::default()).unwrap() {
        world.cluster.apply(&delta, later);
    }
    assert_eq!(world.cluster.settled_since(&connection), later);
    assert_eq!(world.cluster.unsupported(), 1);
}

#[test]
fn staged_kinds_apply_to_nobody() {
    for kind in [
        "StagedNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "StagedKubernetesNetworkPolicy",
    ] {
        let staged = foreign(
            "projectcalico.org/v3",
            kind,
            Some("x"),
            json!({"selector": "all()"}),
        );
        assert_eq!(decode(&staged, &Decode::default()).unwrap(), []);
    }
}

#[test]
fn one_without_a_name_is_none() {
    let mut object = cilium(json!({}));
    object["metadata"] = json!({});
    let wrong = decode(&object, &Decode::default()).unwrap_err();
    assert_eq!((&*wrong[0].field, wrong[0].rule), ("metadata.name", "V13"));
}

/// What cannot be read may select anybody where it lies, in both directions, and nobody elsewhere.
#[test]
fn a_policy_that_was_not_read_leaves_its_namespace_unknown_or_the_whole_cluster() {
    for (namespace, of_x, of_y) in [("x", Unknown, Allowed), ("", Unknown, Unknown)] {
        let mut world = with(&[]);
        let key = PolicyKey {
            kind: "NetworkPolicy".into(),
            namespace: namespace.into(),
            name: "*".into(),
        };
        let policy = Delta::Policy(unread_policy(key.clone()));
        let change = world.cluster.apply(&policy, NOW);
        assert_eq!(change, Change::Verdicts, "nobody made it");
        for (from, to, wanted) in [
            ("y/a", "x/a", of_x),
            ("x/a", "y/a", of_x),
            ("y/a", "y/b", of_y),
        ] {
            let verdict = world.judge(from, to, 80, Tcp);
            assert_eq!(verdict.verdict, wanted, "{namespace}: {from} to {to}");
            let sides = [&verdict.egress, &verdict.ingress];
            let mut named = sides.iter().flat_map(|side| &side.unsupported);
            let is_named = named.any(|policy| policy.key == key);
            assert_eq!(is_named, wanted == Unknown, "{namespace}: {from} to {to}");
        }
        let change = world.cluster.apply(&Delta::PolicyGone(key), NOW);
        assert_eq!(change, Change::Verdicts, "nobody removed it");
    }
}
