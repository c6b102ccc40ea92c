//! The clusters of the shared scenarios: every expected connection, with the directions that deny it.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use node_agent_engine::k8s::{Decode, decode, items};
use node_agent_engine::model::{ObjectKey, Protocol};
use node_agent_engine::verdict::{Decision, Verdict};
use node_agent_engine::{Cluster, Moment};
use node_agent_engine::{Connection, Party, Profile};
use serde_json::Value;

const NOW: Moment = Moment(1);

#[test]
fn operators_expectations_hold() {
    let folder = conformance::shared().join("scenarios");
    let mut judged = 0;
    let mut wrong = Vec::new();
    for scenario in ["app", "dev-containers", "kasm", "safeops", "vdi"] {
        let (cluster, refused) = load(&folder.join(scenario));
        let expectations = read(&folder.join(scenario).join("expect.tsv"));
        let mut rows = 0;
        for line in expectations
            .lines()
            .skip(1)
            .filter(|line| !line.trim().is_empty())
        {
            let fields: Vec<&str> = line.split('\t').collect();
            let [from, to, port, expected, direction] = fields.as_slice() else {
                panic!("{scenario}: {line}");
            };
            rows += 1;
            let verdict = cluster.evaluate(&connection(&cluster, from, to, port), Profile::Generic);
            if answer(&verdict) != (expected.to_string(), direction.to_string()) {
                wrong.push(format!("{scenario}: {line}: {verdict:?}"));
            }
        }
        println!("{scenario}: {rows} connections, {refused} objects refused");
        assert_eq!(refused, usize::from(scenario == "app"), "{scenario}");
        judged += rows;
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(judged >= 69, "only {judged} connections judged");
}

fn answer(verdict: &Verdict) -> (String, String) {
    let denies = |decision| decision == Decision::Denied;
    let direction = match (
        denies(verdict.egress.verdict),
        denies(verdict.ingress.verdict),
    ) {
        (true, true) => "egress+ingress",
        (true, false) => "egress",
        (false, true) => "ingress",
        (false, false) => "-",
    };
    let word = match verdict.verdict {
        Decision::Allowed => "allowed",
        Decision::Denied => "denied",
        Decision::Unknown => "unknown",
    };
    (word.to_owned(), direction.to_owned())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; set NETVERDICT_SHARED", path.display()))
}

fn load(folder: &Path) -> (Cluster, usize) {
    let mut cluster = Cluster::new();
    let mut refused = 0;
    for file in ["cluster.yaml", "policies.yaml"] {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&read(&folder.join(file))).unwrap();
        for document in documents.iter().filter(|document| !document.is_null()) {
            for object in items(document) {
                match decode(&object, &Decode::default()) {
                    Ok(deltas) => deltas
                        .iter()
                        .for_each(|delta| drop(cluster.apply(delta, NOW))),
                    Err(rejections) => {
                        refused += 1;
                        rejections
                            .iter()
                            .for_each(|rejection| println!("{rejection}"));
                    }
                }
            }
        }
    }
    (cluster, refused)
}

fn connection(cluster: &Cluster, from: &str, to: &str, port: &str) -> Connection {
    let (port, protocol) = port.split_once('/').unwrap();
    let protocol: Protocol = serde_json::from_value(protocol.into()).unwrap();
    Connection {
        source: party(cluster, from),
        destination: party(cluster, to),
        protocol,
        port: port.parse().ok(),
        via_service: false,
    }
}

fn party(cluster: &Cluster, name: &str) -> Party {
    if let Ok(ip) = name.parse() {
        return cluster.party_at(ip, NOW);
    }
    let (namespace, pod) = name.split_once('/').unwrap();
    let key = ObjectKey {
        namespace: namespace.into(),
        name: pod.into(),
    };
    cluster
        .party_of(&key, None, NOW)
        .unwrap_or_else(|| panic!("no pod {name}"))
}
