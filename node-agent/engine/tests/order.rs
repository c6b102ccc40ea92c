//! What the cluster says depends on what there is, not on the order or the way in which it came about.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::net::IpAddr;
use std::sync::Arc;

use node_agent_engine::k8s::{Decode, decode};
use node_agent_engine::model::{Delta, ObjectKey, PolicyKey, Protocol};
use node_agent_engine::{Change, Cluster, Moment, Verdict};
use node_agent_engine::{Connection, Profile};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMESPACES: [&str; 2] = ["x", "y"];
const NAMES: [&str; 2] = ["a", "b"];
const APPS: [&str; 3] = ["web", "db", ""];

/// The address of a pod never is another pod's: two owners at once are another matter.
fn address(namespace: &str, name: &str, moved: bool) -> String {
    let place = |list: &[&str], word: &str| list.iter().position(|item| *item == word).unwrap();
    let number = place(&NAMESPACES, namespace) * 4 + place(&NAMES, name) * 2 + usize::from(moved);
    format!("10.0.0.{}", number + 1)
}

fn one(object: &Value) -> Delta {
    decode(object, &Decode::default()).unwrap().remove(0)
}

fn selector() -> impl Strategy<Value = Value> {
    let app = prop::sample::select(&APPS[..]);
    prop_oneof![
        Just(json!({})),
        app.clone().prop_map(|app| json!({"matchLabels": {"app": app}})),
        app.prop_map(|app| json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [app]}]})),
        Just(json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]})),
    ]
}

fn peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        selector().prop_map(|pods| json!({"podSelector": pods})),
        selector().prop_map(
            |pods| json!({"namespaceSelector": {"matchLabels": {"team": "1"}}, "podSelector": pods})
        ),
        (0_u8..8).prop_map(|last| json!({"ipBlock": {"cidr": format!("10.0.0.{last}/30")}})),
    ]
}

fn rule(list: &'static str) -> impl Strategy<Value = Value> {
    let ports = prop_oneof![
        Just(json!([])),
        Just(json!([{"port": 80}])),
        Just(json!([{"port": "web"}]))
    ];
    (vec(peer(), 0..3), ports)
        .prop_map(move |(peers, ports)| json!({(list): peers, "ports": ports}))
}

fn policy() -> impl Strategy<Value = Delta> {
    let names = (
        prop::sample::select(&NAMESPACES[..]),
        prop::sample::select(&NAMES[..]),
    );
    let rules = (vec(rule("from"), 0..3), vec(rule("to"), 0..3));
    (names, selector(), rules).prop_map(|((namespace, name), subject, (ingress, egress))| {
        one(
            &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"podSelector": subject, "ingress": ingress, "egress": egress}}),
        )
    })
}

/// Of the whole cluster: it looks at labels of namespaces and nodes, and its rules at each other.
fn cluster_policy() -> impl Strategy<Value = Delta> {
    let team = prop_oneof![
        Just(json!({})),
        Just(json!({"matchLabels": {"team": "1"}})),
        Just(json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["1"]}]})),
    ];
    let pods = (team, selector())
        .prop_map(|(team, pods)| json!({"pods": {"namespaceSelector": team, "podSelector": pods}}));
    let pods = pods.boxed();
    let to = prop_oneof![
        pods.clone(),
        Just(json!({"nodes": {"matchLabels": {"role": "1"}}})),
        (0_u8..8).prop_map(|last| json!({"networks": [format!("10.0.0.{last}/30")]})),
        Just(json!({"domainNames": ["example.org"]})),
    ];
    let action = || prop::sample::select(&["Accept", "Deny", "Pass"][..]);
    let rules = (
        vec((action(), pods.clone()), 0..3),
        vec((action(), to), 0..3),
    );
    let place = (
        prop::sample::select(&NAMES[..]),
        prop::sample::select(&["Admin", "Baseline"][..]),
        0..2_u8,
    );
    (place, pods, rules).prop_map(|((name, tier, priority), subject, (ingress, egress))| {
        let rule = |list: &str, (action, peer): &(&str, Value)| json!({"action": action, (list): [peer]});
        let ingress: Vec<Value> = ingress.iter().map(|of| rule("from", of)).collect();
        let egress: Vec<Value> = egress.iter().map(|of| rule("to", of)).collect();
        one(&json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": name},
            "spec": {"tier": tier, "priority": priority, "subject": subject, "ingress": ingress, "egress": egress}}))
    })
}

fn pod() -> impl Strategy<Value = Delta> {
    let names = (
        prop::sample::select(&NAMESPACES[..]),
        prop::sample::select(&NAMES[..]),
    );
    let phase = prop::sample::select(&["Running", "Running", "Succeeded"][..]);
    let about = (any::<bool>(), any::<bool>(), any::<bool>(), 1..3_u8);
    (names, prop::sample::select(&APPS[..]), phase, about).prop_map(|((namespace, name), app, phase, (moved, web, host, uid))| {
        let port = if web { 80 } else { 8080 };
        one(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "uid": uid.to_string(), "labels": {"app": app}},
            "spec": {"nodeName": "n", "hostNetwork": host && web && moved, "containers": [{"ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"phase": phase, "podIP": address(namespace, name, moved)}}))
    })
}

fn delta() -> impl Strategy<Value = Delta> {
    let namespace = (prop::sample::select(&NAMESPACES[..]), 0..3_u8).prop_map(|(name, team)| {
        one(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team.to_string()}}}))
    });
    let node = (200_u8..204, 0..2_u8).prop_map(|(last, role)| {
        one(
            &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"role": role.to_string()}},
            "status": {"addresses": [{"address": format!("10.0.0.{last}")}]}}),
        )
    });
    let changed =
        prop_oneof![3 => policy(), 2 => cluster_policy(), 3 => pod(), 1 => namespace, 1 => node];
    (changed, prop::bool::weighted(0.25))
        .prop_map(|(delta, gone)| if gone { without(delta) } else { delta })
}

