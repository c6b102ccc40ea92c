use node_agent_engine::k8s::{Decode, decode, items};
use node_agent_engine::model::Delta;
use serde_json::{Value, json};

use crate::support::*;

fn refused(object: &Value) -> Vec<(String, &'static str)> {
    let rejections = decode(object, &Decode::default()).err().unwrap_or_default();
    rejections
        .into_iter()
        .map(|rejection| (rejection.field, rejection.rule))
        .collect()
}

#[test]
fn v1_to_v14_name_the_field_and_the_rule() {
    let port = |item: Value| json!({"egress": [{"ports": [{"port": 1}, item]}]});
    let peer = |item: Value| json!({"ingress": [{}, {"from": [item]}]});
    let block = |block: Value| peer(json!({"ipBlock": block}));
    let types = json!({"policyTypes": ["Ingress", "Egress", "Ingress"]});
    let table = [
        (
            port(json!({"protocol": "ICMP"})),
            "spec.egress[0].ports[1].protocol",
            "V1",
        ),
        (
            port(json!({"protocol": ""})),
            "spec.egress[0].ports[1].protocol",
            "V1",
        ),
        (
            port(json!({"protocol": "tcp"})),
            "spec.egress[0].ports[1].protocol",
            "V1",
        ),
        (
            port(json!({"port": 0})),
            "spec.egress[0].ports[1].port",
            "V2",
        ),
        (
            port(json!({"port": 65536})),
            "spec.egress[0].ports[1].port",
            "V2",
        ),
        (
            port(json!({"port": "80"})),
            "spec.egress[0].ports[1].port",
            "V3",
        ),
        (
            port(json!({"endPort": 80})),
            "spec.egress[0].ports[1].endPort",
            "V4",
        ),
        (
            port(json!({"port": "web", "endPort": 80})),
            "spec.egress[0].ports[1].endPort",
            "V5",
        ),
        (
            port(json!({"port": 80, "endPort": 79})),
            "spec.egress[0].ports[1].endPort",
            "V6",
        ),
        (
            port(json!({"port": 80, "endPort": 65536})),
            "spec.egress[0].ports[1].endPort",
            "V6",
        ),
        (peer(json!({})), "spec.ingress[1].from[0]", "V7"),
        (peer(json!(null)), "spec.ingress[1].from[0]", "V7"),
        (
            peer(json!({"podSelector": null})),
            "spec.ingress[1].from[0]",
            "V7",
        ),
        (
            peer(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
            "spec.ingress[1].from[0]",
            "V8",
        ),
        (
            block(json!({})),
            "spec.ingress[1].from[0].ipBlock.cidr",
            "V9",
        ),
        (
            block(json!({"cidr": "10.0.0.0"})),
            "spec.ingress[1].from[0].ipBlock.cidr",
            "V9",
        ),
        (
            block(json!({"cidr": "010.0.0.0/8"})),
            "spec.ingress[1].from[0].ipBlock.cidr",
            "V9",
        ),
        (
            block(json!({"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]})),
            "spec.ingress[1].from[0].ipBlock.except[0]",
            "V10",
        ),
        (
            block(json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"]})),
            "spec.ingress[1].from[0].ipBlock.except[1]",
            "V10",
        ),
        (
            block(json!({"cidr": "10.0.0.0/8", "except": ["2001:db8::/64"]})),
            "spec.ingress[1].from[0].ipBlock.except[0]",
            "V10",
        ),
        (
            json!({"podSelector": {"matchLabels": {"a b": "c"}}}),
            "spec.podSelector.matchLabels[a b]",
            "V11",
        ),
        (types, "spec.policyTypes", "V12"),
        (
            json!({"policyTypes": ["Ingress", "ingress"]}),
            "spec.policyTypes[1]",
            "V12",
        ),
        (json!({"ingress": {}}), "spec.ingress", "V14"),
        (
            port(json!({"port": 1.5})),
            "spec.egress[0].ports[1].port",
            "V14",
        ),
        (
            port(json!({"port": 80, "endPort": "90"})),
            "spec.egress[0].ports[1].endPort",
            "V14",
        ),
    ];
    for (spec, field, rule) in table {
        assert_eq!(
            refused(&policy("x/p", spec.clone())),
            [(field.to_owned(), rule)],
            "{spec}"
        );
    }
    assert_eq!(
        refused(&policy("x/Upper", json!({}))),
        [("metadata.name".to_owned(), "V13")]
    );
    assert_eq!(
        refused(&policy(&format!("x/{}", "a".repeat(254)), json!({}))),
        [("metadata.name".to_owned(), "V13")]
    );
}

#[test]
fn v15_and_r43_unknown_fields_are_refused_at_every_level() {
    let table = [
        (json!({"podSelector": {"app": "x"}}), "spec.podSelector.app"),
        (json!({"podselector": {}}), "spec.podselector"),
        (json!({"ingress": [{"to": []}]}), "spec.ingress[0].to"),
        (
            json!({"ingress": [{"from": [{"podSelector": {}, "port": 80}]}]}),
            "spec.ingress[0].from[0].port",
        ),
        (
            json!({"ingress": [{"ports": [{"port": 80, "endport": 90}]}]}),
            "spec.ingress[0].ports[0].endport",
        ),
        (
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "excepts": []}}]}]}),
            "spec.egress[0].to[0].ipBlock.excepts",
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "value": "b"}]}}),
            "spec.podSelector.matchExpressions[0].value",
        ),
    ];
    for (spec, field) in table {
        assert_eq!(
            refused(&policy("x/p", spec.clone())),
            [(field.to_owned(), "V15")],
            "{spec}"
        );
    }
}

