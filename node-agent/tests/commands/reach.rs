//! `netverdict reach`.

use serde_json::Value;

use crate::support::{Said, World};

/// Who, on which ports, and what opens it on each side.
type Row = (String, String, String, String);

/// One row for each way, ports as `TCP 80-90`.
fn rows(said: &Said) -> Vec<Row> {
    said.json().iter().map(row).collect()
}

fn row(way: &Value) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let peer = &way["peer"];
    let ports = way["ports"].as_array().unwrap().iter().map(|span| {
        format!(
            "{} {}-{}",
            text(&span["protocol"]),
            span["first"],
            span["last"]
        )
    });
    let opening = |side: &str| match &way[side]["allowed_by"]["policy"]["name"] {
        Value::String(name) => name.clone(),
        _ => text(&way[side]["reason"]),
    };
    (
        format!("{} {}", text(&peer["kind"]), text(&peer["name"])),
        ports.collect::<Vec<_>>().join(", "),
        opening("egress"),
        opening("ingress"),
    )
}

fn expected(rows: &[(&str, &str, &str, &str)]) -> Vec<Row> {
    let owned = |(a, b, c, d): &(&str, &str, &str, &str)| {
        let [a, b, c, d] = [a, b, c, d].map(|text| (*text).to_owned());
        (a, b, c, d)
    };
    rows.iter().map(owned).collect()
}

const ALL: &str = "TCP 1-65535, UDP 1-65535, SCTP 1-65535";

#[test]
fn ways_are_grouped_by_workload_with_what_opens_them() {
    let world = World::shop();
    for (flags, wanted) in [
        (
            "--to shop/db-0",
            &[("Deployment api", "TCP 5432-5432", "api", "db")][..],
        ),
        (
            "--from shop/api-6d-b",
            &[("Pod db-0", "TCP 5432-5432", "api", "db")],
        ),
        (
            "--from shop/web-0",
            &[
                // A pod and its own node; the world less what is taken out.
                ("Node node-1", ALL, "own_node", "not_subject"),
                ("World 0.0.0.0/0", "TCP 443-443", "web", "not_subject"),
            ],
        ),
        (
            "--to 192.0.2.1",
            &[
                ("Pod web-0", "TCP 443-443", "web", "not_subject"),
                ("Node node-1", ALL, "not_subject", "not_subject"),
                ("World 0.0.0.0/0", ALL, "not_subject", "not_subject"),
            ],
        ),
    ] {
        let said = world.run("reach", &format!("{flags} -o json")).well(0);
        assert_eq!(rows(&said), expected(wanted), "{flags}");
    }
}

#[test]
fn both_pods_of_a_workload_are_named() {
    let said = World::shop().run("reach", "--to shop/db-0 -o json").well(0);
    let way = &said.json()[0];
    assert_eq!(way["pods"], serde_json::json!(["api-6d-a", "api-6d-b"]));
    assert_eq!(way["to"], "shop/db-0");
    assert_eq!(way["verdict"], "allowed");
}

#[test]
fn a_table_and_a_graph_say_the_same() {
    let world = World::shop();
    let table = world.run("reach", "--to shop/db-0").well(0).stdout;
    for words in [
        "shop/Deployment api (2 pods)",
        "TCP 5432",
        "shop/api rule 0",
        "shop/db rule 0",
    ] {
        assert!(table.contains(words), "{table}");
    }
    let graph = world.run("reach", "--to shop/db-0 -o dot").well(0).stdout;
    assert!(
        graph.starts_with("digraph reach {\n") && graph.ends_with("}\n"),
        "{graph}"
    );
    let edge = "\"shop/Deployment api\" -> \"shop/db-0\" [label=\"TCP 5432\\negress: shop/api rule 0\\ningress: shop/db rule 0\"];";
    assert!(graph.contains(edge), "{graph}");
}

#[test]
fn records_add_what_was_reached() {
    let world = World::shop();
    // Three times to the database, which was allowed; once to a pod that policy closes; once in vain.
    let text = [
        record("db-0", "Pod", "10.0.0.4", 5432, "answered", 2),
        record("db-0", "Pod", "10.0.0.4", 5432, "refused", 1),
        record("web-0", "Pod", "10.0.0.1", 8080, "answered", 1),
        record("web-0", "Pod", "10.0.0.1", 9090, "dropped", 7),
        r#"{"schema":"netverdict/v1","id":"1","time":"2026-01-01T00:00:00Z","node":"n","type":"lost","stage":"ring","count":1}"#.to_owned(),
    ]
    .join("\n");
    let records = world.file("records.jsonl", &text);
    let flags = format!("--from shop/api-6d-a --input-file {records} -o json");
    let said = world.run("reach", &flags).well(0);
    let ways = said.json();
    let shown = |way: &Value| {
        let (peer, ports, ..) = row(way);
        (
            peer,
            ports,
            way["verdict"].clone(),
            way["reached"]["count"].clone(),
        )
    };
    let found: Vec<_> = ways
        .iter()
        .map(shown)
        .filter(|(.., count)| !count.is_null())
        .collect();
    let wanted = |peer: &str, ports: &str, verdict: &str, count: u64| {
        (
            peer.to_owned(),
            ports.to_owned(),
            Value::from(verdict),
            Value::from(count),
        )
    };
    assert_eq!(
        found,
        [
            wanted("Pod db-0", "TCP 5432-5432", "allowed", 3),
            wanted("Pod web-0", "TCP 8080-8080", "denied", 1),
        ]
    );
}