fn without(delta: Delta) -> Delta {
    match delta {
        Delta::Policy(policy) => Delta::PolicyGone(policy.key),
        Delta::Pod(pod) => Delta::PodGone(pod.key),
        Delta::Namespace(namespace) => Delta::NamespaceGone(namespace.name),
        Delta::Node(node) => Delta::NodeGone(node.name),
        other => other,
    }
}

/// What a delta is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Namespace(Arc<str>),
    Pod(ObjectKey),
    Node(Arc<str>),
    Policy(PolicyKey),
}

fn about(delta: &Delta) -> About {
    match delta {
        Delta::Namespace(namespace) => About::Namespace(Arc::clone(&namespace.name)),
        Delta::NamespaceGone(name) => About::Namespace(Arc::clone(name)),
        Delta::Pod(pod) => About::Pod(pod.key.clone()),
        Delta::PodGone(key) => About::Pod(key.clone()),
        Delta::Node(node) => About::Node(Arc::clone(&node.name)),
        Delta::NodeGone(name) => About::Node(Arc::clone(name)),
        Delta::Policy(policy) => About::Policy(policy.key.clone()),
        Delta::PolicyGone(key) => About::Policy(key.clone()),
        other => panic!("not made here: {other:?}"),
    }
}

fn is_gone(delta: &Delta) -> bool {
    matches!(
        delta,
        Delta::NamespaceGone(_) | Delta::PodGone(_) | Delta::NodeGone(_) | Delta::PolicyGone(_)
    )
}

/// What is left at the end: the last word on each object.
fn last_words(deltas: &[Delta]) -> Vec<Delta> {
    let mut last = std::collections::BTreeMap::new();
    for delta in deltas {
        last.insert(about(delta), delta.clone());
    }
    last.into_values().filter(|delta| !is_gone(delta)).collect()
}

fn build(deltas: &[Delta]) -> (Cluster, Moment) {
    let mut cluster = Cluster::new();
    let mut now = Moment(0);
    for delta in deltas {
        now = now.plus(1_000_000_000);
        cluster.apply(delta, now);
    }
    (cluster, now)
}

/// The verdict between any two addresses that somebody may have.
fn answers(cluster: &Cluster, now: Moment) -> Vec<Verdict> {
    let ends: Vec<IpAddr> = (1..=8)
        .chain(200..204)
        .map(|last| IpAddr::from([10, 0, 0, last]))
        .collect();
    let pairs = ends
        .iter()
        .flat_map(|from| ends.iter().map(move |to| (*from, *to)));
    pairs
        .map(|(from, to)| {
            let connection = Connection {
                source: cluster.party_at(from, now),
                destination: cluster.party_at(to, now),
                protocol: Protocol::Tcp,
                port: Some(80),
                via_service: false,
            };
            cluster.evaluate(&connection, Profile::Generic)
        })
        .collect()
}

/// What is held, as it is told.
fn state(cluster: &Cluster) -> Vec<String> {
    let held = cluster.state();
    held.map(|held| serde_json::to_string(&held).unwrap())
        .collect()
}

/// Long after everything: nobody remembers how it came about.
fn later(now: Moment) -> Moment {
    now.plus(3_600_000_000_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_gives_the_same_verdicts((ordered, shuffled) in vec(delta(), 1..16)
        .prop_map(|deltas| last_words(&deltas))
        .prop_flat_map(|deltas| (Just(deltas.clone()), Just(deltas).prop_shuffle())))
    {
        let (one, now) = build(&ordered);
        let (other, _) = build(&shuffled);
        prop_assert_eq!(answers(&one, later(now)), answers(&other, later(now)));
        prop_assert_eq!(state(&one), state(&other));
    }

    #[test]
    fn a_history_ends_where_a_fresh_build_begins(deltas in vec(delta(), 1..40)) {
        let (lived, now) = build(&deltas);
        let (fresh, _) = build(&last_words(&deltas));
        prop_assert_eq!(answers(&lived, later(now)), answers(&fresh, later(now)));
        prop_assert_eq!(state(&lived), state(&fresh));
    }

    #[test]
    fn a_change_that_is_none_changes_no_verdict(deltas in vec(delta(), 1..16), next in delta()) {
        let (mut cluster, now) = build(&deltas);
        let before = answers(&cluster, later(now));
        let change = cluster.apply(&next, now.plus(1));
        if change == Change::None {
            prop_assert_eq!(before, answers(&cluster, later(now)));
        }
        prop_assert_eq!(cluster.apply(&next, now.plus(2)), Change::None, "the same again");
    }
}
