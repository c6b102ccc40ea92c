//! What the CRDs of ClusterNetworkPolicy and its forerunners refuse, and what they take.

use node_agent_engine::k8s::{Decode, Validation, decode};
use serde_json::{Value, json};

use crate::support::{cluster_policy, everybody, v1alpha1};

pub(crate) fn refused(object: &Value) -> Vec<(String, &'static str)> {
    let rejections = decode(object, &Decode::default()).err().unwrap_or_default();
    rejections
        .into_iter()
        .map(|rejection| (rejection.field, rejection.rule))
        .collect()
}

fn with_spec(change: impl FnOnce(&mut Value)) -> Value {
    let rule = json!({"action": "Accept", "to": [everybody()]});
    let spec = json!({"subject": everybody(), "egress": [rule]});
    let mut policy = cluster_policy("p", "Admin", 1, spec);
    change(&mut policy["spec"]);
    policy
}

fn with_rule(change: impl FnOnce(&mut Value)) -> Value {
    with_spec(|spec| change(&mut spec["egress"][0]))
}

fn with_peer(peer: Value) -> Value {
    with_rule(|rule| rule["to"] = json!([peer]))
}

fn with_protocol(item: Value) -> Value {
    with_rule(|rule| rule["protocols"] = json!([item]))
}

fn without(object: &mut Value, field: &str) {
    object.as_object_mut().unwrap().remove(field);
}

#[test]
fn bounds_and_words_are_refused() {
    let many = |count: usize| vec![everybody(); count];
    let table = [
        (
            with_spec(|spec| spec["tier"] = json!("Other")),
            "spec.tier",
            "R57",
        ),
        (with_spec(|spec| without(spec, "tier")), "spec.tier", "R57"),
        (
            with_spec(|spec| spec["priority"] = json!(1001)),
            "spec.priority",
            "R45",
        ),
        (
            with_spec(|spec| spec["priority"] = json!(-1)),
            "spec.priority",
            "R45",
        ),
        (
            with_spec(|spec| without(spec, "priority")),
            "spec.priority",
            "R45",
        ),
        (
            with_spec(|spec| spec["priority"] = json!("1")),
            "spec.priority",
            "V14",
        ),
        (
            with_spec(|spec| without(spec, "subject")),
            "spec.subject",
            "R47",
        ),
        (
            with_spec(|spec| spec["subject"] = json!({})),
            "spec.subject",
            "R47",
        ),
        (
            with_spec(|spec| {
                spec["subject"] = json!({"namespaces": {}, "pods": {"podSelector": {}}})
            }),
            "spec.subject",
            "R47",
        ),
        (
            with_spec(|spec| spec["subject"] = json!({"pods": {"namespaceSelector": {}}})),
            "spec.subject.pods.podSelector",
            "R48",
        ),
        (
            with_spec(|spec| spec["egress"] = json!(vec![spec["egress"][0].clone(); 26])),
            "spec.egress",
            "R46",
        ),
        (
            with_rule(|rule| rule["name"] = json!("x".repeat(101))),
            "spec.egress[0].name",
            "R46",
        ),
        (
            with_rule(|rule| rule["action"] = json!("Allow")),
            "spec.egress[0].action",
            "R56",
        ),
        (
            with_rule(|rule| without(rule, "action")),
            "spec.egress[0].action",
            "R56",
        ),
        (
            with_rule(|rule| rule["to"] = json!([])),
            "spec.egress[0].to",
            "R46",
        ),
        (
            with_rule(|rule| without(rule, "to")),
            "spec.egress[0].to",
            "R46",
        ),
        (
            with_rule(|rule| rule["to"] = json!(many(26))),
            "spec.egress[0].to",
            "R46",
        ),
        (
            with_rule(|rule| rule["protocols"] = json!([])),
            "spec.egress[0].protocols",
            "R54",
        ),
    ];
    for (object, field, rule) in table {
        assert_eq!(refused(&object), [(field.to_owned(), rule)], "{object}");
    }
}

