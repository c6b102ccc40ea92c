use node_agent_engine::identity::Identity;
use node_agent_engine::model::Delta;
use node_agent_engine::verdict::{LeftOpen, Reason, UnknownBecause};
use node_agent_engine::{Change, Cluster, Moment};
use node_agent_engine::{PartyKind, Profile};
use serde_json::{Value, json};

use crate::support::*;

const SECOND: u64 = 1_000_000_000;

fn on_node(name: &str, ip: &str, node: &str) -> Value {
    pod_with(
        name,
        &[ip],
        json!({"app": name.rsplit('/').next()}),
        json!({"nodeName": node}),
    )
}

fn on_host(name: &str, ip: &str, node: &str, labels: Value) -> Value {
    pod_with(
        name,
        &[ip],
        labels,
        json!({"nodeName": node, "hostNetwork": true}),
    )
}

fn deny_all(namespace: &str) -> Value {
    policy(
        &format!("{namespace}/deny"),
        json!({"policyTypes": ["Ingress", "Egress"]}),
    )
}

#[test]
fn r28_only_pods_are_subjects() {
    let world = World::of(&[node("n", "192.0.2.1"), deny_all("x")]);
    let verdict = world.judge("192.0.2.1", "198.51.100.1", 80, Tcp);
    assert_eq!(
        (
            verdict.verdict,
            verdict.egress.reason,
            verdict.ingress.reason
        ),
        (Allowed, Reason::NotSubject, Reason::NotSubject)
    );
}

#[test]
fn r29_the_own_node_is_always_allowed() {
    let mut world = World::of(&[
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        on_node("x/a", "10.0.0.1", "n1"),
        deny_all("x"),
    ]);
    world.cluster.set_own_node(
        &"n1".into(),
        &["10.42.0.0".parse().unwrap(), "10.42.0.1".parse().unwrap()],
        NOW,
    );
    world.check(&[
        ("192.0.2.1", "x/a", 80, Tcp, Allowed),
        ("192.0.2.2", "x/a", 80, Tcp, Denied),
        ("x/a", "192.0.2.1", 80, Tcp, Allowed),
        ("x/a", "192.0.2.2", 80, Tcp, Denied),
        // Bridge and tunnel addresses are the node's too.
        ("10.42.0.0", "x/a", 80, Tcp, Allowed),
        ("x/a", "10.42.0.1", 80, Tcp, Allowed),
    ]);
    let verdict = world.judge("192.0.2.1", "x/a", 80, Tcp);
    assert_eq!(verdict.ingress.reason, Reason::OwnNode);
    assert_eq!(verdict.ingress.left_open, None, "everybody agrees");
    let out = world.judge("x/a", "192.0.2.1", 80, Tcp).egress;
    assert_eq!(out.left_open, Some(LeftOpen::OwnNode), "not everybody does");
    world.add(&policy(
        "x/out",
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 6443}]}]}),
    ));
    let ruled = world.judge("x/a", "192.0.2.1", 6443, Tcp).egress;
    assert_eq!(ruled.left_open, None, "whoever asks the policies allows it");
    assert_eq!(verdict.ingress.isolated_by.len(), 1);
    for (profile, expected) in [
        (Profile::KubeRouter, Allowed),
        (Profile::Calico, Denied),
        (Profile::Cilium, Denied),
    ] {
        assert_eq!(
            world.judge_as(profile, "x/a", "192.0.2.1", 80, Tcp).verdict,
            expected,
            "{profile:?}"
        );
        assert_eq!(
            world.judge_as(profile, "192.0.2.1", "x/a", 80, Tcp).verdict,
            Allowed,
            "{profile:?}"
        );
    }
    let open = World::of(&[node("n1", "192.0.2.1"), on_node("x/a", "10.0.0.1", "n1")]);
    let reason = open.judge("192.0.2.1", "x/a", 80, Tcp).ingress.reason;
    assert_eq!(reason, Reason::OwnNode, "isolated or not");
    // Two pods of which nobody knows the node do not share one.
    let world = World::of(&[
        on_host("h/a", "192.0.2.9", "", json!({})),
        pod("x/a", "10.0.0.1", json!({})),
        deny_all("x"),
    ]);
    world.check(&[("h/a", "x/a", 80, Tcp, Denied)]);
}

