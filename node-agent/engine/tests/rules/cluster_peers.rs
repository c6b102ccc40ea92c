//! R48 to R55: peers and ports of policies of the whole cluster.

use node_agent_engine::k8s::{Decode, Validation, decode};
use node_agent_engine::verdict::{LeftOpen, UnknownBecause};
use node_agent_engine::{Cluster, Names, Profile};
use serde_json::{Value, json};

use crate::support::*;

/// The pods of namespace `x`, one egress rule.
fn to(action: &str, peers: Value) -> Value {
    admin(json!([{"action": action, "to": peers}]))
}

fn admin(egress: Value) -> Value {
    let subject = json!({"namespaces": {"matchLabels": {"team": "a"}}});
    cluster_policy(
        "p",
        "Admin",
        1,
        json!({"subject": subject, "egress": egress}),
    )
}

fn labelled_node(name: &str, ip: &str, role: &str) -> Value {
    let mut node = node(name, ip);
    node["metadata"]["labels"] = json!({"role": role});
    node
}

fn nodes() -> [Value; 2] {
    [
        labelled_node("n1", "192.0.2.1", "worker"),
        labelled_node("n2", "192.0.2.2", "control"),
    ]
}

#[test]
fn r48_and_r49_namespaces_and_pods_are_pods_only() {
    let world = |peer: Value| {
        World::of(&[three(), nodes().into(), vec![to("Deny", json!([peer]))]].concat())
    };
    let team = json!({"matchLabels": {"team": "b"}});
    let pods = |app: &str| json!({"pods": {"namespaceSelector": team, "podSelector": {"matchLabels": {"app": app}}}});
    let table = [
        (everybody(), [Denied, Denied, Denied]),
        (json!({"namespaces": team}), [Denied, Denied, Allowed]),
        (pods("a"), [Denied, Allowed, Allowed]),
        (app("a"), [Denied, Allowed, Denied]),
        // What is absent matches NotIn, and so does a namespace that nobody labelled (R7).
        (
            json!({"namespaces": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}}),
            [Allowed, Allowed, Denied],
        ),
    ];
    for (peer, [y_a, y_b, z_a]) in table {
        world(peer).check(&[
            ("x/a", "y/a", 80, Tcp, y_a),
            ("x/a", "y/b", 80, Tcp, y_b),
            ("x/a", "z/a", 80, Tcp, z_a),
            ("x/a", "198.51.100.1", 80, Tcp, Allowed),
            ("x/a", "192.0.2.1", 80, Tcp, Allowed),
        ]);
    }
}

#[test]
fn r50_nodes_are_matched_by_the_addresses_of_their_objects() {
    let mut world = World::of(
        &[
            three(),
            nodes().into(),
            vec![to(
                "Deny",
                json!([{"nodes": {"matchLabels": {"role": "control"}}}]),
            )],
        ]
        .concat(),
    );
    world
        .cluster
        .set_own_node(&"n2".into(), &["10.42.0.1".parse().unwrap()], NOW);
    world.check(&[
        ("x/a", "192.0.2.2", 80, Tcp, Denied),
        ("x/a", "192.0.2.1", 80, Tcp, Allowed),
        // A bridge's address is the node's and not in its status.
        ("x/a", "10.42.0.1", 80, Tcp, Allowed),
        ("x/a", "y/a", 80, Tcp, Allowed),
        ("x/a", "198.51.100.1", 80, Tcp, Allowed),
    ]);
    world.add(&labelled_node("n1", "192.0.2.1", "control"));
    world.check(&[("x/a", "192.0.2.1", 80, Tcp, Denied)]);
    // A node whose object nobody has: neither its labels nor its addresses are known.
    let host = pod_with(
        "z/host",
        &["192.0.2.9"],
        json!({}),
        json!({"nodeName": "n9", "hostNetwork": true}),
    );
    world.add(&host);
    let verdict = world.judge("x/a", "192.0.2.9", 80, Tcp);
    assert_eq!(
        (verdict.verdict, verdict.unknown_because),
        (Unknown, Some(UnknownBecause::Identity))
    );
    let all = World::of(
        &[
            three(),
            nodes().into(),
            vec![to("Deny", json!([{"nodes": {}}]))],
        ]
        .concat(),
    );
    all.check(&[
        ("x/a", "192.0.2.1", 80, Tcp, Denied),
        ("x/a", "y/a", 80, Tcp, Allowed),
    ]);
}