/// A record of api-6d-a's connection to a pod.
fn record(name: &str, kind: &str, ip: &str, port: u16, outcome: &str, count: u64) -> String {
    let pod = |name: &str, kind: &str, workload: &str, ip: &str, port: u16| {
        serde_json::json!({"kind": "pod", "namespace": "shop", "name": name, "ip": ip, "port": port,
            "workload": {"kind": kind, "name": workload}})
    };
    let side = serde_json::json!({"verdict": "allowed", "reason": "not_isolated"});
    serde_json::json!({
        "schema": "netverdict/v1", "id": "1", "time": "2026-01-01T00:00:00Z", "node": "n", "type": "connection",
        "assessment": "allowed", "reporter": "both", "protocol": "TCP", "family": "IPv4",
        "source": pod("api-6d-a", "Deployment", "api", "10.0.0.2", 40000),
        "destination": pod(name, kind, name, ip, port),
        "verdict": {"verdict": "allowed", "egress": side, "ingress": side},
        "outcome": {"outcome": outcome, "client_saw": "answer", "evidence": []},
        "policy_state": {"as_of": "2026-01-01T00:00:00Z", "settled_s": 1},
        "conversation_id": "c", "community_id": "1:c", "count": count,
        "first_seen": "2026-01-01T00:00:00Z", "last_seen": "2026-01-01T00:00:01Z", "lost": 0
    })
    .to_string()
}

/// Two pods of one workload that share a way each have one of their own, and a pod whose addresses are of both
/// families.
const ROLLED: &str = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: s, labels: {app: web}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: w, controller: true}]}, spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}, status: {podIP: 10.0.0.5}}
- {apiVersion: v1, kind: Pod, metadata: {name: web-2, namespace: s, labels: {app: web}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: w, controller: true}]}, spec: {containers: [{ports: [{name: http, containerPort: 9090}]}]}, status: {podIP: 10.0.0.6}}
- {apiVersion: v1, kind: Pod, metadata: {name: db, namespace: s, labels: {app: db}}, spec: {containers: [{}]}, status: {podIP: 10.0.0.7, podIPs: [{ip: 10.0.0.7}, {ip: "fd00::7"}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: log, namespace: s, labels: {app: log}}, spec: {containers: [{}]}, status: {podIP: 10.0.0.8, podIPs: [{ip: 10.0.0.8}, {ip: "fd00::8"}]}}
- {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web, namespace: s}, spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}, {ports: [{port: 1, protocol: UDP}]}]}}
- {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: log, namespace: s}, spec: {podSelector: {matchLabels: {app: log}}, ingress: [{from: [{ipBlock: {cidr: "fd00::/64"}}]}]}}
- {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: out, namespace: s}, spec: {podSelector: {matchLabels: {app: log}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}}]}]}}
"#;

#[test]
fn a_way_that_pods_of_a_workload_share_is_told_once() {
    let world = World::of(&[("all.yaml", ROLLED)]);
    let said = world.run("reach", "--from s/db -o json").well(0);
    let ways = said.json();
    let web = ways.iter().filter(|way| way["peer"]["name"] == "web");
    let found: Vec<(String, Value)> = web.map(|way| (row(way).1, way["pods"].clone())).collect();
    assert_eq!(
        found,
        [
            ("TCP 8080-8080".to_owned(), serde_json::json!(["web-1"])),
            ("UDP 1-1".to_owned(), serde_json::json!(["web-1", "web-2"])),
            ("TCP 9090-9090".to_owned(), serde_json::json!(["web-2"])),
        ]
    );
    // Whoever looks at the picture sees which pods are meant where not all are.
    let graph = world.run("reach", "--from s/db -o dot").well(0).stdout;
    for label in [
        "[label=\"web-1\\nTCP 8080\\n",
        "[label=\"UDP 1\\n",
        "[label=\"web-2\\nTCP 9090\\n",
    ] {
        assert_eq!(graph.matches(label).count(), 1, "{label} {graph}");
    }
}

#[test]
fn a_way_over_one_family_says_so() {
    let world = World::of(&[("all.yaml", ROLLED)]);
    for (flags, peer) in [("--from s/db", "log"), ("--to s/log", "db")] {
        let said = world.run("reach", &format!("{flags} -o json")).well(0);
        let ways = said.json();
        let way = ways.iter().find(|way| way["peer"]["name"] == peer);
        let way = way.unwrap_or_else(|| panic!("{flags}: {ways:?}"));
        assert_eq!(way["family"], "IPv6", "{flags}");
        let table = world.run("reach", flags).well(0).stdout;
        assert!(table.contains("any port over IPv6"), "{table}");
    }
}

#[test]
fn what_is_closed_is_named() {
    let world = World::of(&[("all.yaml", ROLLED)]);
    let said = world.run("reach", "--from s/log -o json").well(0);
    let ways = said.json();
    let world_way = &ways[0]["peer"];
    assert_eq!(world_way["name"], "0.0.0.0/0");
    assert_eq!(
        world_way["except"],
        serde_json::json!(["10.0.0.0/8", "192.168.0.0/16"])
    );
    let table = world.run("reach", "--from s/log").well(0).stdout;
    for words in [
        "World 0.0.0.0/0 except 10.0.0.0/8, 192.168.0.0/16",
        "5 others cannot be reached from s/log: s/db; s/StatefulSet web; World 10.0.0.0/8; World 192.168.0.0/16; World ::/0.",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let one = world.run("reach", "--to s/web-1").well(0).stdout;
    assert!(
        one.contains("1 other cannot reach s/web-1: s/log."),
        "{one}"
    );
}

#[test]
fn both_ends_that_can_be_asked_are_in_the_usage() {
    let said = World::shop().run("reach", "");
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("<--from <END>|--to <END>>"),
        "{}",
        said.stderr
    );
    let both = World::shop().run("reach", "--from shop/web-0 --to shop/db-0");
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}