#[test]
fn peers_and_protocols_are_refused() {
    let to = "spec.egress[0].to[0]";
    let item = "spec.egress[0].protocols[0]";
    let networks = |list: Value| with_peer(json!({"networks": list}));
    let domains = |list: Value| with_peer(json!({"domainNames": list}));
    let tcp = |port: Value| with_protocol(json!({"tcp": {"destinationPort": port}}));
    let named = json!([{"destinationNamedPort": "web"}]);
    let table = [
        (with_peer(json!({})), to.to_owned(), "V7"),
        (
            with_peer(json!({"namespaces": {}, "nodes": {}})),
            to.to_owned(),
            "V7",
        ),
        (
            with_peer(json!({"pods": {"namespaceSelector": {}}})),
            format!("{to}.pods.podSelector"),
            "R48",
        ),
        (networks(json!([])), format!("{to}.networks"), "R46"),
        (
            networks(json!(["10.0.0.0"])),
            format!("{to}.networks[0]"),
            "V9",
        ),
        (
            networks(json!(["010.0.0.0/8"])),
            format!("{to}.networks[0]"),
            "V9",
        ),
        (
            networks(json!(["::ffff:10.0.0.0/104"])),
            format!("{to}.networks[0]"),
            "V9",
        ),
        (
            networks(json!(["10.0.0.0/8", "10.0.0.0/8"])),
            format!("{to}.networks[1]"),
            "R46",
        ),
        (
            networks(json!(
                (0..26)
                    .map(|n| format!("10.{n}.0.0/16"))
                    .collect::<Vec<_>>()
            )),
            format!("{to}.networks"),
            "R46",
        ),
        (
            domains(json!(["org"])),
            format!("{to}.domainNames[0]"),
            "R52",
        ),
        (
            domains(json!(["a.*.org"])),
            format!("{to}.domainNames[0]"),
            "R52",
        ),
        (
            domains(json!(["-a.org"])),
            format!("{to}.domainNames[0]"),
            "R52",
        ),
        (domains(json!([])), format!("{to}.domainNames"), "R46"),
        (with_protocol(json!({})), item.to_owned(), "R54"),
        (
            with_protocol(json!({"tcp": {}})),
            format!("{item}.tcp"),
            "R54",
        ),
        (tcp(json!({})), format!("{item}.tcp.destinationPort"), "R54"),
        (
            tcp(json!({"number": 0})),
            format!("{item}.tcp.destinationPort.number"),
            "V2",
        ),
        (
            tcp(json!({"number": 65536})),
            format!("{item}.tcp.destinationPort.number"),
            "V2",
        ),
        (
            tcp(json!({"number": "80"})),
            format!("{item}.tcp.destinationPort.number"),
            "V14",
        ),
        (
            tcp(json!({"range": {"start": 9, "end": 9}})),
            format!("{item}.tcp.destinationPort.range"),
            "V6",
        ),
        (
            tcp(json!({"range": {"start": 9}})),
            format!("{item}.tcp.destinationPort.range.end"),
            "V2",
        ),
        (
            tcp(json!({"number": 1, "range": {"start": 1, "end": 2}})),
            format!("{item}.tcp.destinationPort"),
            "R54",
        ),
        (
            with_rule(|rule| {
                (rule["to"], rule["protocols"]) = (json!([{"nodes": {}}]), named.clone())
            }),
            "spec.egress[0]".to_owned(),
            "R54",
        ),
        (
            with_rule(|rule| {
                (rule["to"], rule["protocols"]) =
                    (json!([everybody(), {"networks": ["10.0.0.0/8"]}]), named)
            }),
            "spec.egress[0]".to_owned(),
            "R54",
        ),
    ];
    for (object, field, rule) in table {
        assert_eq!(refused(&object), [(field, rule)], "{object}");
    }
}

