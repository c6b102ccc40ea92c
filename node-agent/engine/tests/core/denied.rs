//! Calls of processes: what a denial says, and what a call adds to its packets.

use node_agent_engine::input::{DropClass, EventKind, Process};
use node_agent_engine::model::Protocol;
use node_agent_engine::record::Assessment::{self, Blocked, Unanswered, UnexpectedDrop, Unknown};
use node_agent_engine::record::{ClientSaw, Evidence, OutcomeKind};
use node_agent_engine::verdict::UnknownBecause::{self, Identity, NotSeenStopped, Orientation};

use crate::bench::{API, Bench, DB, JOB, S, Seen, WEB, slice};

/// A call that was denied: no interface has seen a packet.
fn denied(bench: &mut Bench, from: &str, class: DropClass) -> Seen {
    let mut seen = bench.attempt(from, DB).dropped(class, true);
    seen.attempt.source_link = None;
    seen.attempt.tracked = true;
    seen
}

fn tell(bench: &mut Bench, seen: &Seen) {
    bench.give(seen.event(bench.now, EventKind::Denied, 1));
    bench.pass(20 * S);
}

/// `web` may go to the database, `job` may not.
#[test]
fn what_denies_drops_and_what_fails_does_not() {
    type Claim = (Assessment, OutcomeKind, Option<UnknownBecause>);
    let rows: [(DropClass, &str, Claim); 4] = [
        (
            DropClass::Cgroup,
            WEB,
            (UnexpectedDrop, OutcomeKind::Dropped, None),
        ),
        (
            DropClass::Cgroup,
            JOB,
            (Blocked, OutcomeKind::Dropped, None),
        ),
        (
            DropClass::Other,
            WEB,
            (Unanswered, OutcomeKind::Unanswered, None),
        ),
        (
            DropClass::Other,
            JOB,
            (Unknown, OutcomeKind::Unanswered, Some(NotSeenStopped)),
        ),
    ];
    for (class, from, claim) in rows {
        let mut bench = Bench::settled();
        let seen = denied(&mut bench, from, class);
        tell(&mut bench, &seen);
        let record = bench.only();
        let found = (
            record.assessment,
            record.outcome.outcome,
            record.unknown_because,
        );
        assert_eq!(found, claim, "{class:?} from {from}");
        assert_eq!(record.outcome.evidence, [Evidence::DeniedAtSocket]);
        // A program of the node's is no firewall of the pod's own.
        assert_eq!(record.cause, None, "{class:?} from {from}");
        if class == DropClass::Cgroup {
            assert_eq!(record.outcome.client_saw, ClientSaw::NotPermitted);
        }
    }
}

#[test]
fn who_has_no_address_is_nobody() {
    let mut bench = Bench::settled();
    let mut seen = denied(&mut bench, JOB, DropClass::Cgroup);
    seen.flow.source = "0.0.0.0".parse().unwrap();
    tell(&mut bench, &seen);
    let record = bench.only();
    assert_eq!(
        (record.assessment, record.unknown_because),
        (Unknown, Some(Identity))
    );
}

/// A server's own port to a client's: nobody says that this is a question.
#[test]
fn a_datagram_that_may_be_a_reply_opens_nothing() {
    let mut bench = Bench::settled();
    let mut seen = denied(&mut bench, JOB, DropClass::Cgroup);
    seen.attempt.tracked = false;
    seen.flow.protocol = Protocol::Udp;
    (seen.flow.source_port, seen.flow.destination_port) = (53, 40_000);
    tell(&mut bench, &seen);
    let record = bench.only();
    assert_eq!(
        (record.assessment, record.unknown_because),
        (Unknown, Some(Orientation))
    );
}

/// What a socket load balancer rewrote: the record names the Service, and who asked for it.
#[test]
fn what_was_asked_for_is_named() {
    let mut bench = Bench::settled();
    bench.apply(&crate::bench::service());
    bench.apply(&slice(&[DB]));
    bench.pass(20 * S);
    let mut seen = bench.attempt(WEB, DB);
    seen.attempt.asked_for = Some((API.parse().unwrap(), 5432));
    seen.attempt.process = Some(Process {
        pid: 7,
        command: "curl".into(),
        pod_uid: Some("of nobody".into()),
        container: None,
    });
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(20 * S);
    let record = bench.only();
    let service = record.service.as_ref().unwrap();
    assert_eq!((service.ip.to_string(), service.port), (API.into(), 5432));
    assert_eq!(record.destination.ip.to_string(), DB);
    assert!(record.outcome.evidence.contains(&Evidence::AskedAtSocket));
    let process = record.process.as_ref().unwrap();
    assert_eq!((process.pid, &*process.command), (7, "curl"));
    let pod = process.pod.as_ref().unwrap();
    assert_eq!((&*pod.uid, pod.name.as_deref()), ("of nobody", None));
}
