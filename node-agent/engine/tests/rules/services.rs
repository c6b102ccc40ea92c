use node_agent_engine::Profile;
use node_agent_engine::verdict::{Decision, LeftOpen, Reason, Side, UnknownBecause};
use serde_json::{Value, json};

use crate::support::*;

const VIRTUAL: &str = "10.43.0.7";
const BALANCER: &str = "203.0.113.9";

fn service(spec: Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "x", "name": "web"},
        "spec": {"clusterIP": VIRTUAL, "ports": [{"port": 80, "targetPort": 8080}]},
        "status": {"loadBalancer": {"ingress": [{"ip": BALANCER}]}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        service["spec"][field] = value.clone();
    }
    service
}

fn slice(ready: &[&str]) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "x", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": ready.iter().map(|ip| json!({"addresses": [ip]})).collect::<Vec<_>>()})
}

fn deny_all(namespace: &str) -> Value {
    policy(
        &format!("{namespace}/deny"),
        json!({"policyTypes": ["Ingress", "Egress"]}),
    )
}

fn from_block(cidr: &str) -> Value {
    policy(
        "x/lb",
        json!({"ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]}),
    )
}

fn of_side(side: &Side) -> (Decision, Reason, Option<LeftOpen>, usize) {
    (
        side.verdict,
        side.reason,
        side.left_open,
        side.isolated_by.len(),
    )
}

#[test]
fn r39_an_external_address_may_hide_the_client() {
    let placed = |node: &str| {
        pod_with(
            "x/a",
            &["10.0.0.1"],
            json!({}),
            json!({"nodeName": node, "containers": []}),
        )
    };
    let local = json!({"externalTrafficPolicy": "Local"});
    let other = node("n2", "192.0.2.2");
    let hidden = (Unknown, Some(LeftOpen::SourceAddress));
    // The policies, the Service, who asks whom, and what ingress says.
    let table = [
        (
            vec![from_block("8.8.8.0/24")],
            json!({}),
            "8.8.8.8",
            BALANCER,
            hidden,
        ),
        (vec![deny_all("x")], json!({}), "8.8.8.8", BALANCER, hidden),
        (vec![], json!({}), "8.8.8.8", BALANCER, (Allowed, None)),
        // Whichever node it is, the block holds it as it holds the client.
        (
            vec![from_block("0.0.0.0/0")],
            json!({}),
            "8.8.8.8",
            BALANCER,
            (Allowed, None),
        ),
        // The client is seen, or nothing stands before it.
        (
            vec![from_block("8.8.8.0/24")],
            local.clone(),
            "8.8.8.8",
            BALANCER,
            (Allowed, None),
        ),
        (
            vec![deny_all("x")],
            local,
            "8.8.8.8",
            BALANCER,
            (Denied, None),
        ),
        (
            vec![from_block("8.8.8.0/24")],
            json!({}),
            "8.8.8.8",
            VIRTUAL,
            (Allowed, None),
        ),
        (
            vec![from_block("8.8.8.0/24")],
            json!({"externalIPs": ["198.51.100.7"]}),
            "8.8.8.8",
            "198.51.100.7",
            hidden,
        ),
        // A node has its own address anyhow.
        (
            vec![deny_all("x")],
            json!({}),
            "192.0.2.2",
            BALANCER,
            (Denied, None),
        ),
    ];
    for (policies, spec, from, to, expected) in table {
        let mut objects = vec![
            placed("n1"),
            other.clone(),
            service(spec.clone()),
            slice(&["10.0.0.1"]),
        ];
        objects.extend(policies.clone());
        let verdict = World::of(&objects).judge(from, to, 80, Tcp);
        let ingress = &verdict.ingress;
        assert_eq!(
            (ingress.verdict, ingress.left_open),
            expected,
            "{policies:?} {spec} {from} {to}"
        );
        assert_eq!(ingress.would_allow.is_some(), ingress.verdict == Denied);
    }
    // Of no node anything is known: there is one all the same.
    let alone = [
        placed(""),
        service(json!({})),
        slice(&["10.0.0.1"]),
        from_block("8.8.8.0/24"),
    ];
    let verdict = World::of(&alone).judge("8.8.8.8", BALANCER, 80, Tcp);
    assert_eq!(
        (verdict.verdict, verdict.unknown_because),
        (Unknown, Some(UnknownBecause::OpenInSpecification))
    );
}

#[test]
fn r38_without_a_backend_the_source_is_judged_whoever_it_would_be() {
    let no_backend: &[&str] = &[];
    let table = [
        (81, Some(slice(&["10.0.0.1"])), LeftOpen::NoServicePort),
        (80, None, LeftOpen::NoSlices),
        (80, Some(slice(no_backend)), LeftOpen::NoBackend),
    ];
    for (port, slices, left_open) in table {
        let world = |policies: &[Value]| {
            let mut objects = vec![service(json!({}))];
            objects.extend(slices.clone());
            objects.extend_from_slice(policies);
            with(&objects)
        };
        let free = world(&[]).judge("x/b", VIRTUAL, port, Tcp);
        assert_eq!(
            of_side(&free.egress),
            (Allowed, Reason::NotIsolated, None, 0),
            "whichever it is"
        );
        assert_eq!(
            of_side(&free.ingress),
            (Unknown, Reason::NotSubject, Some(left_open), 0)
        );
        assert_eq!(
            (free.verdict, free.unknown_because),
            (Unknown, Some(UnknownBecause::Backend))
        );
        // It may be the own node, or the pod itself: not even a default deny says.
        let closed = world(&[deny_all("x")]).judge("x/b", VIRTUAL, port, Tcp);
        assert_eq!(
            of_side(&closed.egress),
            (Unknown, Reason::NoRuleMatched, Some(left_open), 1)
        );
        let open = world(&[policy("x/open", json!({"egress": [{}]}))]);
        let open = open.judge("x/b", VIRTUAL, port, Tcp).egress;
        assert_eq!((open.verdict, open.reason), (Allowed, Reason::Rule));
        let barred = cluster_policy(
            "barred",
            "Admin",
            1,
            json!({"subject": everybody(), "egress": [{"action": "Deny", "to": [{"namespaces": {}}, {"networks": ["0.0.0.0/0"]}]}]}),
        );
        let barred = world(&[barred]).judge("x/b", VIRTUAL, port, Tcp).egress;
        assert_eq!(barred.verdict, Unknown, "nobody says that it is a pod");
    }
}

#[test]
fn a_side_that_is_open_says_why() {
    let host = pod_with(
        "h/proxy",
        &["192.0.2.9"],
        json!({"app": "proxy"}),
        json!({"nodeName": "n9", "hostNetwork": true}),
    );
    let of_host =
        json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "proxy"}}});
    let nowhere = pod_with("x/new", &[], json!({"app": "new"}), json!({}));
    let by = |peer: Value| policy("x/p", json!({"ingress": [{"from": [peer]}]}));
    let world = |policies: &[Value]| {
        let mut objects = vec![host.clone(), nowhere.clone()];
        objects.extend_from_slice(policies);
        with(&objects)
    };
    let block = json!({"ipBlock": {"cidr": "10.0.0.0/8"}});
    let table = [
        (
            world(&[by(of_host)]),
            "h/proxy",
            "x/a",
            80,
            Tcp,
            LeftOpen::HostNetwork,
        ),
        (
            world(&[deny_all("x")]),
            "x/b",
            "x/a",
            0,
            Icmp,
            LeftOpen::Icmp,
        ),
        (
            world(&[by(block)]),
            "x/new",
            "x/a",
            80,
            Tcp,
            LeftOpen::NoAddress,
        ),
        (
            world(&[deny_all("x")]),
            "?10.9.9.9",
            "x/a",
            80,
            Tcp,
            LeftOpen::Unidentified,
        ),
    ];
    for (world, from, to, port, protocol, left_open) in table {
        let ingress = world.judge(from, to, port, protocol).ingress;
        assert_eq!(
            (ingress.verdict, ingress.left_open),
            (Unknown, Some(left_open)),
            "{from}"
        );
    }
    let mut hairpin = world(&[deny_all("x")]).connection("x/a", "x/a", 80, Tcp);
    hairpin.via_service = true;
    let verdict = world(&[deny_all("x")])
        .cluster
        .evaluate(&hairpin, Profile::Generic);
    assert_eq!(verdict.egress.left_open, Some(LeftOpen::Hairpin));
    let group = world(&[policy("x/out", json!({"egress": [{}]}))]);
    let group = group.judge("x/a", "224.0.0.1", 80, Udp).egress;
    assert_eq!(
        (group.verdict, group.left_open),
        (Unknown, Some(LeftOpen::GroupAddress))
    );
}

