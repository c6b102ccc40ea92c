//! What conntrack adds: the backend behind a Service, the client behind a node's address, and who counts it.

use node_agent_engine::input::EventKind::Answered;
use node_agent_engine::input::{Flow, Tracked};
use node_agent_engine::model::Protocol;
use node_agent_engine::record::{Assessment, Connection, EndpointKind, Evidence};
use node_agent_engine::verdict::{Decision, Reason, UnknownBecause};
use node_agent_engine::{Input, Moment};
use serde_json::{Value, json};

use crate::bench::{
    API, AWAY, Bench, DB, JOB, MS, NODE, NODE_PORT, OTHER_NODE, S, Seen, WEB, WORLD, agent,
    egress_denied, node_port, pod, slice,
};

/// Where somebody is, and at which port.
type At<'a> = (&'a str, u16);

/// An entry of a connection that was sent from one to another, and led on as from a third to a fourth.
fn led(sent: (At<'_>, At<'_>), on: (At<'_>, At<'_>)) -> Tracked {
    let flow = |((from, source_port), (to, destination_port)): (At<'_>, At<'_>)| Flow {
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        source_port,
        destination_port,
        protocol: Protocol::Tcp,
    };
    Tracked {
        original: flow(sent),
        reply: flow(on).reversed(),
    }
}

/// A Service with these backends, and a settled node; what a Service's name stands for is known.
pub(super) fn bench_with(backends: &[&str]) -> Bench {
    let mut bench = Bench::begun(true);
    bench.apply(&node_port());
    bench.apply(&slice(backends));
    bench.now = Moment(100 * S);
    bench.give(Input::Confirmed);
    bench
}

/// It is answered, and 20 s pass.
fn answered(bench: &mut Bench, seen: &Seen) {
    bench.give(seen.event(bench.now, Answered, 1));
    bench.pass(20 * S);
}

/// A client's connection to the Service is led to a backend.
fn through(bench: &mut Bench, from: &str, backend: &str) -> Seen {
    let seen = bench.attempt(from, API);
    let port = seen.flow.source_port;
    bench.tracked = vec![led(
        ((from, port), (API, 5432)),
        ((from, port), (backend, 5432)),
    )];
    seen
}

pub(super) fn names(connection: &Connection) -> (Option<&str>, Option<&str>) {
    let service = connection.service.as_ref();
    (
        connection.destination.name.as_deref(),
        service.map(|service| &*service.key.name),
    )
}

#[test]
fn the_backend_is_judged_and_the_service_is_named() {
    // The backends do not agree: without conntrack nothing could be said.
    for (backend, name, assessment) in [
        (JOB, "job", Assessment::Allowed),
        (DB, "db", Assessment::Unenforced),
    ] {
        let mut bench = bench_with(&[JOB, DB]);
        bench.apply(&pod("other", "other", "10.42.0.14", "node-1"));
        bench.link(4, "10.42.0.14", true);
        bench.pass(20 * S);
        let mut seen = through(&mut bench, "10.42.0.14", backend);
        seen.attempt.source_link = Some(4);
        answered(&mut bench, &seen);
        let connection = bench.only();
        assert_eq!(connection.assessment, assessment, "{backend}");
        assert_eq!(names(connection), (Some(name), Some("api")));
        let service = connection.service.as_ref().unwrap();
        assert_eq!((service.ip.to_string().as_str(), service.port), (API, 5432));
        let evidence = &connection.outcome.evidence;
        assert!(evidence.contains(&Evidence::Conntrack), "{evidence:?}");
        assert_eq!((bench.counted, bench.look_ups), (1, 1));
    }
}

#[test]
fn an_attempt_at_its_backend_finds_its_service() {
    let mut bench = bench_with(&[DB]);
    let mut seen = bench.attempt(WEB, DB).arrived();
    seen.attempt.source_link = None;
    let port = seen.flow.source_port;
    bench.tracked = vec![led(
        ((WEB, port), (NODE, NODE_PORT)),
        ((WEB, port), (DB, 5432)),
    )];
    answered(&mut bench, &seen);
    let connection = bench.only();
    assert_eq!(names(connection), (Some("db"), Some("api")));
    let service = connection.service.as_ref().unwrap();
    assert_eq!(
        (service.ip.to_string().as_str(), service.port),
        (NODE, NODE_PORT)
    );
    assert_eq!(bench.counted, 1);
}