#[test]
fn r51_networks_look_at_the_address_alone() {
    let world = World::of(&[
        three(),
        nodes().into(),
        vec![to("Deny", json!([{"networks": ["10.0.0.4/32", "192.0.2.0/24", "198.51.100.77/25"]}, {"networks": ["2001:db8::/32"]}]))],
    ]
    .concat());
    for profile in [
        Profile::Generic,
        Profile::KubeRouter,
        Profile::Calico,
        Profile::Cilium,
    ] {
        for (address, expected) in [
            ("y/a", Denied),
            ("y/b", Allowed),
            ("192.0.2.2", Denied),
            ("198.51.100.1", Denied),
            ("198.51.100.200", Allowed),
            ("2001:db8::7", Denied),
            ("2001:db9::7", Allowed),
        ] {
            let verdict = world.judge_as(profile, "x/a", address, 80, Tcp);
            assert_eq!(verdict.verdict, expected, "{address} {profile:?}");
        }
    }
    // ICMP too, because the rule has no protocols.
    world.check(&[
        ("x/a", "y/a", 0, Icmp, Denied),
        ("x/a", "y/b", 0, Icmp, Allowed),
    ]);
    // `0.0.0.0/0` is all of IPv4, pods included, and nothing of IPv6.
    let world = with(&[to("Deny", json!([{"networks": ["0.0.0.0/0"]}]))]);
    world.check(&[
        ("x/a", "y/a", 80, Tcp, Denied),
        ("x/a", "2001:db8::7", 80, Tcp, Allowed),
    ]);
}

#[test]
fn r52_domain_names_need_what_dns_has_answered() {
    let rules = json!([
        {"action": "Accept", "to": [{"domainNames": ["example.org", "*.Example.COM."]}]},
        {"action": "Deny", "to": [{"networks": ["198.51.100.0/24"]}]},
    ]);
    let mut world = with(&[admin(rules)]);
    // Nobody said: unknown where the rule could decide, and nowhere else.
    let verdict = world.judge("x/a", "198.51.100.1", 443, Tcp);
    assert_eq!(
        (verdict.verdict, verdict.unknown_because),
        (Unknown, Some(UnknownBecause::Identity))
    );
    world.check(&[
        ("x/a", "203.0.113.1", 443, Tcp, Allowed),
        ("y/a", "198.51.100.1", 443, Tcp, Allowed),
    ]);
    let answers = [
        ("Example.org.", "198.51.100.1"),
        ("www.example.org", "198.51.100.2"),
        ("a.b.example.com", "198.51.100.3"),
        ("example.com", "198.51.100.4"),
        ("notexample.com", "198.51.100.5"),
    ];
    let names: Names = answers
        .iter()
        .map(|(name, ip)| (name, [ip.parse().unwrap()]))
        .collect();
    world.cluster.set_names(names);
    world.check(&[
        ("x/a", "198.51.100.1", 443, Tcp, Allowed),
        ("x/a", "198.51.100.2", 443, Tcp, Denied),
        ("x/a", "198.51.100.3", 443, Tcp, Allowed),
        ("x/a", "198.51.100.4", 443, Tcp, Denied),
        ("x/a", "198.51.100.5", 443, Tcp, Denied),
        ("x/a", "198.51.100.6", 443, Tcp, Denied),
    ]);
}

#[test]
fn r52_domain_names_are_defined_where_a_rule_accepts() {
    let deny =
        json!([{"action": "Deny", "to": [{"namespaces": {}}, {"domainNames": ["example.org"]}]}]);
    let mut world = with(&[admin(deny)]);
    let names = [("example.org", ["198.51.100.1".parse().unwrap()])];
    world.cluster.set_names(names.into_iter().collect());
    let table = [
        ("198.51.100.1", Denied, Some(LeftOpen::DomainNames)),
        ("203.0.113.1", Allowed, None),
        ("y/a", Denied, None),
    ];
    for (to, expected, left_open) in table {
        let verdict = world.judge("x/a", to, 443, Tcp);
        assert_eq!(
            (verdict.verdict, verdict.egress.left_open),
            (expected, left_open),
            "{to}"
        );
        assert_eq!(verdict.is_a_choice(), left_open.is_some());
    }
}

