//! What records and metrics say, held against the schema and the names that are promised.

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

use self::samples::*;
use super::*;

mod lines;
mod samples;

/// Every variant of an enum; one that is forgotten does not compile.
macro_rules! tokens {
    ($enum:ident: $($variant:ident),+) => {{
        fn complete(value: $enum) {
            match value { $($enum::$variant => (),)+ }
        }
        [$($enum::$variant),+].map(|value| { complete(value); token_of(&value) }).into()
    }};
}

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
            tokens!(LeftOpen: EqualPriority, OtherDirection, SourceTranslation, OwnNode, HostNetwork, Hairpin, Icmp, GroupAddress, SourceAddress, NodePort, DomainNames, Unidentified, NoAddress, DomainAnswers, NoPort, NoServicePort, NoSlices, NoBackend, BackendsDiffer, UnsupportedPolicy, Dataplane),
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
            tokens!(ClientSaw: Nothing, Answer, Reset, PortUnreachable, Prohibited, Unreachable, NotPermitted, Unknown),
        ),
        (
            "evidence",
            tokens!(Evidence: AttemptAtSource, AttemptAtDestination, AnswerAtDestination, AnswerAtSource, RefusalAtDestination, ResetAtSource, IcmpAtSource, IcmpFromNode, KfreeSkb, SocketEstablished, Deadline, Conntrack, AskedAtSocket, DeniedAtSocket),
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
