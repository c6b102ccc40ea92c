//! What was decided before is an answer to the same question only: whatever was asked first, no verdict moves.

use std::net::IpAddr;

use node_agent_engine::{Between, Brief, Profile};
use serde_json::{Value, json};

use crate::support::*;

/// Of every kind: pods, their node, another node, a pod on it, a Service, outside, groups, loopback, both families.
const ENDS: [&str; 15] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.4",
    "10.0.9.1",
    "192.0.2.1",
    "192.0.2.2",
    "10.43.0.7",
    "198.51.100.1",
    "198.51.100.200",
    "224.0.0.251",
    "255.255.255.255",
    "127.0.0.1",
    "2001:db8::1",
    "ff02::1",
    "::1",
];

fn world(policies: &[Value]) -> World {
    let mut objects = policies.to_vec();
    objects.extend([
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        pod_with("x/d", &["10.0.9.1"], json!({"app": "d"}), json!({"nodeName": "n1"})),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "y", "name": "web"},
            "spec": {"clusterIP": "10.43.0.7", "ports": [{"name": "http", "port": 80}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "y", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.0.0.4"]}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
    ]);
    let mut world = with(&objects);
    let answer = [(
        "example.org".to_owned(),
        vec!["198.51.100.1".parse().unwrap()],
    )];
    world.cluster.set_names(answer.into_iter().collect());
    world
}

#[test]
fn a_kept_verdict_is_given_to_its_own_question_only() {
    let block = |list: &str| json!([{list: [{"ipBlock": {"cidr": "198.51.100.0/25"}}]}]);
    let both = |ingress: Value, egress: Value| {
        policy(
            "x/p",
            json!({"policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress}),
        )
    };
    let ports = json!([{"ports": [{"port": 80}]}]);
    let to_names = json!({"subject": everybody(), "egress": [
        {"action": "Accept", "to": [{"domainNames": ["example.org"]}]},
        {"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]},
    ]});
    let table = [
        vec![both(json!([]), json!([]))],
        vec![both(ports.clone(), ports)],
        vec![both(block("from"), json!([]))],
        vec![both(json!([]), block("to"))],
        vec![
            both(json!([{}]), json!([{}])),
            cluster_policy("p", "Admin", 1, to_names),
        ],
    ];
    for policies in &table {
        let world = world(policies);
        for pod in ["10.0.0.1", "10.0.9.1"] {
            for (first, then) in pairs() {
                check(&world, (pod, first), (pod, then));
                check(&world, (first, pod), (then, pod));
            }
        }
    }
}

fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENDS.iter()
        .flat_map(|first| ENDS.iter().map(move |then| (*first, *then)))
}

fn check(world: &World, first: (&str, &str), then: (&str, &str)) {
    let between = |(from, to): (&str, &str)| Between {
        source: from.parse::<IpAddr>().unwrap(),
        destination: to.parse::<IpAddr>().unwrap(),
        protocol: Tcp,
        port: Some(80),
    };
    let mut cluster = world.cluster.clone();
    cluster.decide(&between(first), Profile::Generic);
    let kept = cluster.decide(&between(then), Profile::Generic);
    let expected = Brief::from(&world.judge(then.0, then.1, 80, Tcp));
    assert_eq!(kept, expected, "{then:?} after {first:?}");
}
