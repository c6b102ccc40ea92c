use node_agent_engine::Profile;
use node_agent_engine::model::Delta;
use node_agent_engine::record;
use node_agent_engine::verdict::{LeftOpen, Reason, UnknownBecause};
use node_agent_engine::{Change, Moment};
use serde_json::{Value, json};

use crate::support::*;

fn deny(namespace: &str) -> Value {
    policy(
        &format!("{namespace}/deny"),
        json!({"policyTypes": ["Ingress", "Egress"]}),
    )
}

fn service(port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "y", "name": "web"},
           "spec": {"clusterIP": "10.43.0.7", "ports": [{"name": "http", "port": port}]}})
}

fn slice(ready: &[&str], target: u16) -> Value {
    let endpoints: Vec<Value> = ready.iter().map(|ip| json!({"addresses": [ip]})).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
           "metadata": {"namespace": "y", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
           "endpoints": endpoints, "ports": [{"name": "http", "port": target, "protocol": "TCP"}]})
}

#[test]
fn r27_and_r38_a_service_is_judged_by_its_backends_and_their_ports() {
    let to = |port: u16| {
        policy(
            "x/out",
            json!({"egress": [{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "a"}}}],
        "ports": [{"port": port}]}], "policyTypes": ["Egress"]}),
        )
    };
    let judged = |rule: Value, ready: &[&str]| {
        let world = with(&[rule, service(80), slice(ready, 8080)]);
        let verdict = world.judge("x/a", "10.43.0.7", 80, Tcp);
        (verdict.verdict, verdict.unknown_because)
    };
    let backend = Some(UnknownBecause::Backend);
    // 10.0.0.4 is y/a, 10.0.0.5 is y/b.
    assert_eq!(
        judged(to(8080), &["10.0.0.4"]),
        (Allowed, None),
        "the pod's port counts"
    );
    assert_eq!(
        judged(to(80), &["10.0.0.4"]),
        (Denied, None),
        "the Service's port does not"
    );
    assert_eq!(
        judged(to(8080), &["10.0.0.4", "10.0.0.5"]),
        (Unknown, backend),
        "they differ"
    );
    assert_eq!(judged(to(8080), &[]), (Unknown, backend), "there is none");
    let by_address = policy(
        "x/out",
        json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.43.0.0/16"}}]}], "policyTypes": ["Egress"]}),
    );
    assert_eq!(
        judged(by_address, &["10.0.0.4"]),
        (Denied, None),
        "the virtual address is never seen"
    );
}

#[test]
fn r38_only_backends_of_the_port_and_the_family_that_were_asked_for_count() {
    let rule = policy(
        "y/p",
        json!({"ingress": [{"from": [{"podSelector": {}}]}, {"from": [{"namespaceSelector": {}}], "ports": [{"port": 8080}]}],
            "podSelector": {"matchLabels": {"app": "a"}}}),
    );
    let closed = policy(
        "y/six",
        json!({"podSelector": {"matchLabels": {"app": "six"}}}),
    );
    let six = pod_with("y/six", &["2001:db8::6"], json!({"app": "six"}), json!({}));
    let mut of_six = slice(&["2001:db8::6"], 8080);
    of_six["addressType"] = json!("IPv6");
    of_six["metadata"]["name"] = json!("web-2");
    let mut front = service(80);
    front["spec"]["clusterIPs"] = json!(["10.43.0.7", "fd00::7"]);
    front["spec"]["ports"] =
        json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81, "targetPort": 9}]);
    let mut of_four = slice(&["10.0.0.4"], 8080);
    of_four["ports"] = json!([{"name": "http", "port": 8080}, {"name": "admin", "port": 9}]);
    let from = pod_with("x/d", &["10.0.9.1", "2001:db8::9"], json!({}), json!({}));
    let world = with(&[rule, closed, six, front, of_four, of_six, from]);
    world.check(&[
        ("x/d", "10.43.0.7", 80, Tcp, Allowed),
        ("x/d", "10.43.0.7", 81, Tcp, Denied),
        ("x/d", "fd00::7", 80, Tcp, Denied),
        // The Service has no such port.
        ("x/d", "10.43.0.7", 82, Tcp, Unknown),
        ("x/d", "10.43.0.7", 80, Udp, Unknown),
    ]);
}