#[test]
fn r30_an_address_of_a_live_pod_is_that_pod() {
    let world = with(&[policy(
        "x/p",
        json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]}),
    )]);
    world.check(&[
        ("10.0.0.2", "10.0.0.1", 80, Tcp, Allowed),
        ("::ffff:10.0.0.2", "x/a", 80, Tcp, Allowed),
        ("10.0.0.3", "x/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r31_host_network_pods_are_their_node_and_open_where_a_selector_would_match() {
    let objects = [
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        on_host("sys/proxy", "192.0.2.2", "n2", json!({"app": "proxy"})),
        on_node("x/a", "10.0.0.1", "n1"),
    ];
    let from = |peer: Value| {
        let mut world = World::of(&objects);
        world.add(&policy(
            "x/p",
            json!({"ingress": [{"from": [peer], "ports": [{"port": 80}]}]}),
        ));
        world.add(&policy(
            "sys/deny",
            json!({"policyTypes": ["Ingress", "Egress"]}),
        ));
        world
    };
    let proxies =
        json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "proxy"}}});
    let world = from(proxies);
    let verdict = world.judge("192.0.2.2", "x/a", 80, Tcp);
    assert_eq!(
        (verdict.verdict, verdict.unknown_because),
        (Unknown, Some(UnknownBecause::OpenInSpecification))
    );
    world.check(&[
        ("sys/proxy", "x/a", 80, Tcp, Unknown),
        ("sys/proxy", "x/a", 81, Tcp, Denied),
        ("192.0.2.1", "x/a", 80, Tcp, Allowed),
        // It is no subject, whatever selects it.
        ("x/a", "sys/proxy", 80, Tcp, Allowed),
    ]);
    // That is a choice where a policy would say otherwise, unless the dataplane is known.
    let flagged = |world: &World, profile| {
        let verdict = world.judge_as(profile, "x/a", "sys/proxy", 80, Tcp);
        assert_eq!(
            (verdict.verdict, verdict.ingress.reason),
            (Allowed, Reason::NotSubject)
        );
        verdict.is_a_choice()
    };
    assert!(flagged(&world, Profile::Generic));
    assert!(!flagged(&world, Profile::Calico));
    let by_address = world.judge("x/a", "192.0.2.2", 80, Tcp).ingress;
    assert_eq!(by_address.left_open, Some(LeftOpen::HostNetwork));
    let mut open = from(json!({"podSelector": {}}));
    open.add(&policy("sys/open", json!({"ingress": [{}]})));
    assert!(!flagged(&open, Profile::Generic), "allowed either way");
    assert!(!flagged(&World::of(&objects), Profile::Generic));
    for profile in [Profile::KubeRouter, Profile::Calico, Profile::Cilium] {
        assert_eq!(
            world.judge_as(profile, "sys/proxy", "x/a", 80, Tcp).verdict,
            Denied,
            "{profile:?}"
        );
    }
    from(json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "other"}}}))
        .check(&[("sys/proxy", "x/a", 80, Tcp, Denied)]);
    from(json!({"podSelector": {"matchLabels": {"app": "proxy"}}})).check(&[(
        "sys/proxy",
        "x/a",
        80,
        Tcp,
        Denied,
    )]);
    from(json!({"ipBlock": {"cidr": "192.0.2.2/32"}})).check(&[(
        "sys/proxy",
        "x/a",
        80,
        Tcp,
        Allowed,
    )]);
}

#[test]
fn r31_a_name_of_a_host_network_pods_port_is_open_for_that_port_only() {
    let ports = json!([{"name": "web", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]);
    let proxy = pod_with(
        "sys/proxy",
        &["192.0.2.2"],
        json!({}),
        json!({"nodeName": "n2", "hostNetwork": true, "containers": [{"ports": ports}]}),
    );
    let named = policy(
        "x/p",
        json!({"egress": [{"ports": [{"port": "web"}]}], "policyTypes": ["Egress"]}),
    );
    let world = World::of(&[
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        proxy,
        on_node("x/a", "10.0.0.1", "n1"),
        named,
    ]);
    // The pod, and its node by address.
    for to in ["sys/proxy", "192.0.2.2"] {
        world.check(&[
            ("x/a", to, 80, Tcp, Unknown),
            ("x/a", to, 81, Tcp, Denied),
            ("x/a", to, 53, Tcp, Denied),
            ("x/a", to, 80, Udp, Denied),
        ]);
        for profile in [Profile::KubeRouter, Profile::Calico, Profile::Cilium] {
            let verdict = world.judge_as(profile, "x/a", to, 80, Tcp).verdict;
            assert_eq!(verdict, Denied, "{profile:?}");
        }
    }
}

#[test]
fn r32_a_pod_reaches_itself() {
    let mut world = World::of(&[on_node("x/a", "10.0.0.1", "n"), deny_all("x")]);
    world.check(&[
        ("x/a", "x/a", 80, Tcp, Allowed),
        ("10.0.0.1", "x/a", 80, Tcp, Allowed),
    ]);
    assert_eq!(
        world.judge("x/a", "x/a", 80, Tcp).egress.reason,
        Reason::Itself
    );
    let mut hairpin = world.connection("x/a", "x/a", 80, Tcp);
    hairpin.via_service = true;
    let verdict = world.cluster.evaluate(&hairpin, Profile::Generic);
    assert_eq!(
        (verdict.verdict, verdict.unknown_because),
        (Unknown, Some(UnknownBecause::OpenInSpecification))
    );
    world.add(&policy("x/open", json!({"ingress": [{}], "egress": [{}]})));
    assert_eq!(
        world.cluster.evaluate(&hairpin, Profile::Generic).verdict,
        Allowed,
        "both rules allow it, whoever it is"
    );
}

#[test]
fn r33_finished_pods_own_nothing() {
    let phase = |phase: &str, deleting: bool| {
        let mut job = pod("x/job", "10.0.0.9", json!({"app": "job"}));
        job["status"]["phase"] = json!(phase);
        if deleting {
            job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let from_jobs = policy(
            "x/p",
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "job"}}}]}]}),
        );
        with(&[job, from_jobs])
    };
    for live in [
        phase("Running", false),
        phase("Running", true),
        phase("", false),
    ] {
        live.check(&[("10.0.0.9", "x/a", 80, Tcp, Allowed)]);
    }
    for mut finished in [phase("Succeeded", false), phase("Failed", false)] {
        finished.check(&[
            ("10.0.0.9", "x/a", 80, Tcp, Denied),
            ("x/job", "x/a", 80, Tcp, Denied),
        ]);
        finished.add(&pod("x/heir", "10.0.0.9", json!({"app": "heir"})));
        assert_eq!(
            finished.cluster.lookup("10.0.0.9".parse().unwrap(), NOW),
            Identity::Pod(key("x/heir"))
        );
        // Nobody opens or takes a connection as the pod that was: its heir answers to its own name only.
        let named = finished.party("x/job");
        assert_eq!(named.identity, PartyKind::Unknown);
        finished.check(&[
            ("x/heir", "x/job", 80, Tcp, Unknown),
            ("x/job", "x/heir", 80, Tcp, Unknown),
            ("10.0.0.9", "x/a", 80, Tcp, Denied),
        ]);
    }
}

