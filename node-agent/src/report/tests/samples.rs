//! Samples of everything that can be told.

use super::*;

pub(super) const TIME: &str = "2026-11-21T01:02:03.123456789Z";

pub(super) fn policy(name: &str) -> PolicyRef {
    PolicyRef {
        key: PolicyKey {
            kind: "NetworkPolicy".into(),
            namespace: "kasm".into(),
            name: name.into(),
        },
        uid: "".into(),
        generation: 1,
    }
}

pub(super) fn side(verdict: Decision, reason: Reason) -> Side {
    Side {
        verdict,
        reason,
        kept: None,
        isolated_by: vec![],
        unsupported: vec![],
        allowed_by: None,
        denied_by: None,
        left_open: None,
        nearest: None,
        would_allow: None,
    }
}

pub(super) fn endpoint(kind: EndpointKind, name: &str, port: u16) -> Endpoint {
    let is_pod = kind == EndpointKind::Pod;
    let of_pod = |text: &str| is_pod.then(|| Arc::<str>::from(text));
    Endpoint {
        kind,
        namespace: of_pod("kasm"),
        name: of_pod(name),
        uid: of_pod("u-1"),
        workload: is_pod.then(|| Workload {
            kind: "Deployment".into(),
            name: name.into(),
        }),
        service_account: of_pod("default"),
        labels: is_pod.then(|| [("app".into(), name.into())].into()),
        node: of_pod("node-1"),
        ip: "10.42.0.16".parse().unwrap(),
        port,
        port_name: None,
    }
}

/// A connection that a policy denied and netfilter dropped.
pub(super) fn blocked() -> Connection {
    let rule = RuleRef {
        policy: policy("allow-db"),
        rule: 0,
        peer: Some(0),
        port: Some(0),
    };
    let ingress = Side {
        kept: Some(Kept::Yes),
        isolated_by: vec![policy("default-deny")],
        nearest: Some(NearestMiss {
            rule,
            missed: vec![Missed {
                what: MissedWhat::PodLabels,
                wanted: "app=kasm-api".into(),
                found: "app=kasm-agent".into(),
            }],
        }),
        would_allow: Some(WouldAllow {
            policy: policy("allow-db"),
            field: "spec.ingress".into(),
            rule: "- from: []".into(),
        }),
        ..side(Decision::Denied, Reason::NoRuleMatched)
    };
    let time = TIME;
    Connection {
        assessment: Assessment::Blocked,
        unknown_because: None,
        direction: Some(Direction::Ingress),
        reporter: Reporter::Both,
        protocol: Protocol::Tcp,
        family: Family::IPv4,
        source: endpoint(EndpointKind::Pod, "kasm-agent", 41022),
        destination: endpoint(EndpointKind::Pod, "kasm-db", 5432),
        service: Some(ServiceRef {
            key: ObjectKey {
                namespace: "kasm".into(),
                name: "db".into(),
            },
            ip: IpAddr::from([10, 43, 0, 7]),
            port: 5432,
        }),
        verdict: Verdict {
            verdict: Decision::Denied,
            egress: side(Decision::Allowed, Reason::NotIsolated),
            ingress,
            unknown_because: None,
        },
        outcome: Outcome {
            outcome: OutcomeKind::Dropped,
            drop_reason: Some("NETFILTER_DROP".into()),
            location: Some("nft_do_chain".into()),
            client_saw: ClientSaw::Nothing,
            evidence: vec![Evidence::AttemptAtSource, Evidence::KfreeSkb],
        },
        process: Some(Process {
            pid: 4711,
            command: "agent".into(),
            pod: Some(ProcessPod {
                namespace: Some("kasm".into()),
                name: Some("kasm-agent".into()),
                uid: "uid-1".into(),
            }),
            container: Some("c0ffee".into()),
        }),
        cause: None,
        drops: 0,
        start_window_s: None,
        acknowledged: None,
        policy_state: PolicyState {
            as_of: time.into(),
            settled_s: 412,
        },
        conversation_id: "0011".into(),
        community_id: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=".into(),
        count: 3,
        first_seen: time.into(),
        last_seen: time.into(),
        lost: 0,
    }
}

/// A connection to the world that nobody judges.
pub(super) fn unknown() -> Connection {
    Connection {
        assessment: Assessment::Unknown,
        unknown_because: Some(UnknownBecause::FarSide),
        destination: endpoint(EndpointKind::World, "", 443),
        service: None,
        start_window_s: Some(0.25),
        drops: 2,
        ..blocked()
    }
}

pub(super) fn acknowledged() -> Connection {
    Connection {
        acknowledged: Some(Acknowledged {
            reason: "known".into(),
            until: "2027-01-31".into(),
            by: AcknowledgedBy {
                kind: "Namespace".into(),
                namespace: "".into(),
                name: "kasm".into(),
            },
        }),
        ..blocked()
    }
}

pub(super) fn scan() -> Scan {
    Scan {
        source: endpoint(EndpointKind::Pod, "kasm-agent", 41022),
        targets: 100,
        addresses: 1,
        ports: 100,
        attempts: 120,
        assessments: [(Assessment::Blocked, 100), (Assessment::Unknown, 20)].into(),
        first_seen: TIME.into(),
        last_seen: TIME.into(),
    }
}

pub(super) fn record(body: Body) -> Record {
    Record {
        schema: SCHEMA.into(),
        id: "7f3a".into(),
        time: TIME.into(),
        cluster: "".into(),
        node: "node-1".into(),
        body,
    }
}

pub(super) fn samples() -> Vec<Record> {
    let stage = Stage::Ring;
    let change = Change::Added;
    let policy = policy("p");
    let denying = policy.clone();
    [
        Body::Connection(Box::new(blocked())),
        Body::Connection(Box::new(unknown())),
        Body::Lost(Lost {
            stage,
            count: 7,
            total: 9,
        }),
        Body::PolicyChange(PolicyChange { change, policy }),
        Body::Connection(Box::new(acknowledged())),
        Body::Scan(Box::new(scan())),
        Body::NodeNotEnforcing(NodeNotEnforcing {
            pairs: 25,
            attempts: 30,
            policies: vec![denying],
            first_seen: TIME.into(),
            last_seen: TIME.into(),
        }),
    ]
    .map(record)
    .into()
}