#[test]
fn r38_where_backends_differ_none_of_their_reasons_is_given() {
    let tier = |action: &str, name: &str| {
        cluster_policy(
            name,
            "Admin",
            1,
            json!({"subject": everybody(), "egress": [{"action": action, "to": [app("a")]}]}),
        )
    };
    let out = |rules: Value| policy("x/out", json!({"egress": rules, "policyTypes": ["Egress"]}));
    let to_a =
        json!([{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "a"}}}]}]);
    // 10.0.0.4 is y/a, 10.0.0.5 is y/b: each comes first once.
    for policies in [
        vec![out(to_a)],
        vec![tier("Deny", "p")],
        vec![tier("Accept", "p"), tier("Deny", "q"), out(json!([]))],
    ] {
        for ready in [["10.0.0.4", "10.0.0.5"], ["10.0.0.5", "10.0.0.4"]] {
            let mut objects = policies.clone();
            objects.extend([service(80), slice(&ready, 8080)]);
            let verdict = with(&objects).judge("x/a", "10.43.0.7", 80, Tcp);
            let side = verdict.egress;
            assert_eq!(side.verdict, Unknown, "{policies:?}");
            assert_eq!(verdict.unknown_because, Some(UnknownBecause::Backend));
            assert!(
                side.allowed_by.is_none() && side.denied_by.is_none(),
                "{side:?}"
            );
            assert!(
                side.nearest.is_none() && side.would_allow.is_none(),
                "{side:?}"
            );
            assert_eq!(side.left_open, Some(LeftOpen::BackendsDiffer));
        }
    }
}

#[test]
fn r44_a_service_in_front_of_the_pod_itself_is_asked_about() {
    let deny = json!({"subject": everybody(), "egress": [{"action": "Deny", "to": [everybody()]}]});
    let world = with(&[
        cluster_policy("p", "Admin", 1, deny),
        service(80),
        slice(&["10.0.0.4"], 8080),
    ]);
    world.check(&[
        ("y/a", "10.43.0.7", 80, Tcp, Denied),
        ("y/a", "y/a", 8080, Tcp, Allowed),
    ]);
}

#[test]
fn r35_the_direction_is_who_opens_it() {
    // A reply judged as a connection of its own would be denied: the observer orients, the engine is told.
    let world = with(&[
        policy("x/in", json!({"ingress": [{}]})),
        policy("y/deny", json!({})),
    ]);
    world.check(&[
        ("y/a", "x/a", 80, Tcp, Allowed),
        ("x/a", "y/a", 80, Tcp, Denied),
    ]);
}

#[test]
fn r37_icmp_is_open_unless_a_rule_without_ports_allows_it() {
    let rule = |rule: Value| with(&[policy("x/p", json!({"ingress": [rule]}))]);
    let all_of = [
        Profile::Generic,
        Profile::KubeRouter,
        Profile::Calico,
        Profile::Cilium,
    ];
    let table = [
        (rule(json!({"from": [{"podSelector": {}}]})), [Allowed; 4]),
        (
            rule(json!({"ports": [{"port": 80}]})),
            [Unknown, Unknown, Denied, Denied],
        ),
        (with(&[deny("x")]), [Unknown, Unknown, Denied, Denied]),
        (with(&[]), [Allowed; 4]),
    ];
    for (world, expected) in &table {
        for (profile, expected) in all_of.iter().zip(expected) {
            let ingress = world.judge_as(*profile, "x/b", "x/a", 0, Icmp).ingress;
            assert_eq!(ingress.verdict, *expected, "{profile:?} {ingress:?}");
        }
    }
    let verdict = table[2].0.judge("x/b", "x/a", 0, Icmp);
    assert_eq!(
        verdict.unknown_because,
        Some(UnknownBecause::OpenInSpecification)
    );
}

#[test]
fn r40_and_r41_it_is_known_since_when_an_answer_holds() {
    let mut world = with(&[]);
    let connection = world.connection("x/a", "y/a", 80, Tcp);
    let apply = |world: &mut World, at: u64, object: &Value| {
        let delta = &node_agent_engine::k8s::decode(object, &Default::default()).unwrap()[0];
        world.cluster.apply(delta, Moment(at))
    };
    let settled = |world: &World| world.cluster.settled_since(&connection).0;
    let start = NOW.0;
    assert_eq!(world.cluster.pod_since(&key("x/a")), Some(NOW));
    let added = Change::Policy {
        key: policy_key("y/deny"),
        change: record::Change::Added,
    };
    assert_eq!(apply(&mut world, start + 1, &deny("y")), added);
    assert_eq!(settled(&world), start + 1);
    assert_eq!(
        apply(&mut world, start + 2, &deny("y")),
        Change::None,
        "the same again is nothing"
    );
    assert_eq!(settled(&world), start + 1);
    assert_ne!(
        apply(&mut world, start + 3, &deny("z")),
        Change::None,
        "another namespace's policy"
    );
    assert_eq!(settled(&world), start + 1, "does not bear on it");
    assert_eq!(
        apply(
            &mut world,
            start + 4,
            &namespace("x", json!({"team": "new"}))
        ),
        Change::Verdicts
    );
    assert_eq!(settled(&world), start + 4);
    assert_eq!(
        world
            .cluster
            .apply(&Delta::PolicyGone(policy_key("y/deny")), Moment(start + 5)),
        Change::Policy {
            key: policy_key("y/deny"),
            change: record::Change::Removed
        }
    );
    assert_eq!(settled(&world), start + 5);
}