fn deltas(object: &Value) -> Vec<Delta> {
    node_agent_engine::k8s::decode(object, &Default::default()).unwrap()
}

fn at(cluster: &mut Cluster, seconds: u64, object: &Value) -> Change {
    cluster.apply(&deltas(object)[0], Moment(seconds * SECOND))
}

#[test]
fn addresses_are_looked_up_as_of_their_time() {
    let mut cluster = Cluster::new();
    let ip = "10.0.0.1".parse().unwrap();
    let who = |cluster: &Cluster, seconds: u64| cluster.lookup(ip, Moment(seconds * SECOND));
    at(&mut cluster, 10, &pod("x/old", "10.0.0.1", json!({})));
    cluster.apply(&Delta::PodGone(key("x/old")), Moment(20 * SECOND));
    at(&mut cluster, 30, &pod("x/new", "10.0.0.1", json!({})));
    assert_eq!(who(&cluster, 15), Identity::Pod(key("x/old")));
    assert_eq!(
        who(&cluster, 22),
        Identity::World,
        "between the two, long before the second"
    );
    assert_eq!(
        who(&cluster, 28),
        Identity::Pod(key("x/new")),
        "the watch lags behind the network"
    );
    assert_eq!(who(&cluster, 31), Identity::Pod(key("x/new")));
    // A second claim makes it nobody's until the first is gone.
    at(&mut cluster, 40, &pod("x/twin", "10.0.0.1", json!({})));
    assert_eq!(who(&cluster, 41), Identity::Ambiguous);
    assert_eq!(who(&cluster, 35), Identity::Pod(key("x/new")));
    cluster.apply(&Delta::PodGone(key("x/new")), Moment(50 * SECOND));
    assert_eq!(who(&cluster, 51), Identity::Pod(key("x/twin")));
    // What ended a minute ago is forgotten with the next change.
    at(&mut cluster, 200, &pod("x/else", "10.0.0.2", json!({})));
    at(&mut cluster, 201, &pod("x/else", "10.0.0.3", json!({})));
    assert_eq!(who(&cluster, 15), Identity::World);
}

#[test]
fn a_namesake_is_another_pod() {
    let mut cluster = Cluster::new();
    let numbered = |uid: &str, ip: &str| {
        let mut object = pod("x/db-0", ip, json!({"version": uid}));
        object["metadata"]["uid"] = json!(uid);
        object
    };
    at(&mut cluster, 10, &numbered("1", "10.0.0.1"));
    at(&mut cluster, 20, &numbered("2", "10.0.0.2"));
    assert_eq!(cluster.pod_since(&key("x/db-0")), Some(Moment(20 * SECOND)));
    let old = cluster.lookup("10.0.0.1".parse().unwrap(), Moment(15 * SECOND));
    assert_eq!(
        old,
        Identity::Ambiguous,
        "the labels of the first are not known any more"
    );
}

#[test]
fn services_and_ranges_of_pods_are_known() {
    let mut ranged = node("n1", "192.0.2.1");
    ranged["spec"] = json!({"podCIDRs": ["10.42.0.0/24"]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "x", "name": "db"},
        "spec": {"clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7"], "ports": [{"port": 80}]}});
    let world = World::of(&[ranged, service]);
    let table = [
        ("192.0.2.1", Identity::Node("n1".into())),
        ("10.43.0.7", Identity::Service(key("x/db"))),
        ("10.42.0.9", Identity::Unknown),
        ("10.42.0.2", Identity::Unknown),
        ("10.42.1.9", Identity::World),
    ];
    for (ip, expected) in table {
        assert_eq!(
            world.cluster.lookup(ip.parse().unwrap(), NOW),
            expected,
            "{ip}"
        );
    }
}