#[test]
fn what_is_not_refused() {
    for spec in [
        json!({"policyTypes": ["Egress"], "ingress": [{}]}),
        json!({"policyTypes": ["Ingress", "Ingress"]}),
        json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.0.0.0/9", "10.128.0.0/9"]}}]}]}),
        json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": []}, {"key": "a", "operator": "DoesNotExist"}]}}),
        json!({"podSelector": {"matchLabels": {"a": null}}}),
    ] {
        assert_eq!(refused(&policy("x/p", spec.clone())), [], "{spec}");
    }
}

#[test]
fn r11_spellings_of_old_are_tolerated_where_a_server_holds_the_object() {
    let spec = json!({"ingress": [{"from": [
        {"ipBlock": {"cidr": "010.000.0.0/8", "except": ["010.1.0.0/16"]}}, {"ipBlock": {"cidr": "::ffff:192.0.2.0/120"}}]}]});
    let new = policy("x/p", spec);
    assert_eq!(refused(&new).len(), 3);
    let given = [
        ("uid", "7f3a"),
        ("resourceVersion", "12"),
        ("creationTimestamp", "2024-01-01T00:00:00Z"),
    ];
    for (field, value) in given {
        let mut stored = new.clone();
        stored["metadata"][field] = json!(value);
        let world = with(&[stored]);
        world.check(&[
            ("10.2.0.1", "x/a", 80, Tcp, Allowed),
            ("10.1.0.1", "x/a", 80, Tcp, Denied),
            ("192.0.2.9", "x/a", 80, Tcp, Allowed),
            ("192.0.3.9", "x/a", 80, Tcp, Denied),
        ]);
    }
    let mut hasty = new;
    hasty["metadata"]["creationTimestamp"] = json!(null);
    assert_eq!(
        refused(&hasty).len(),
        3,
        "kubectl writes null where none is"
    );
}

