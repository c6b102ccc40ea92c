use serde_json::{Value, json};

use crate::support::*;

fn on(ports: Value) -> World {
    with(&[policy(
        "x/p",
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"ports": ports}]}),
    )])
}

#[test]
fn r19_no_ports_is_every_port_of_every_protocol() {
    for ports in [json!([]), json!(null)] {
        on(ports).check(&[
            ("x/b", "x/a", 1, Tcp, Allowed),
            ("x/b", "x/a", 65535, Udp, Allowed),
            ("x/b", "x/a", 9, Sctp, Allowed),
            ("x/b", "x/a", 0, Icmp, Allowed),
        ]);
    }
    on(json!([{"port": 80}, {"port": 53, "protocol": "UDP"}])).check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("x/b", "x/a", 53, Udp, Allowed),
        ("x/b", "x/a", 53, Tcp, Denied),
        ("x/b", "x/a", 80, Udp, Denied),
    ]);
}

#[test]
fn r20_the_protocol_is_tcp_unless_it_is_written() {
    on(json!([{"port": 80, "protocol": null}])).check(&[
        ("x/b", "x/a", 80, Tcp, Allowed),
        ("x/b", "x/a", 80, Udp, Denied),
        ("x/b", "x/a", 80, Sctp, Denied),
    ]);
    on(json!([{"port": 80, "protocol": "SCTP"}])).check(&[
        ("x/b", "x/a", 80, Sctp, Allowed),
        ("x/b", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r21_no_port_is_every_port_of_the_protocol() {
    for item in [json!({}), json!(null), json!({"protocol": "TCP"})] {
        on(json!([item])).check(&[
            ("x/b", "x/a", 1, Tcp, Allowed),
            ("x/b", "x/a", 1, Udp, Denied),
        ]);
    }
    on(json!([{"protocol": "UDP"}])).check(&[
        ("x/b", "x/a", 9, Udp, Allowed),
        ("x/b", "x/a", 9, Tcp, Denied),
    ]);
}

#[test]
fn r22_a_range_includes_both_ends() {
    on(json!([{"port": 8000, "endPort": 8010}, {"port": 9000, "endPort": 9000, "protocol": "UDP"}])).check(&[
        ("x/b", "x/a", 7999, Tcp, Denied),
        ("x/b", "x/a", 8000, Tcp, Allowed),
        ("x/b", "x/a", 8010, Tcp, Allowed),
        ("x/b", "x/a", 8011, Tcp, Denied),
        ("x/b", "x/a", 8005, Udp, Denied),
        ("x/b", "x/a", 9000, Udp, Allowed),
    ]);
    on(json!([{"port": 1, "endPort": 65535}])).check(&[
        ("x/b", "x/a", 65535, Tcp, Allowed),
        ("x/b", "x/a", 1, Tcp, Allowed),
    ]);
}

fn serving(name: &str, ip: &str, app: &str, containers: Value) -> Value {
    pod_with(
        name,
        &[ip],
        json!({"app": app}),
        json!({"containers": containers}),
    )
}

#[test]
fn r23_a_name_counts_on_the_destination_of_the_connection() {
    let pods = [
        serving(
            "s/one",
            "10.1.0.1",
            "one",
            json!([{"ports": [{"name": "web", "containerPort": 80}]}]),
        ),
        serving(
            "s/two",
            "10.1.0.2",
            "two",
            json!([{"ports": [{"name": "web", "containerPort": 8080}]}]),
        ),
    ];
    let ingress = policy("s/in", json!({"ingress": [{"ports": [{"port": "web"}]}]}));
    let egress = policy(
        "x/out",
        json!({"egress": [{"ports": [{"port": "web"}]}], "policyTypes": ["Egress"]}),
    );
    for rule in [ingress, egress] {
        let mut world = with(&[rule]);
        pods.iter().for_each(|pod| world.add(pod));
        world.check(&[
            ("x/a", "s/one", 80, Tcp, Allowed),
            ("x/a", "s/one", 8080, Tcp, Denied),
            ("x/a", "s/two", 8080, Tcp, Allowed),
            ("x/a", "s/two", 80, Tcp, Denied),
        ]);
    }
}

#[test]
fn r24_name_and_protocol_must_both_match() {
    let dns = serving(
        "s/dns",
        "10.1.0.1",
        "dns",
        json!([{"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]),
    );
    let both = serving(
        "s/both",
        "10.1.0.2",
        "both",
        json!([
        {"ports": [{"name": "web", "containerPort": 80}]},
        {"ports": [{"name": "web", "containerPort": 81}, {"name": "dns", "containerPort": 53}]}]),
    );
    let named = policy(
        "s/p",
        json!({"ingress": [{"ports": [{"port": "dns", "protocol": "UDP"}, {"port": "web"}]}]}),
    );
    let mut world = with(&[named]);
    world.add(&dns);
    world.add(&both);
    world.check(&[
        ("x/a", "s/dns", 53, Udp, Allowed),
        ("x/a", "s/dns", 53, Tcp, Denied),
        ("x/a", "s/both", 53, Udp, Denied),
        ("x/a", "s/both", 80, Tcp, Allowed),
        ("x/a", "s/both", 81, Tcp, Allowed),
        ("x/a", "s/both", 82, Tcp, Denied),
    ]);
}

#[test]
fn r25_a_name_that_the_destination_lacks_matches_nothing() {
    on(json!([{"port": "metrics"}])).check(&[("x/b", "x/a", 80, Tcp, Denied)]);
    let world = with(&[policy(
        "x/p",
        json!({"egress": [{"ports": [{"port": "web"}]}], "policyTypes": ["Egress"]}),
    )]);
    world.check(&[
        ("x/a", "198.51.100.1", 80, Tcp, Denied),
        ("x/a", "y/a", 80, Tcp, Allowed),
    ]);
}

#[test]
fn r26_names_of_containers_and_sidecars_count() {
    let spec = json!({
        "containers": [{"ports": [{"name": "web", "containerPort": 80}]}],
        "initContainers": [
            {"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 81}]},
            {"ports": [{"name": "init", "containerPort": 82}]}]});
    let named =
        json!({"ingress": [{"ports": [{"port": "web"}, {"port": "side"}, {"port": "init"}]}]});
    let world = World::of(&[
        pod_with("s/a", &["10.1.0.1"], json!({}), spec),
        policy("s/p", named),
    ]);
    world.check(&[
        ("198.51.100.1", "s/a", 80, Tcp, Allowed),
        ("198.51.100.1", "s/a", 81, Tcp, Allowed),
        ("198.51.100.1", "s/a", 82, Tcp, Denied),
    ]);
    // A port need not be declared to be allowed by its number.
    on(json!([{"port": 12345}])).check(&[("x/b", "x/a", 12345, Tcp, Allowed)]);
}