#[test]
fn r39_a_node_port_is_marked() {
    let ported = service(json!({"ports": [{"port": 80, "nodePort": 30080}]}));
    let world = with(&[node("n1", "192.0.2.1"), ported]);
    for (port, protocol, left_open) in [
        (30080, Tcp, Some(LeftOpen::NodePort)),
        (30080, Udp, None),
        (80, Tcp, None),
    ] {
        let verdict = world.judge("8.8.8.8", "192.0.2.1", port, protocol);
        assert_eq!(
            (verdict.verdict, verdict.ingress.left_open),
            (Allowed, left_open),
            "{port}"
        );
        assert_eq!(verdict.egress.left_open, None);
    }
}

#[test]
fn r39_a_pod_that_goes_to_a_node_port_is_marked() {
    let ported = service(json!({"ports": [{"port": 80, "nodePort": 30080}]}));
    let egress = |to: Value| {
        let rules = json!([{"to": [to]}]);
        policy("x/p", json!({"policyTypes": ["Egress"], "egress": rules}))
    };
    let pods = json!({"podSelector": {}});
    let node_address = json!({"ipBlock": {"cidr": "192.0.2.1/32"}});
    // Whether the backend is let in or the node, each may be what decides.
    for (to, port, expected, left_open) in [
        (&pods, 30080, Denied, Some(LeftOpen::NodePort)),
        (&pods, 80, Denied, None),
        (&node_address, 30080, Allowed, Some(LeftOpen::NodePort)),
        (&node_address, 80, Allowed, None),
    ] {
        let world = with(&[node("n1", "192.0.2.1"), ported.clone(), egress(to.clone())]);
        let egress = world.judge("x/a", "192.0.2.1", port, Tcp).egress;
        assert_eq!(
            (egress.verdict, egress.left_open),
            (expected, left_open),
            "{to} {port}"
        );
        let suggests = expected == Denied && left_open.is_none();
        assert_eq!(egress.would_allow.is_some(), suggests, "{to} {port}");
    }
}

#[test]
fn what_allows_one_backend_is_suggested_when_it_allows_all() {
    let backend = |name: &str, ip: &str, track: &str| {
        pod_with(
            name,
            &[ip],
            json!({"track": track}),
            json!({"containers": []}),
        )
    };
    let out = policy("y/out", json!({"policyTypes": ["Egress"]}));
    for (other, suggests) in [("stable", true), ("canary", false)] {
        let world = World::of(&[
            namespace("x", json!({})),
            namespace("y", json!({})),
            pod("y/client", "10.0.1.1", json!({})),
            backend("x/one", "10.0.1.2", "stable"),
            backend("x/other", "10.0.1.3", other),
            service(json!({})),
            slice(&["10.0.1.2", "10.0.1.3"]),
            out.clone(),
        ]);
        let egress = world.judge("y/client", VIRTUAL, 80, Tcp).egress;
        assert_eq!(egress.verdict, Denied);
        assert_eq!(egress.would_allow.is_some(), suggests, "{other}");
    }
}
