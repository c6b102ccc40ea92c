//! One attempt each: through a Service, and on which side it was stopped.

use node_agent_engine::input::{DropClass, EventKind};
use node_agent_engine::record::Assessment::{self, Blocked, Refused, UnexpectedDrop, Unknown};
use node_agent_engine::record::Cause;
use node_agent_engine::verdict::Kept;
use node_agent_engine::verdict::UnknownBecause::{self, Backend};

use super::bench::{
    API, AWAY, Bench, DB, JOB, NODE, OTHER_NODE, S, WEB, egress_denied, service, slice,
};
use super::outcomes::{Tell, drop, event, stopped};

/// A drop behind address translation names the backend that was meant.
#[test]
fn a_drop_behind_address_translation_is_judged_there() {
    let mut bench = Bench::settled();
    let mut seen = bench
        .attempt(JOB, "10.43.0.9")
        .dropped(DropClass::Netfilter, false);
    seen.attempt.led_to = Some((DB.parse().unwrap(), 5432));
    for input in stopped(&mut bench, seen, EventKind::Dropped) {
        bench.give(input);
    }
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!(found.assessment, Blocked);
    assert_eq!(found.destination.name.as_deref(), Some("db"));
    assert_eq!(bench.counted, 1);
}

/// That nobody is ready explains whatever is no answer; that no slice was ever heard of explains nothing.
#[test]
fn only_a_service_known_to_have_nobody_ready_refuses() {
    let refused: Tell =
        |bench, seen| stopped(bench, seen.rejected(NODE, 3, 3), EventKind::Unreachable);
    let silent: Tell = |_, seen| vec![seen.swept()];
    let answered: Tell = |bench, seen| event(EventKind::Answered)(bench, seen);
    let dropped: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, false);
    type Claim = (Assessment, Option<UnknownBecause>, Option<Cause>);
    let no_endpoints: Claim = (Refused, None, Some(Cause::NoEndpoints));
    let as_seen: Claim = (Unknown, Some(Backend), None);
    for (name, tell, slices, expected) in [
        (
            "refused, nobody ready",
            refused,
            Some(&[][..]),
            no_endpoints,
        ),
        ("silent, nobody ready", silent, Some(&[]), no_endpoints),
        ("answered, nobody ready", answered, Some(&[]), as_seen),
        ("dropped, nobody ready", dropped, Some(&[]), no_endpoints),
        ("dropped, no slices", dropped, None, as_seen),
        ("refused, no slices", refused, None, as_seen),
        ("answered, no slices", answered, None, as_seen),
        (
            "refused, somebody ready",
            refused,
            Some(&[WEB]),
            (UnexpectedDrop, None, None),
        ),
    ] {
        let mut bench = Bench::settled();
        bench.apply(&service());
        if let Some(ready) = slices {
            bench.apply(&slice(ready));
        }
        bench.pass(30 * S);
        let seen = bench.attempt(JOB, API);
        for input in tell(&mut bench, seen) {
            bench.give(input);
        }
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(
            (found.assessment, found.unknown_because, found.cause),
            expected,
            "{name}"
        );
    }
}

/// Both sides deny: what passed a side was not kept by it, wherever it was enforced.
#[test]
fn each_side_is_kept_where_it_was_stopped() {
    let here: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, false);
    let behind: Tell = |bench, seen| {
        let seen = seen.arrived();
        drop(bench, seen, DropClass::Netfilter, true)
    };
    let at_door: Tell = |bench, seen| {
        let seen = seen.dropped_at_destination(DropClass::Netfilter);
        stopped(bench, seen, EventKind::Dropped)
    };
    let answered: Tell = |bench, seen| event(EventKind::Answered)(bench, seen);
    let rejected: Tell = |bench, seen| {
        stopped(
            bench,
            seen.rejected(OTHER_NODE, 3, 13),
            EventKind::Unreachable,
        )
    };
    let rows: [(&str, Tell, &str, &str, Kept, Kept); 8] = [
        ("here", here, JOB, DB, Kept::Yes, Kept::Unknown),
        ("at its door", at_door, JOB, DB, Kept::No, Kept::Yes),
        ("in the pod", behind, JOB, DB, Kept::No, Kept::Yes),
        ("on the way out", here, JOB, AWAY, Kept::Yes, Kept::Unknown),
        ("on the way in", here, AWAY, DB, Kept::No, Kept::Yes),
        (
            "by the other node",
            rejected,
            JOB,
            AWAY,
            Kept::Unknown,
            Kept::Unknown,
        ),
        ("nowhere", answered, JOB, DB, Kept::No, Kept::No),
        ("nowhere, from afar", answered, AWAY, DB, Kept::No, Kept::No),
    ];
    for (name, tell, from, to, egress, ingress) in rows {
        let mut bench = Bench::settled();
        bench.apply(&egress_denied("job"));
        bench.apply(&egress_denied("db"));
        bench.pass(30 * S);
        let seen = bench.attempt(from, to);
        for input in tell(&mut bench, seen) {
            bench.give(input);
        }
        bench.pass(10 * S);
        let verdict = &bench.only().verdict;
        assert_eq!(
            (verdict.egress.kept, verdict.ingress.kept),
            (Some(egress), Some(ingress)),
            "stopped {name}"
        );
    }
}

/// It left this node, so whether the source's side would have stopped it there is not known.
#[test]
fn what_another_node_rejects_is_not_kept_by_the_sources_side() {
    let mut bench = Bench::settled();
    bench.apply(&egress_denied("web"));
    bench.pass(30 * S);
    let seen = bench.attempt(WEB, AWAY).rejected(OTHER_NODE, 3, 13);
    for input in stopped(&mut bench, seen, EventKind::Unreachable) {
        bench.give(input);
    }
    bench.pass(10 * S);
    let found = bench.only();
    let verdict = &found.verdict;
    assert_eq!(found.assessment, Assessment::Blocked);
    assert_eq!(
        (verdict.egress.kept, verdict.ingress.kept),
        (Some(Kept::Unknown), None)
    );
}
