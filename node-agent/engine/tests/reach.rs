//! What is said of all ways at once is what is said of each connection by itself, over every pair of addresses.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use node_agent_engine::k8s::{Decode, decode};
use node_agent_engine::model::Protocol;
use node_agent_engine::reach::Way;
use node_agent_engine::record::{Direction, Family};
use node_agent_engine::verdict::Decision;
use node_agent_engine::{Cluster, Connection, Moment, Party, PartyKind, Profile};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

const NOW: Moment = Moment(1);
const BLOCKS: [&str; 7] = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/30",
    "10.0.0.2/32",
    "fd00::/126",
    "fd00::3/128",
    "192.0.2.2/32",
];

fn cluster(objects: &[Value]) -> Cluster {
    let mut cluster = Cluster::new();
    for object in objects {
        for delta in decode(object, &Decode::default()).unwrap() {
            cluster.apply(&delta, NOW);
        }
    }
    cluster
}

fn selector() -> impl Strategy<Value = Value> {
    let app = prop::sample::select(&["web", "db"][..]);
    prop_oneof![
        Just(json!({})),
        app.prop_map(|app| json!({"matchLabels": {"app": app}}))
    ]
}

fn rule(list: &'static str) -> impl Strategy<Value = Value> {
    let block = prop::sample::select(&BLOCKS[..]);
    let peer = prop_oneof![
        3 => block.prop_map(|cidr| json!({"ipBlock": {"cidr": cidr}})),
        1 => selector().prop_map(|pods| json!({"podSelector": pods})),
    ];
    let ports = prop::sample::select(
        &[
            r"[]",
            r#"[{"port":80}]"#,
            r#"[{"port":"web"},{"protocol":"UDP"}]"#,
        ][..],
    );
    (vec(peer, 0..3), ports).prop_map(move |(peers, ports)| {
        let ports: Value = serde_json::from_str(ports).unwrap();
        json!({(list): peers, "ports": ports})
    })
}

fn policy(at: usize) -> impl Strategy<Value = Value> {
    let rules = (vec(rule("from"), 0..3), vec(rule("to"), 0..3));
    let types = prop::sample::select(&["Ingress", "Egress"][..]);
    (selector(), rules, vec(types, 1..3)).prop_map(move |(subject, (ingress, egress), types)| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": format!("p{at}"), "namespace": "x"},
            "spec": {"podSelector": subject, "policyTypes": types, "ingress": ingress, "egress": egress}})
    })
}

fn cluster_policy() -> impl Strategy<Value = Value> {
    let action = prop::sample::select(&["Accept", "Deny", "Pass"][..]);
    let networks = prop::sample::subsequence(BLOCKS.to_vec(), 1..3);
    (action, networks).prop_map(|(action, networks)| {
        json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
            "metadata": {"name": "c"},
            "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                "egress": [{"action": action, "to": [{"networks": networks}]}]}})
    })
}

/// The pods differ in the families they have, and in which of them comes first.
fn pod(at: usize) -> impl Strategy<Value = Value> {
    let (v4, v6) = (format!("10.0.0.{}", at + 1), format!("fd00::{}", at + 1));
    let ips = prop::sample::select(vec![
        vec![v4.clone(), v6.clone()],
        vec![v6.clone(), v4.clone()],
        vec![v4],
        vec![v6],
    ]);
    let app = prop::sample::select(&["web", "db"][..]);
    (ips, app, prop::bool::weighted(0.1)).prop_map(move |(ips, app, host)| {
        let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "x", "name": format!("{app}-{at}"), "labels": {"app": app},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": app, "uid": app, "controller": true}]},
            "spec": {"nodeName": "n", "hostNetwork": host,
                "containers": [{"ports": [{"name": "web", "containerPort": 80 + at}]}]},
            "status": {"phase": "Running", "podIP": ips[0]["ip"], "podIPs": ips}})
    })
}

fn world() -> impl Strategy<Value = Vec<Value>> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "ExternalIP", "address": "192.0.2.2"},
        {"type": "InternalIP", "address": "2001:db8::1"}]}});
    let policies = (policy(0), policy(1), prop::option::of(cluster_policy()));
    ((pod(0), pod(1), pod(2)), policies).prop_map(
        move |((a, b, c), (one, other, of_the_cluster))| {
            let objects = [node.clone(), a, b, c, one, other].into_iter();
            objects.chain(of_the_cluster).collect()
        },
    )
}

type Told = BTreeMap<Family, BTreeSet<&'static str>>;

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::Denied => "denied",
        Decision::Unknown => "unknown",
    }
}

fn family(ip: &IpAddr) -> Family {
    if ip.is_ipv4() {
        Family::IPv4
    } else {
        Family::IPv6
    }
}