#[test]
fn unknown_fields_and_versions_are_refused() {
    let ingress = |peer: Value| {
        let rule = json!({"action": "Deny", "from": [peer]});
        cluster_policy(
            "p",
            "Admin",
            1,
            json!({"subject": everybody(), "ingress": [rule]}),
        )
    };
    let old = |rule: Value| {
        v1alpha1(
            "p",
            json!({"priority": 1, "subject": everybody(), "egress": [rule]}),
        )
    };
    let table = [
        (
            with_spec(|spec| spec["podSelector"] = json!({})),
            "spec.podSelector",
            1,
        ),
        (
            with_rule(|rule| rule["ports"] = json!([])),
            "spec.egress[0].ports",
            1,
        ),
        (
            with_rule(|rule| rule["from"] = json!([])),
            "spec.egress[0].from",
            1,
        ),
        // The sources of traffic to a pod are pods.
        (
            ingress(json!({"networks": ["10.0.0.0/8"]})),
            "spec.ingress[0].from[0].networks",
            2,
        ),
        (
            ingress(json!({"nodes": {}})),
            "spec.ingress[0].from[0].nodes",
            2,
        ),
        (
            ingress(json!({"namespaces": {"team": "a"}})),
            "spec.ingress[0].from[0].namespaces.team",
            1,
        ),
        (
            old(json!({"action": "Deny", "to": [everybody()], "protocols": []})),
            "spec.egress[0].protocols",
            1,
        ),
    ];
    for (object, field, count) in table {
        let refused = refused(&object);
        assert_eq!(
            refused.first(),
            Some(&(field.to_owned(), "V15")),
            "{object}"
        );
        assert_eq!(refused.len(), count, "{refused:?}");
    }
    let mut other = with_spec(|_| {});
    other["apiVersion"] = json!("policy.networking.k8s.io/v1alpha1");
    assert_eq!(refused(&other), [("apiVersion".to_owned(), "V14")]);
    // Somebody else's kind of that name.
    other["apiVersion"] = json!("crd.antrea.io/v1beta1");
    assert_eq!(decode(&other, &Decode::default()), Ok(vec![]));
}

#[test]
fn what_a_crd_does_not_look_at_is_taken() {
    for taken in [
        with_spec(|_| {}),
        with_spec(|spec| spec["priority"] = json!(1000)),
        with_spec(|spec| without(spec, "egress")),
        with_peer(json!({"networks": ["10.1.2.3/8", "2001:db8::1/32"]})),
        with_peer(json!({"domainNames": ["Example.org.", "*.example.org", "a_b.example.org"]})),
        // A domain name may even be denied: only the text of the API is against it.
        with_rule(|rule| {
            (rule["action"], rule["to"]) =
                (json!("Deny"), json!([{"domainNames": ["example.org"]}]))
        }),
        with_peer(
            json!({"namespaces": {"matchExpressions": [{"key": "!", "operator": "Foo", "values": []}]}}),
        ),
        with_peer(json!({"namespaces": {"matchLabels": {"not a key": "not a value!"}}})),
    ] {
        assert_eq!(refused(&taken), [], "{taken}");
    }
    // But a requirement has a key and an operator.
    let half = with_peer(json!({"nodes": {"matchExpressions": [{"key": "a"}]}}));
    let field = "spec.egress[0].to[0].nodes.matchExpressions[0].operator";
    assert_eq!(refused(&half), [(field.to_owned(), "V11")]);
}

#[test]
fn without_validation_only_what_has_no_place_is_refused() {
    let options = Decode {
        validation: Validation::Off,
        ..Decode::default()
    };
    let taken = |object: &Value| decode(object, &options).is_ok();
    assert!(taken(&with_spec(|spec| spec["priority"] = json!(2000))));
    assert!(taken(&with_rule(|rule| rule["action"] = json!("Allow"))));
    assert!(taken(&with_peer(json!({"galaxies": {}}))));
    assert!(!taken(&with_spec(|spec| without(spec, "tier"))));
    assert!(!taken(
        &json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "p"}})
    ));
}
