//! Every case of every suite: no wrong verdict where the specification is certain. What the engine calls
//! unknown there is wrong too.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::net::IpAddr;
use std::sync::Arc;

use conformance::{Case, Expected, Probe};
use node_agent_engine::k8s::{Decode, Validation, decode};
use node_agent_engine::model::ObjectKey;
use node_agent_engine::verdict::Decision;
use node_agent_engine::{Cluster, Moment};
use node_agent_engine::{Connection, Party, Profile};
use serde_json::{Value, json};

/// Every suite, and how many certain probes it had when this was written.
const SUITES: [(&str, usize); 5] = [
    ("k8s-e2e-netpol", 506),
    ("cyclonus", 109_956),
    ("kube-network-policies", 114),
    ("cnp-conformance", 301),
    ("policy-assistant", 562),
];
const NOW: Moment = Moment(1);

#[derive(Default)]
struct Tally {
    cases: usize,
    judged: usize,
    open: usize,
    open_differs: usize,
    wrong: Vec<String>,
}

#[test]
fn no_verdict_is_wrong() {
    let mut wrong = Vec::new();
    for (suite, floor) in SUITES {
        let cases: Vec<Case> = conformance::read(suite).unwrap();
        let certain: usize = cases
            .iter()
            .map(|case| case.probes.iter().filter(|probe| probe.certain).count())
            .sum();
        let mut tally = Tally::default();
        for case in &cases {
            judge(case, &mut tally);
        }
        println!(
            "{suite}: {} cases, {} probes judged, {} wrong; {} left open, {} of them other than the suite has it",
            tally.cases,
            tally.judged,
            tally.wrong.len(),
            tally.open,
            tally.open_differs
        );
        assert_eq!(
            tally.judged, certain,
            "{suite}: every certain probe is judged"
        );
        assert!(
            tally.judged >= floor,
            "{suite}: only {} probes judged",
            tally.judged
        );
        wrong.append(&mut tally.wrong);
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong
            .iter()
            .take(40)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

fn judge(case: &Case, tally: &mut Tally) {
    tally.cases += 1;
    let cluster = build(case);
    for probe in &case.probes {
        let connection = connection(&cluster, probe);
        let verdict = cluster.evaluate(&connection, Profile::Generic);
        let sides = [
            ("verdict", Some(probe.expect), verdict.verdict),
            ("egress", probe.expect_egress, verdict.egress.verdict),
            ("ingress", probe.expect_ingress, verdict.ingress.verdict),
        ];
        let differs = sides
            .iter()
            .find(|(_, expected, found)| expected.is_some_and(|expected| !is(expected, *found)));
        if probe.certain {
            tally.judged += 1;
            if let Some((what, expected, _)) = differs {
                tally.wrong.push(format!(
                    "{} / {}: {probe:?}: {what} expected {expected:?}, found {verdict:?}",
                    case.suite, case.case
                ));
            }
        } else {
            tally.open += 1;
            tally.open_differs += usize::from(differs.is_some());
        }
    }
}

fn is(expected: Expected, found: Decision) -> bool {
    match expected {
        Expected::Allow => found == Decision::Allowed,
        Expected::Deny => found == Decision::Denied,
    }
}

fn build(case: &Case) -> Cluster {
    let validation = if case.api_server_rejects.is_empty() {
        Validation::Strict
    } else {
        Validation::Off
    };
    let options = Decode {
        default_namespace: "default".into(),
        validation,
    };
    let mut cluster = Cluster::new();
    cluster.set_names(
        case.domains
            .iter()
            .map(|(name, ips)| (name, ips.clone()))
            .collect(),
    );
    for object in objects(case).iter().chain(&case.policies) {
        let deltas =
            decode(object, &options).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", case.case));
        assert_eq!(deltas.len(), 1, "{}: {object}", case.case);
        for delta in &deltas {
            cluster.apply(delta, NOW);
        }
    }
    cluster
}

fn objects(case: &Case) -> Vec<Value> {
    let namespaces = case.namespaces.iter().map(|namespace| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name, "labels": namespace.labels}})
    });
    let nodes = case.nodes.iter().map(|node| {
        let addresses: Vec<Value> = node.ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": node.labels},
               "status": {"addresses": addresses}})
    });
    let pods = case.pods.iter().map(|pod| {
        let containers: Vec<Value> = (pod.ports.iter())
            .map(|port| json!({"ports": [{"name": port.name, "containerPort": port.port, "protocol": port.protocol}]}))
            .collect();
        let ips: Vec<Value> = pod.ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"apiVersion": "v1", "kind": "Pod",
               "metadata": {"namespace": pod.ns, "name": pod.name, "labels": pod.labels},
               "spec": {"nodeName": pod.node, "hostNetwork": pod.host_network, "containers": containers},
               "status": {"phase": pod.phase, "podIPs": ips}})
    });
    namespaces.chain(nodes).chain(pods).collect()
}

fn connection(cluster: &Cluster, probe: &Probe) -> Connection {
    Connection {
        source: party(cluster, &probe.src, probe.src_ip.as_deref()),
        destination: party(cluster, &probe.dst, probe.dst_ip.as_deref()),
        protocol: probe.protocol,
        port: probe.port,
        via_service: probe.via.is_some(),
    }
}

fn party(cluster: &Cluster, name: &str, ip: Option<&str>) -> Party {
    let ip: Option<IpAddr> = ip.map(|ip| ip.parse().unwrap());
    if let Ok(ip) = name.parse() {
        return cluster.party_at(ip, NOW);
    }
    let (namespace, pod) = name.split_once('/').unwrap();
    let key = ObjectKey {
        namespace: Arc::from(namespace),
        name: Arc::from(pod),
    };
    cluster
        .party_of(&key, ip, NOW)
        .unwrap_or_else(|| panic!("no pod {name}"))
}