/// Two ends and the addresses that each has, the subject first.
struct Ends<'a> {
    cluster: &'a Cluster,
    direction: Direction,
    own: (PartyKind, &'a [IpAddr]),
    other: (PartyKind, &'a [IpAddr]),
}

impl Ends<'_> {
    /// One by one, what is not denied; nothing of a family that not both have.
    fn one_by_one(&self, protocol: Protocol, port: u16) -> Told {
        let mut told = Told::new();
        let other_ips = self.other.1;
        let pairs = self
            .own
            .1
            .iter()
            .flat_map(|own| other_ips.iter().map(move |other| (*own, *other)));
        for (own, other) in pairs.filter(|(own, other)| own.is_ipv4() == other.is_ipv4()) {
            let end = |ip, identity: &PartyKind| Party {
                ip: Some(ip),
                identity: identity.clone(),
            };
            let ends = (end(own, &self.own.0), end(other, &self.other.0));
            let (source, destination) = match self.direction {
                Direction::Egress => ends,
                Direction::Ingress => (ends.1, ends.0),
            };
            let connection = Connection {
                source,
                destination,
                protocol,
                port: Some(port),
                via_service: false,
            };
            let verdict = self.cluster.evaluate(&connection, Profile::Generic).verdict;
            let decisions = told.entry(family(&own)).or_default();
            if verdict != Decision::Denied {
                decisions.insert(word(verdict));
            }
        }
        told
    }

    /// The same as the ways tell it, given the families to tell it of.
    fn by_ways(ways: &[&Way], families: &Told, protocol: Protocol, port: u16) -> Told {
        let is_there = |way: &&&Way| {
            way.ports
                .iter()
                .any(|span| span.protocol == protocol && (span.first..=span.last).contains(&port))
        };
        let of = |family: Family| {
            let ways = ways.iter().filter(is_there);
            let ways = ways.filter(|way| way.family.is_none_or(|told| told == family));
            ways.map(|way| word(way.verdict)).collect()
        };
        families
            .keys()
            .map(|family| (*family, of(*family)))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::with_cases(256)
    })]

    #[test]
    fn ways_say_what_each_connection_is_told(objects in world(), into in any::<bool>()) {
        let cluster = cluster(&objects);
        let direction = if into { Direction::Ingress } else { Direction::Egress };
        for own in cluster.pods() {
            let subject = Party { ip: None, identity: PartyKind::Pod(own.key.clone()) };
            let reach = cluster.reach(&subject, direction, Profile::Generic);
            let pods = cluster.pods().filter(|pod| pod.key != own.key);
            let pods = pods.map(|pod| (PartyKind::Pod(pod.key.clone()), &pod.ips, pod.key.name.clone()));
            let nodes = cluster.nodes();
            let nodes = nodes.map(|node| (PartyKind::Node(node.name.clone()), &node.ips, node.name.clone()));
            for (identity, ips, name) in pods.chain(nodes) {
                let ends = Ends {
                    cluster: &cluster,
                    direction,
                    own: (subject.identity.clone(), &own.ips),
                    other: (identity, ips),
                };
                let ways: Vec<&Way> = reach
                    .ways
                    .iter()
                    .filter(|way| way.pods.contains(&name) || (&*way.peer.kind == "Node" && way.peer.name == name))
                    .collect();
                for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                    for port in [1, 79, 80, 81, 82, 83, u16::MAX] {
                        let told = ends.one_by_one(protocol, port);
                        let by_ways = Ends::by_ways(&ways, &told, protocol, port);
                        prop_assert_eq!(&by_ways, &told, "{:?} {:?} {} {:?}", subject, direction, name, ways);
                    }
                }
            }
        }
    }
}

/// Policy lets IPv6 in only, and the pods' first addresses are IPv4.
#[test]
fn a_way_over_the_second_family_is_one() {
    let pod = |name: &str, last: u8| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "x", "labels": {"app": name}},
            "spec": {"containers": []},
            "status": {"podIP": format!("10.0.0.{last}"), "podIPs": [{"ip": format!("10.0.0.{last}")}, {"ip": format!("fd00::{last}")}]}})
    };
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "x"},
        "spec": {"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "fd00::/64"}}]}]}});
    let cluster = cluster(&[pod("a", 5), pod("b", 6), policy]);
    for (name, direction, peer) in [
        ("a", Direction::Egress, "b"),
        ("b", Direction::Ingress, "a"),
    ] {
        let key = node_agent_engine::model::ObjectKey {
            namespace: "x".into(),
            name: name.into(),
        };
        let subject = cluster.party_of(&key, None, NOW).unwrap();
        let reach = cluster.reach(&subject, direction, Profile::Generic);
        let families: Vec<_> = reach
            .ways
            .iter()
            .filter(|way| &*way.peer.name == peer)
            .map(|way| (way.verdict, way.family))
            .collect();
        assert_eq!(
            families,
            [(Decision::Allowed, Some(Family::IPv6))],
            "{name}"
        );
    }
}

/// The world is told apart by the blocks of the policies of a Service's backends: it has none of its own.
#[test]
fn a_service_is_reached_from_where_its_backends_are() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db", "namespace": "x"},
        "spec": {"containers": []}, "status": {"podIP": "10.0.2.1", "podIPs": [{"ip": "10.0.2.1"}]}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "x"},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 3306, "targetPort": 5432}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "db-1", "namespace": "x", "labels": {"kubernetes.io/service-name": "db"}},
        "endpoints": [{"addresses": ["10.0.2.1"]}], "ports": [{"port": 5432, "protocol": "TCP"}]});
    let key = node_agent_engine::model::ObjectKey {
        namespace: "x".into(),
        name: "db".into(),
    };
    let subject = Party {
        ip: Some(IpAddr::from([10, 96, 0, 10])),
        identity: PartyKind::Service(key),
    };
    for (block, open) in [
        (json!({"cidr": "203.0.113.0/24"}), vec!["203.0.113.0/24"]),
        (
            json!({"cidr": "0.0.0.0/0", "except": ["0.0.0.0/6", "203.0.113.0/24"]}),
            vec!["0.0.0.0/0"],
        ),
    ] {
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "x"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": block}]}]}});
        let cluster = cluster(&[pod.clone(), service.clone(), slice.clone(), policy]);
        let reach = cluster.reach(&subject, Direction::Ingress, Profile::Generic);
        let of_the_world = reach.ways.iter().filter(|way| &*way.peer.kind == "World");
        let blocks: Vec<&str> = of_the_world.map(|way| &*way.peer.name).collect();
        assert_eq!(blocks, open, "{block}");
    }
}