#[test]
fn a_rule_of_which_nothing_is_known_matters_only_where_it_could_decide() {
    let doubtful =
        |action: &str| json!({"action": action, "to": [{"domainNames": ["example.org"]}]});
    let deny = json!({"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]});
    let closed = policy("x/closed", json!({"policyTypes": ["Egress"]}));
    let base = |action: &str| {
        cluster_policy(
            "base",
            "Baseline",
            1,
            json!({"subject": everybody(), "egress": [{"action": action, "to": [{"networks": ["0.0.0.0/0"]}]}]}),
        )
    };
    let table = [
        (vec![admin(json!([doubtful("Accept")]))], Allowed),
        (vec![admin(json!([doubtful("Accept"), deny]))], Unknown),
        (vec![admin(json!([deny, doubtful("Accept")]))], Denied),
        (
            vec![admin(json!([doubtful("Accept")])), closed.clone()],
            Unknown,
        ),
        (vec![admin(json!([doubtful("Deny")]))], Unknown),
        (
            vec![admin(json!([doubtful("Deny")])), closed.clone()],
            Denied,
        ),
        (vec![admin(json!([doubtful("Pass"), deny]))], Unknown),
        (vec![admin(json!([doubtful("Pass"), deny])), closed], Denied),
        (
            vec![admin(json!([doubtful("Pass"), deny])), base("Deny")],
            Denied,
        ),
        (
            vec![admin(json!([doubtful("Pass"), deny])), base("Accept")],
            Unknown,
        ),
    ];
    for (policies, expected) in table {
        let verdict = with(&policies).judge("x/a", "198.51.100.1", 443, Tcp);
        assert_eq!(verdict.verdict, expected, "{policies:?}");
    }
}

/// Decodes without validation, as objects are that an API server already holds.
fn held(policy: &Value) -> Cluster {
    let mut cluster = with(&[]).cluster;
    let options = Decode {
        validation: Validation::Off,
        ..Decode::default()
    };
    for delta in decode(policy, &options).unwrap() {
        cluster.apply(&delta, NOW);
    }
    cluster
}

#[test]
fn r53_what_nobody_understands_fails_closed() {
    let peers = json!([{"namespaces": {"matchLabels": {"team": "b"}}}, {"galaxies": {}}]);
    let known = json!([everybody()]);
    let strange = json!([{"quic": {}}]);
    let accept_all = json!({"action": "Accept", "to": [everybody()]});
    for (action, expected) in [("Accept", Denied), ("Deny", Denied), ("Pass", Denied)] {
        for rule in [
            json!({"action": action, "to": peers}),
            json!({"action": action, "to": known, "protocols": strange}),
        ] {
            let last = if action == "Accept" {
                // It matches nothing, so that the next rule decides.
                json!({"action": "Deny", "to": [everybody()]})
            } else {
                accept_all.clone()
            };
            let world = World {
                cluster: held(&admin(json!([rule, last]))),
            };
            world.check(&[
                ("x/a", "y/a", 80, Tcp, expected),
                ("x/a", "z/a", 80, Tcp, expected),
            ]);
            if action != "Accept" {
                // Deny all, not only those that the peers name.
                world.check(&[("x/a", "198.51.100.1", 80, Udp, Denied)]);
            }
        }
    }
}

#[test]
fn r54_protocols_and_names_of_ports() {
    let deny = |protocols: Value| {
        with(&[admin(
            json!([{"action": "Deny", "to": [everybody()], "protocols": protocols}]),
        )])
    };
    let port = |protocol: &str, port: Value| json!([{(protocol): {"destinationPort": port}}]);
    let any = with(&[to("Deny", json!([everybody()]))]);
    any.check(&[
        ("x/a", "y/a", 1, Tcp, Denied),
        ("x/a", "y/a", 1, Sctp, Denied),
        ("x/a", "y/a", 0, Icmp, Denied),
    ]);
    deny(port("tcp", json!({"number": 80}))).check(&[
        ("x/a", "y/a", 80, Tcp, Denied),
        ("x/a", "y/a", 81, Tcp, Allowed),
        ("x/a", "y/a", 80, Udp, Allowed),
        ("x/a", "y/a", 0, Icmp, Allowed),
    ]);
    deny(port("sctp", json!({"range": {"start": 10, "end": 12}}))).check(&[
        ("x/a", "y/a", 9, Sctp, Allowed),
        ("x/a", "y/a", 10, Sctp, Denied),
        ("x/a", "y/a", 12, Sctp, Denied),
        ("x/a", "y/a", 13, Sctp, Allowed),
    ]);
    // `web` is 80/TCP and `dns` 53/UDP: the name has the connection's protocol.
    deny(json!([{"destinationNamedPort": "web"}, {"destinationNamedPort": "dns"}])).check(&[
        ("x/a", "y/a", 80, Tcp, Denied),
        ("x/a", "y/a", 80, Udp, Allowed),
        ("x/a", "y/a", 53, Udp, Denied),
        ("x/a", "y/a", 53, Tcp, Allowed),
    ]);
    // The CRD refuses `tcp: {}`, the text has it for every TCP port.
    let bare = admin(json!([{"action": "Deny", "to": [everybody()], "protocols": [{"tcp": {}}]}]));
    assert!(decode(&bare, &Decode::default()).is_err());
    World {
        cluster: held(&bare),
    }
    .check(&[
        ("x/a", "y/a", 7, Tcp, Denied),
        ("x/a", "y/a", 7, Udp, Allowed),
    ]);
}
