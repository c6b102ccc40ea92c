// Over 400 lines: the samples stand beside what is asked of them.
//! Samples of everything that can be told.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc;

use node_agent_engine::input::{Port, Span, Stage};
use node_agent_engine::model::{ObjectKey, PolicyKey, Protocol, Workload};
use node_agent_engine::record::*;
use node_agent_engine::verdict::*;
use serde::Serialize;
use serde_json::Value;

use super::*;

mod lines;

/// Every variant of an enum; one that is forgotten does not compile.
macro_rules! tokens {
    ($enum:ident: $($variant:ident),+) => {{
        fn complete(value: $enum) {
            match value { $($enum::$variant => (),)+ }
        }
        [$($enum::$variant),+].map(|value| { complete(value); token_of(&value) }).into()
    }};
}

const TIME: &str = "2026-11-21T01:02:03.123456789Z";

fn token_of<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

fn schema() -> Value {
    serde_json::from_str(SCHEMA_TEXT).unwrap()
}

#[test]
fn token_lists_of_schema_and_engine_are_equal() {
    let lists: [(&str, BTreeSet<String>); 17] = [
        (
            "assessment",
            tokens!(Assessment: Allowed, Blocked, Unenforced, UnexpectedDrop, Refused, Unanswered, Unknown),
        ),
        (
            "unknown_because",
            tokens!(UnknownBecause: Identity, InFlux, Stale, Lost, NotSeenStopped, LeftNode, FarSide, Backend, Orientation, SourceMismatch, HookBypassed, NodeService, SecondaryNetwork, UnsupportedPolicy, OpenInSpecification),
        ),
        ("direction", tokens!(Direction: Ingress, Egress)),
        ("reporter", tokens!(Reporter: Source, Destination, Both)),
        ("protocol", tokens!(Protocol: Tcp, Udp, Sctp, Icmp, Icmpv6)),
        ("family", tokens!(Family: IPv4, IPv6)),
        (
            "endpoint_kind",
            tokens!(EndpointKind: Pod, Node, Service, World, Unknown),
        ),
        ("decision", tokens!(Decision: Allowed, Denied, Unknown)),
        (
            "reason",
            tokens!(Reason: NotIsolated, Rule, NoRuleMatched, RuleDenied, NotSubject, OwnNode, Itself, Established),
        ),
        ("kept", tokens!(Kept: Yes, No, Unknown)),
        (
            "left_open",
            tokens!(LeftOpen: EqualPriority, OtherDirection),
        ),
        (
            "missed_what",
            tokens!(MissedWhat: NamespaceLabels, Namespace, PodLabels, NotAPod, Port, EndPort, NamedPort, Protocol, Cidr, Except, Family, NotANode, NodeLabels, DomainName, Direction),
        ),
        (
            "outcome_kind",
            tokens!(OutcomeKind: Answered, Delivered, Refused, Rejected, Dropped, Unanswered, Unknown),
        ),
        (
            "client_saw",
            tokens!(ClientSaw: Nothing, Answer, Reset, PortUnreachable, Prohibited, Unreachable, Unknown),
        ),
        (
            "evidence",
            tokens!(Evidence: AttemptAtSource, AttemptAtDestination, AnswerAtDestination, AnswerAtSource, RefusalAtDestination, ResetAtSource, IcmpAtSource, IcmpFromNode, KfreeSkb, SocketEstablished, Deadline),
        ),
        ("cause", tokens!(Cause: OwnFirewall, PeerGone, NoEndpoints)),
        ("change", tokens!(Change: Added, Changed, Removed)),
    ];
    assert_eq!(
        metrics::REASONS
            .iter()
            .map(token_of)
            .collect::<BTreeSet<_>>(),
        lists[1].1
    );
    let stages: BTreeSet<String> =
        tokens!(Stage: Ring, Attempts, Conversations, UdpFlows, Decode, Core, Output);
    let schema = schema();
    for (name, engine) in lists.into_iter().chain([("stage", stages.clone())]) {
        let listed: Vec<String> =
            serde_json::from_value(schema["$defs"][name]["enum"].clone()).unwrap();
        assert_eq!(listed.len(), engine.len(), "{name}");
        assert_eq!(
            listed.into_iter().collect::<BTreeSet<_>>(),
            engine,
            "{name}"
        );
    }
    assert_eq!(
        metrics::STAGES
            .iter()
            .map(token_of)
            .collect::<BTreeSet<_>>(),
        stages
    );
}