/// Conntrack does not know it, nobody answers, or it knows another connection that uses the same addresses.
#[test]
fn without_an_answer_all_backends_have_to_agree() {
    for (backends, expected) in [
        (&[DB][..], (Assessment::Unenforced, None)),
        (
            &[WEB, DB][..],
            (Assessment::Unknown, Some(UnknownBecause::Backend)),
        ),
    ] {
        for (what, is_mute, turned) in [
            ("absent", false, false),
            ("mute", true, false),
            ("another's", false, true),
        ] {
            let mut bench = bench_with(backends);
            bench.is_mute = is_mute;
            let seen = bench.attempt(JOB, API);
            let port = seen.flow.source_port;
            if turned {
                let other = led(((DB, 5432), (JOB, port)), ((API, 5432), (JOB, port)));
                bench.tracked = vec![other];
            }
            answered(&mut bench, &seen);
            let connection = bench.only();
            let said = (connection.assessment, connection.unknown_because);
            assert_eq!(said, expected, "{what}");
            assert_eq!(connection.destination.kind, EndpointKind::Service, "{what}");
            assert_eq!((bench.counted, bench.look_ups), (1, 1), "{what}");
        }
    }
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_a_moment() {
    let mut bench = bench_with(&[WEB]);
    bench.is_mute = true;
    let seen = bench.attempt(JOB, API);
    bench.give(seen.event(bench.now, Answered, 1));
    bench.wait(150 * MS);
    assert_eq!(bench.written.len(), 0);
    bench.wait(100 * MS);
    assert_eq!(bench.only().assessment, Assessment::Allowed);
}

#[test]
fn what_still_waits_at_the_end_is_written() {
    let mut bench = bench_with(&[WEB]);
    bench.is_mute = true;
    let seen = bench.attempt(JOB, API);
    bench.give(seen.event(bench.now, Answered, 3));
    bench.give(Input::Ended);
    assert_eq!((bench.only().count, bench.counted), (3, 3));
}

#[test]
fn questions_within_a_second_are_limited() {
    let mut bench = bench_with(&[WEB]);
    for _ in 0..1_500 {
        let seen = bench.attempt(JOB, API);
        bench.give(seen.event(bench.now, Answered, 0));
    }
    assert_eq!((bench.look_ups, bench.counted), (1_000, 1_500));
    bench.pass(S);
    let seen = bench.attempt(JOB, API);
    bench.give(seen.event(bench.now, Answered, 0));
    assert_eq!((bench.look_ups, bench.counted), (1_001, 1_501));
}

#[test]
fn pods_that_talk_directly_are_not_asked_about() {
    let mut bench = bench_with(&[DB]);
    for (from, to) in [(WEB, DB), (WEB, AWAY), (AWAY, DB)] {
        let seen = bench.attempt(from, to).arrived();
        answered(&mut bench, &seen);
    }
    assert_eq!(bench.look_ups, 0);
}

/// A pod that reaches itself through a Service comes back from the node's address: two attempts for the hooks.
#[test]
fn a_hairpin_is_one() {
    let mut bench = bench_with(&[WEB]);
    let sent = bench.attempt(WEB, API);
    let mut came = bench.attempt(NODE, WEB).arrived();
    came.attempt.source_link = None;
    let (port, other) = (sent.flow.source_port, came.flow.source_port);
    bench.tracked = vec![led(
        ((WEB, port), (API, 5432)),
        ((NODE, other), (WEB, 5432)),
    )];
    bench.give(came.event(bench.now, Answered, 4));
    bench.give(sent.event(bench.now, Answered, 4));
    bench.give(came.total(Answered, 6, bench.now));
    bench.give(sent.total(Answered, 6, bench.now));
    bench.pass(20 * S);
    assert_eq!(bench.counted, 6);
    let told: u64 = bench
        .written
        .iter()
        .map(|connection| connection.count)
        .sum();
    assert_eq!(told, 6, "{:#?}", bench.written);
    for connection in &bench.written {
        assert_eq!(connection.assessment, Assessment::Allowed);
        assert_eq!(connection.source.name.as_deref(), Some("web"));
        assert_eq!(connection.source.port, port);
        assert_eq!(names(connection), (Some("web"), Some("api")));
        assert_eq!(connection.verdict.ingress.reason, Reason::OwnNode);
    }
}

/// Which address counts, the client's own or the node's, is left open (R39, R32).
#[test]
fn what_translation_of_the_source_decides_is_no_claim() {
    let mut bench = bench_with(&[DB]);
    let mut came = bench.attempt(NODE, DB).arrived();
    came.attempt.source_link = None;
    let port = came.flow.source_port;
    bench.tracked = vec![led(
        ((WORLD, 50_000), (NODE, NODE_PORT)),
        ((NODE, port), (DB, 5432)),
    )];
    answered(&mut bench, &came);
    let connection = bench.only();
    assert_eq!(connection.source.kind, EndpointKind::World);
    assert_eq!(connection.source.ip.to_string(), WORLD);
    assert_eq!(connection.verdict.ingress.verdict, Decision::Allowed);
    assert_eq!(connection.verdict.ingress.reason, Reason::OwnNode);
    assert_eq!(
        (connection.assessment, connection.unknown_because),
        (
            Assessment::Unknown,
            Some(UnknownBecause::OpenInSpecification)
        )
    );
}

/// What forbids a pod to speak forbids it through a Service, whatever its destination takes for its source.
#[test]
fn egress_is_judged_by_the_clients_own_address() {
    let mut bench = bench_with(&[AWAY]);
    bench.apply(&egress_denied("job"));
    bench.pass(20 * S);
    let mut seen = bench.attempt(JOB, NODE);
    seen.flow.destination_port = NODE_PORT;
    let port = seen.flow.source_port;
    bench.tracked = vec![led(
        ((JOB, port), (NODE, NODE_PORT)),
        ((NODE, 61_000), (AWAY, 5432)),
    )];
    answered(&mut bench, &seen);
    let connection = bench.only();
    assert_eq!(connection.assessment, Assessment::Unenforced);
    assert_eq!(connection.verdict.egress.verdict, Decision::Denied);
    assert_eq!(names(connection), (Some("away"), Some("api")));
}

/// Both agents' records of one conversation have the same identifiers, as far as both can know it.
#[test]
fn two_nodes_agree_on_a_conversation() {
    for (what, source, translated) in [("dnat", JOB, JOB), ("dnat and snat", JOB, NODE)] {
        let mut here = bench_with(&[AWAY]);
        let seen = here.attempt(source, API);
        let port = seen.flow.source_port;
        here.tracked = vec![led(
            ((source, port), (API, 5432)),
            ((translated, port), (AWAY, 5432)),
        )];
        answered(&mut here, &seen);
        // The other node's agent saw it come, and nothing of the Service: the other way round its pods are DB.
        let mut there = bench_with(&[]);
        let mut came = there.attempt(translated, AWAY);
        came.flow.source_port = port;
        came.attempt.source_link = None;
        came.attempt.destination_link = Some(9);
        there.link(9, AWAY, true);
        answered(&mut there, &came);
        let (here, there) = (here.only(), there.only());
        assert_eq!(here.conversation_id, there.conversation_id, "{what}");
        assert_eq!(here.community_id, there.community_id, "{what}");
        assert_eq!(here.source.name.as_deref(), Some("job"), "{what}");
    }
}

/// What pods of other nodes answered counts there, whoever is told of between two that a pod here took.
#[test]
fn datagrams_count_at_the_nodes_whose_pods_took_them() {
    let mut bench = bench_with(&[DB, AWAY]);
    bench.apply(&agent("node-2"));
    let mut totals = [0, 0];
    for backend in [DB, AWAY, AWAY, DB] {
        let mut seen = through(&mut bench, WEB, backend);
        seen.attempt.answered_elsewhere = backend == AWAY;
        seen.flow.protocol = Protocol::Udp;
        for tracked in &mut bench.tracked {
            tracked.original.protocol = Protocol::Udp;
            tracked.reply.protocol = Protocol::Udp;
        }
        let total = &mut totals[usize::from(backend == AWAY)];
        bench.give(seen.event(bench.now, Answered, *total + 1));
        *total += 10;
        bench.pass(S);
        bench.give(seen.total(Answered, *total, bench.now));
    }
    bench.pass(20 * S);
    assert_eq!(bench.counted, totals[0]);
}

/// A Service that is nobody's: translation is believed, the name is not made up.
#[test]
fn an_address_that_is_no_service_stays_without_a_name() {
    let mut bench = Bench::settled();
    let seen = through(&mut bench, WEB, DB);
    answered(&mut bench, &seen);
    assert_eq!(names(bench.only()), (Some("db"), None));
}

/// No packet of the answer came in: whoever is called on this node gave it, or a proxy in another's place.
#[test]
fn only_whom_the_client_called_leaks_when_the_node_answers() {
    let mismatch = (Assessment::Unknown, Some(UnknownBecause::SourceMismatch));
    let leak = (Assessment::Unenforced, None);
    // Whom the client called, who is ready for the Service, and whether conntrack knows that the node took it.
    for (called, ready, is_led, here, elsewhere) in [
        ((AWAY, 5432), DB, false, mismatch, leak),
        ((WORLD, 5432), DB, false, mismatch, leak),
        ((OTHER_NODE, 5432), DB, false, mismatch, leak),
        ((NODE, 5432), DB, false, leak, leak),
        ((NODE, NODE_PORT), DB, true, leak, leak),
        ((API, 5432), NODE, true, leak, leak),
        ((API, 5432), DB, true, mismatch, leak),
        ((API, 5432), DB, false, mismatch, leak),
    ] {
        for (answered_here, expected) in [(true, here), (false, elsewhere)] {
            let mut bench = bench_with(&[ready]);
            bench.apply(&nobody_reached());
            bench.pass(20 * S);
            let mut seen = bench.attempt(JOB, called.0);
            seen.flow.destination_port = called.1;
            seen.attempt.answered_here = answered_here;
            let port = seen.flow.source_port;
            if is_led {
                bench.tracked = vec![led(((JOB, port), called), ((JOB, port), (NODE, 5432)))];
            }
            answered(&mut bench, &seen);
            let found = bench.only();
            let found = (found.assessment, found.unknown_because);
            assert_eq!(
                found, expected,
                "{called:?}, ready {ready}, here {answered_here}"
            );
        }
    }
}

/// Jobs may reach no pod, no node and nobody outside.
fn nobody_reached() -> Value {
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "nobody"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "job"}}}},
            "egress": [{"action": "Deny", "to": [{"namespaces": {}}, {"nodes": {}}, {"networks": ["0.0.0.0/0"]}]}]}})
}