fn policy_key(name: &str) -> node_agent_engine::model::PolicyKey {
    let node_agent_engine::model::ObjectKey { namespace, name } = key(name);
    node_agent_engine::model::PolicyKey {
        kind: "NetworkPolicy".into(),
        namespace,
        name,
    }
}

#[test]
fn r42_loopback_is_the_pod_and_link_local_an_address() {
    let world = with(&[policy(
        "x/p",
        json!({"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]}], "policyTypes": ["Egress"]}),
    )]);
    world.check(&[
        ("x/a", "127.0.0.1", 80, Tcp, Allowed),
        ("x/a", "::1", 80, Tcp, Allowed),
        ("x/a", "169.254.169.254", 80, Tcp, Denied),
        ("x/a", "169.254.20.10", 53, Udp, Allowed),
        ("x/a", "224.0.0.251", 5353, Udp, Unknown),
        ("x/a", "255.255.255.255", 67, Udp, Unknown),
    ]);
    assert_eq!(
        world.judge("x/a", "127.0.0.1", 80, Tcp).egress.reason,
        Reason::Itself
    );
    // Whether a policy decides is not known before DNS has answered (R52); where none does, nothing is open.
    let named = json!({"subject": everybody(), "egress": [{"action": "Accept", "to": [{"domainNames": ["example.org"]}]}]});
    with(&[cluster_policy("p", "Admin", 1, named)]).check(&[
        ("x/a", "224.0.0.251", 5353, Udp, Unknown),
        ("x/a", "198.51.100.1", 5353, Udp, Allowed),
    ]);
    with(&[]).check(&[("x/a", "224.0.0.251", 5353, Udp, Allowed)]);
}

#[test]
fn nothing_is_claimed_about_an_end_that_nobody_knows() {
    let world = with(&[policy(
        "x/p",
        json!({"ingress": [{"ports": [{"port": 80}]}, {"from": [{"podSelector": {}}]}]}),
    )]);
    world.check(&[
        ("?10.9.9.9", "x/a", 80, Tcp, Unknown),
        ("?10.9.9.9", "x/a", 81, Tcp, Unknown),
        ("x/a", "?10.9.9.9", 81, Tcp, Unknown),
    ]);
    let verdict = world.judge("?10.9.9.9", "x/a", 80, Tcp);
    assert_eq!(verdict.ingress.verdict, Allowed, "whoever it is");
    assert_eq!(verdict.unknown_because, Some(UnknownBecause::Identity));
    let may_match = world.judge("?10.9.9.9", "x/a", 81, Tcp).ingress;
    assert_eq!(may_match.reason, Reason::NoRuleMatched);
    assert_eq!(may_match.nearest, None, "it may match: nothing is missed");
    let other_side = with(&[deny("x")]).judge("x/a", "?10.9.9.9", 81, Tcp);
    assert_eq!(other_side.egress.verdict, Unknown, "it may be the own node");
}

#[test]
fn a_pod_changes_verdicts_by_what_policies_see() {
    let base = || {
        pod_with(
            "x/a",
            &["10.0.0.1"],
            json!({"app": "a"}),
            json!({"nodeName": "n", "containers": [{"ports": [{"name": "web", "containerPort": 80}]}]}),
        )
    };
    let table: [(&str, Value, Change); 7] = [
        ("/metadata/labels", json!({"app": "b"}), Change::Verdicts),
        (
            "/status/podIPs",
            json!([{"ip": "10.0.0.2"}]),
            Change::Verdicts,
        ),
        (
            "/spec/containers",
            json!([{"ports": [{"name": "web", "containerPort": 81}]}]),
            Change::Verdicts,
        ),
        ("/spec/nodeName", json!("m"), Change::Verdicts),
        ("/metadata/uid", json!("another"), Change::Verdicts),
        (
            "/status",
            json!({"phase": "Failed", "podIP": "10.0.0.1"}),
            Change::Verdicts,
        ),
        (
            "/spec",
            json!({"nodeName": "n", "containers": [{"image": "i", "ports": [{"name": "web", "containerPort": 80}]}], "serviceAccountName": "s"}),
            Change::None,
        ),
    ];
    for (field, value, expected) in table {
        let mut world = World::of(&[base()]);
        let mut changed = base();
        *changed.pointer_mut(field).unwrap() = value;
        let delta = &node_agent_engine::k8s::decode(&changed, &Default::default()).unwrap()[0];
        assert_eq!(world.cluster.apply(delta, NOW.plus(1)), expected, "{field}");
    }
}