fn policy(name: &str) -> PolicyRef {
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

fn side(verdict: Decision, reason: Reason) -> Side {
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

fn endpoint(kind: EndpointKind, name: &str, port: u16) -> Endpoint {
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
fn blocked() -> Connection {
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
fn unknown() -> Connection {
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

fn acknowledged() -> Connection {
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

fn scan() -> Scan {
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

fn record(body: Body) -> Record {
    Record {
        schema: SCHEMA.into(),
        id: "7f3a".into(),
        time: TIME.into(),
        cluster: "".into(),
        node: "node-1".into(),
        body,
    }
}

fn samples() -> Vec<Record> {
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

#[test]
fn records_of_every_type_keep_to_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for record in samples() {
        let value = serde_json::to_value(&record).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{value}");
        assert_eq!(serde_json::from_value::<Record>(value).unwrap(), record);
    }
}

#[test]
fn schema_refuses_what_contradicts_itself() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let good = serde_json::to_value(record(Body::Connection(Box::new(blocked())))).unwrap();
    let changes: [(&str, Value); 9] = [
        ("/assessment", "unknown".into()),
        ("/assessment", "allowed".into()),
        ("/assessment", "unenforced".into()),
        ("/type", "scan".into()),
        ("/verdict/ingress/reason", "rule".into()),
        ("/verdict/ingress/verdict", "allowed".into()),
        ("/outcome/evidence/0", "rumour".into()),
        ("/time", "2026-11-21T01:02:03Z".into()),
        ("/source/kind", "world".into()),
    ];
    for (pointer, new) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = new.clone();
        assert!(!validator.is_valid(&bad), "{pointer} {new}");
    }
    let mut bad = good;
    bad.as_object_mut().unwrap().insert("new".into(), 1.into());
    assert!(!validator.is_valid(&bad), "a field that is not named");
}

#[test]
fn metrics_name_what_is_counted_and_escape_it() {
    let metrics = Metrics::new();
    let mut hostile = blocked();
    hostile.source.workload.as_mut().unwrap().name = "a\"\n\\b".into();
    metrics.connections(&hostile, 3, Port::Declared);
    metrics.connections(&unknown(), 2, Port::Undeclared);
    metrics.connections(&acknowledged(), 4, Port::Undeclared);
    metrics.lost(Stage::Ring, 5);
    metrics.drops("NO_SOCKET", 4);
    metrics.drops("NO_SOCKET", 7);
    metrics.set_aside(1, 2);
    metrics.objects(&[("pod", 3)], true);
    metrics.watch_errors("file", 0);
    metrics.watch_errors("file", 2);
    metrics.watch("node", false, 2);
    metrics.measured(Span::EnforcementDelay, 400_000_000);
    metrics.latency(2_000_000);
    let text = metrics.text().unwrap();
    for wanted in [
        "netverdict_connections_total{assessment=\"blocked\",allowed_by=\"\",start_window=\"false\",direction=\"ingress\",reporter=\"both\",protocol=\"TCP\",source_namespace=\"kasm\",source_workload=\"a\\\"\\\\u{a}\\\\b\",destination_namespace=\"kasm\",destination_workload=\"kasm-db\",destination_port=\"5432\"} 3\n",
        "destination_namespace=\"\",destination_workload=\"world\"",
        "netverdict_unknown_total{reason=\"far_side\"} 2\n",
        "netverdict_events_lost_total{stage=\"ring\"} 5\n",
        "netverdict_events_lost_total{stage=\"core\"} 0\n",
        "netverdict_unknown_total{reason=\"in_flux\"} 0\n",
        "netverdict_policy_denials_total{policy_namespace=\"kasm\",policy=\"default-deny\",direction=\"ingress\"} 9\n",
        "netverdict_drops_total{reason=\"NO_SOCKET\"} 7\n",
        "netverdict_packets_set_aside_total{reason=\"not_unicast\"} 2\n",
        "netverdict_cache_objects{kind=\"pod\"} 3\n",
        "netverdict_cache_synced{kind=\"pod\"} 1\n",
        "netverdict_watch_errors_total{kind=\"file\"} 2\n",
        "netverdict_cache_synced{kind=\"node\"} 0\n",
        "netverdict_watch_errors_total{kind=\"node\"} 2\n",
        "netverdict_enforcement_delay_seconds_bucket{le=\"0.5\"} 1\n",
        "netverdict_start_window_seconds_count 0\n",
        "netverdict_event_latency_seconds_sum 0.002\n",
        "netverdict_series_evicted_total{metric=\"netverdict_policy_rule_hits_total\"} 0\n",
        "netverdict_connections_total{assessment=\"acknowledged\"",
        "netverdict_build_info{version=",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "process_open_fds ",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(!text.contains("10.42.0.16"), "{text}");
}

#[test]
fn scanned_port_makes_no_series() {
    let mut scanned = blocked();
    scanned.verdict.ingress.nearest = None;
    let metrics = Metrics::new();
    metrics.connections(&scanned, 1, Port::Undeclared);
    assert!(
        metrics
            .text()
            .unwrap()
            .contains("destination_port=\"other\"")
    );
}

#[tokio::test]
async fn probes_and_metrics_are_served() {
    let health = Arc::new(Health::default());
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(address, Arc::new(Metrics::new()), Arc::clone(&health))
        .await
        .unwrap();
    let ask = async |path: &str| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(server.address())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(ask("/livez").await.contains("200 OK"));
    assert!(ask("/readyz").await.contains("hooks are not attached yet"));
    health.attached();
    assert!(ask("/readyz").await.contains("503"));
    health.synced();
    assert!(ask("/readyz").await.contains("200 OK"));
    let metrics = ask("/metrics").await;
    let wanted = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(metrics.contains(wanted), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let taken = Server::start(server.address(), Arc::new(Metrics::new()), health).await;
    assert!(matches!(taken, Err(Error::Listen { .. })));
}