#[test]
fn kinds_of_others_and_lists() {
    let kind = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
    for other in [
        kind("crd.antrea.io/v1beta1", "NetworkPolicy"),
        kind("serving.knative.dev/v1", "Service"),
        kind("apps/v1", "Deployment"),
        kind("v1", "ConfigMap"),
    ] {
        assert_eq!(decode(&other, &Decode::default()), Ok(vec![]), "{other}");
    }
    for wrong in [
        json!("text"),
        json!({"metadata": {}}),
        json!({"kind": "Pod"}),
        kind("extensions/v1beta1", "NetworkPolicy"),
    ] {
        assert_eq!(refused(&wrong).len(), 1, "{wrong}");
    }
    let pod = json!({"metadata": {"name": "p"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "PodList", "items": [pod, pod]}, kind("v1", "Node"), {"apiVersion": "v1", "kind": "List", "items": null}]});
    assert_eq!(items(&list).len(), 3);
    let deltas = decode(&list, &Decode::default()).unwrap();
    assert!(
        matches!(
            deltas.as_slice(),
            [Delta::Pod(_), Delta::Pod(_), Delta::Node(_)]
        ),
        "{deltas:?}"
    );
}

#[test]
fn pods_are_read_as_they_are_written() {
    let object = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-7d9-x2", "labels": {"pod-template-hash": "7d9"}, "annotations": {"netverdict.io/log": "all", "other": "x"}, "unheard": 1,
            "ownerReferences": [{"kind": "Other", "name": "o"}, {"kind": "ReplicaSet", "name": "web-7d9", "controller": true}]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
        "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "::ffff:10.0.0.1"}, {"ip": "10.0.0.1"}, {"ip": "2001:db8::1"}]}});
    let deltas = decode(&object, &Decode::default()).unwrap();
    let [Delta::Pod(pod)] = deltas.as_slice() else {
        panic!("{deltas:?}")
    };
    assert_eq!(
        (pod.workload.kind.as_ref(), pod.workload.name.as_ref()),
        ("Deployment", "web")
    );
    assert_eq!(
        (pod.key.namespace.as_ref(), pod.service_account.as_ref()),
        ("default", "default")
    );
    assert_eq!(pod.annotations.len(), 1);
    let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.0.0.1", "2001:db8::1"]);
}

/// Who a pod belongs to: its Deployment and its CronJob are known by the names of what they made.
#[test]
fn a_pod_is_told_of_as_what_made_it() {
    for (kind, owner, expected) in [
        ("Job", "backup-29412345", ("CronJob", "backup")),
        (
            "Job",
            "data-2-backup-26000000",
            ("CronJob", "data-2-backup"),
        ),
        ("Job", "backup-39999999", ("CronJob", "backup")),
        // Nobody's minute: a date, too early, too late, too short, no number, nobody's name.
        ("Job", "backup-20261122", ("Job", "backup-20261122")),
        ("Job", "backup-25999999", ("Job", "backup-25999999")),
        ("Job", "backup-40000000", ("Job", "backup-40000000")),
        ("Job", "backup-2941234", ("Job", "backup-2941234")),
        ("Job", "backup-029412345", ("Job", "backup-029412345")),
        ("Job", "backup-+2941234", ("Job", "backup-+2941234")),
        ("Job", "backup29412345", ("Job", "backup29412345")),
        ("Job", "-29412345", ("Job", "-29412345")),
        ("Job", "backup", ("Job", "backup")),
        ("Other", "backup-29412345", ("Other", "backup-29412345")),
        // A static pod's mirror belongs to its node, as whom it does not speak.
        ("Node", "node-1", ("Pod", "p-node-1")),
        ("StatefulSet", "db", ("StatefulSet", "db")),
    ] {
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p-node-1", "ownerReferences": [{"kind": kind, "name": owner, "controller": true}]}});
        let deltas = decode(&object, &Decode::default()).unwrap();
        let [Delta::Pod(pod)] = deltas.as_slice() else {
            panic!("{deltas:?}")
        };
        let found = (pod.workload.kind.as_ref(), pod.workload.name.as_ref());
        assert_eq!(found, expected, "{kind} {owner}");
    }
}
