//! Interfaces that packets pass by: what is proven all the same, and what silence there does not prove.

use node_agent_engine::Moment;
use node_agent_engine::input::{EventKind, Input, Link, Stage};
use node_agent_engine::record::Assessment::{self, Allowed, Unanswered, Unenforced, Unknown};
use node_agent_engine::record::{ClientSaw, OutcomeKind};
use node_agent_engine::verdict::UnknownBecause::{self, HookBypassed, LeftNode};

use super::bench::{AWAY, Bench, DB, JOB, S, Seen, WEB};

type Claim = (Assessment, OutcomeKind, Option<UnknownBecause>);

const HIDDEN: Claim = (Unknown, OutcomeKind::Unknown, Some(HookBypassed));

/// A program stands behind ours at that pod's interface.
fn with_other_program(bench: &mut Bench, index: u32, ip: &str) {
    bench.give(Input::Link(Link {
        index,
        name: format!("veth{index}").into(),
        watched_since: Moment(S),
        from_birth: true,
        addresses: vec![ip.parse().unwrap()],
        foreign_program: Some(true),
        netns: Some(4_026_532_000 + index),
    }));
}

/// What is written of an attempt that nobody answers.
fn swept(bench: &mut Bench, seen: &Seen) -> Claim {
    bench.pass(3 * S);
    bench.written.clear();
    bench.give(seen.swept());
    bench.pass(10 * S);
    let found = bench.only();
    (
        found.assessment,
        found.outcome.outcome,
        found.unknown_because,
    )
}

fn silent(bench: &mut Bench, from: &str, to: &str) -> Claim {
    let seen = bench.attempt(from, to);
    swept(bench, &seen)
}

#[test]
fn what_a_program_may_have_handed_on_is_not_called_unanswered() {
    for (index, from, answered) in [(1, WEB, Allowed), (2, JOB, Unenforced)] {
        let mut bench = Bench::settled();
        with_other_program(&mut bench, index, from);
        assert_eq!(silent(&mut bench, from, DB), HIDDEN, "{from}");
        let replied = bench.attempt(from, DB).replied();
        let claim = (answered, OutcomeKind::Answered, None);
        assert_eq!(swept(&mut bench, &replied), claim, "{from}");
    }
}

#[test]
fn a_pod_that_answers_what_it_was_not_seen_to_get_is_passed_by() {
    let mut bench = Bench::settled();
    let replied = bench.attempt(WEB, DB).replied();
    assert_eq!(swept(&mut bench, &replied).0, Allowed);
    assert_eq!(silent(&mut bench, JOB, DB), HIDDEN);
    // What was seen to arrive has arrived.
    let arrived = bench.attempt(JOB, DB).arrived();
    let claim = (Unenforced, OutcomeKind::Delivered, None);
    assert_eq!(swept(&mut bench, &arrived), claim);
}

#[test]
fn a_socket_that_hears_what_its_interface_does_not_is_passed_by() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, AWAY);
    bench.give(seen.event(bench.now, EventKind::Established, 1));
    assert_eq!(silent(&mut bench, WEB, AWAY), HIDDEN);
    let left = (Unknown, OutcomeKind::Unanswered, Some(LeftNode));
    assert_eq!(silent(&mut bench, JOB, AWAY), left);
    // Another interface may get its number.
    bench.give(Input::LinkGone(1));
    bench.link(1, WEB, true);
    bench.pass(30 * S);
    assert_eq!(silent(&mut bench, WEB, AWAY).0, Unanswered);
}

#[test]
fn beside_a_program_silence_counts_once_something_came_by() {
    let mut bench = Bench::settled();
    with_other_program(&mut bench, 1, WEB);
    assert_eq!(silent(&mut bench, WEB, AWAY), HIDDEN);
    let seen = bench.attempt(WEB, AWAY);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    assert_eq!(silent(&mut bench, WEB, AWAY).0, Unanswered);
}

/// An answer that left the peer may be lost on its way back: the client's own interface shows that, if nothing comes past it.
#[test]
fn what_the_client_saw_is_said_only_where_it_was_seen() {
    for (has_other, is_lost, expected) in [
        (false, false, ClientSaw::Nothing),
        (true, false, ClientSaw::Unknown),
        (false, true, ClientSaw::Unknown),
    ] {
        let mut bench = Bench::settled();
        if has_other {
            with_other_program(&mut bench, 1, WEB);
        }
        let seen = bench.attempt(WEB, DB).arrived().replied();
        if is_lost {
            let stage = Stage::Ring;
            bench.give(Input::Lost { stage, total: 1 });
        }
        bench.pass(3 * S);
        bench.give(seen.swept());
        bench.pass(S);
        let found = bench.only();
        assert_eq!(found.assessment, Assessment::Allowed);
        assert_eq!(found.outcome.client_saw, expected, "{has_other} {is_lost}");
    }
}
