//! Addresses that a node has among those of its pods: ends of tunnels and bridges, which no `status.addresses` names.

use node_agent_engine::identity::Identity;
use node_agent_engine::model::Delta;
use node_agent_engine::{Cluster, Moment};
use serde_json::{Value, json};

use crate::support::*;

fn ranged(name: &str, ip: &str, ranges: &[&str]) -> Value {
    let mut node = node(name, ip);
    node["spec"] = json!({"podCIDR": ranges[0], "podCIDRs": ranges});
    node
}

fn is(cluster: &Cluster, ip: &str, expected: &Identity) {
    assert_eq!(cluster.lookup(ip.parse().unwrap(), NOW), *expected, "{ip}");
}

fn n2() -> Identity {
    Identity::Node("n2".into())
}

#[test]
fn flannel_and_calico_say_where_a_node_s_tunnels_end() {
    let mut node = ranged(
        "n2",
        "192.0.2.2",
        &["10.42.1.0/24", "fd00:10:42:1::/64", "10.99.0.7/32"],
    );
    node["metadata"]["annotations"] = json!({
        "projectcalico.org/IPv4IPIPTunnelAddr": "10.244.93.192",
        "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.86.128",
        "projectcalico.org/IPv6VXLANTunnelAddr": "fd00:244::86:80",
        "projectcalico.org/IPv4WireguardInterfaceAddr": "10.244.86.129",
        "projectcalico.org/IPv6WireguardInterfaceAddr": "none",
        "projectcalico.org/IPv4Address": "10.244.1.1/24",
    });
    let world = World::of(&[node]);
    for (ip, expected) in [
        ("10.42.1.0", n2()),
        ("10.42.1.1", n2()),
        ("10.42.1.2", Identity::Unknown),
        ("10.42.1.255", Identity::Unknown),
        ("fd00:10:42:1::", n2()),
        ("fd00:10:42:1::1", n2()),
        ("fd00:10:42:1::2", Identity::Unknown),
        ("10.99.0.7", n2()),
        ("10.99.0.8", Identity::World),
        ("10.244.93.192", n2()),
        ("10.244.86.128", n2()),
        ("fd00:244::86:80", n2()),
        ("10.244.86.129", n2()),
        ("10.244.1.1", Identity::World),
    ] {
        is(&world.cluster, ip, &expected);
    }
}

#[test]
fn whoever_else_claims_the_address_has_it() {
    let mut world = World::of(&[ranged("n2", "192.0.2.2", &["10.42.1.0/24"])]);
    world.add(&pod("x/a", "10.42.1.1", json!({})));
    is(&world.cluster, "10.42.1.1", &Identity::Pod(key("x/a")));
    is(&world.cluster, "10.42.1.0", &n2());
    let later = Moment(NOW.0 + 1);
    world.cluster.apply(&Delta::PodGone(key("x/a")), later);
    let who = |at| world.cluster.lookup("10.42.1.1".parse().unwrap(), at);
    assert_eq!([who(NOW), who(later)], [Identity::Pod(key("x/a")), n2()]);
    // Of two nodes that say the same of themselves one is wrong.
    world.add(&ranged("n3", "192.0.2.3", &["10.42.1.0/24"]));
    is(&world.cluster, "10.42.1.0", &Identity::Ambiguous);
    world.cluster.apply(&Delta::NodeGone("n3".into()), NOW);
    let much_later = Moment(NOW.0 + 10_000_000_000);
    world.cluster.apply(&Delta::NodeGone("n2".into()), NOW);
    let who = world
        .cluster
        .lookup("10.42.1.0".parse().unwrap(), much_later);
    assert_eq!(who, Identity::World);
}

/// Which it has its interfaces say, whichever is heard of first.
#[test]
fn of_the_own_node_nothing_is_guessed() {
    let own = |world: &mut World| {
        let ips = ["10.42.1.1".parse().unwrap()];
        world.cluster.set_own_node(&"n2".into(), &ips, NOW);
    };
    let object = ranged("n2", "192.0.2.2", &["10.42.1.0/24"]);
    let mut before = World::of(&[]);
    own(&mut before);
    before.add(&object);
    let mut after = World::of(&[object]);
    own(&mut after);
    for world in [before, after] {
        is(&world.cluster, "10.42.1.1", &n2());
        is(&world.cluster, "10.42.1.0", &Identity::Unknown);
    }
}

/// What such an address sends is the node's: a block may hold it (R18), a selector of pods does not, and only the pod's own
/// node is always let in (R29).
#[test]
fn policy_sees_the_packet_s_source() {
    let on_n1 = |name, ip| pod_with(name, &[ip], json!({}), json!({"nodeName": "n1"}));
    let open_to = |from: Value| json!({"policyTypes": ["Ingress"], "ingress": [{"from": [from]}]});
    let world = World::of(&[
        ranged("n1", "192.0.2.1", &["10.42.0.0/24"]),
        ranged("n2", "192.0.2.2", &["10.42.1.0/24"]),
        on_n1("x/a", "10.42.0.10"),
        on_n1("y/a", "10.42.0.11"),
        on_n1("z/a", "10.42.0.12"),
        policy("x/pods", open_to(json!({"namespaceSelector": {}}))),
        policy(
            "y/block",
            open_to(json!({"ipBlock": {"cidr": "10.42.0.0/16"}})),
        ),
        policy(
            "z/node",
            open_to(json!({"ipBlock": {"cidr": "192.0.2.2/32"}})),
        ),
    ]);
    for from in ["10.42.1.0", "10.42.1.1"] {
        world.check(&[
            (from, "x/a", 80, Tcp, Denied),
            (from, "y/a", 80, Tcp, Allowed),
            (from, "z/a", 80, Tcp, Denied),
            ("10.42.0.1", "x/a", 80, Tcp, Allowed),
        ]);
    }
}
