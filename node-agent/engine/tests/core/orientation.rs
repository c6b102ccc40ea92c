//! Who opened a conversation of datagrams: what ports and interfaces prove of that, and what they do not.

use node_agent_engine::input::{DropClass, EventKind, Flow, Input, Link, Tracked};
use node_agent_engine::model::Protocol;
use node_agent_engine::record::Assessment::{Allowed, Blocked, Refused, Unenforced, Unknown};
use node_agent_engine::verdict::UnknownBecause::Orientation;

use super::bench::{API, AWAY, Bench, DB, JOB, S, Seen, WEB, service, slice};
use super::outcomes::drop;
use super::senders::{Claim, swept};

/// What goes on since before a change of policy its enforcer may go on to let through (R40).
#[test]
fn a_stream_that_goes_on_has_not_leaked() {
    for (from, continues, expected) in [
        (JOB, true, (Unknown, Some(Orientation))),
        (JOB, false, (Unenforced, None)),
        (WEB, true, (Allowed, None)),
    ] {
        let found = swept(from, |mut seen| {
            seen.flow.protocol = Protocol::Udp;
            seen.attempt.continues = continues;
            seen.arrived()
        });
        assert_eq!(found, expected, "{from}, {continues}");
    }
}

/// An enforcer may remember a conversation for longer than it is remembered here: then its server, that speaks again,
/// opens none.
#[test]
fn a_datagram_that_looks_like_a_reply_accuses_nobody() {
    let doubt = (Unknown, Some(Orientation));
    for (from, protocol, ports, tracked, expected) in [
        (JOB, Protocol::Udp, [53, 40_000], false, doubt),
        (JOB, Protocol::Udp, [32_767, 32_768], false, doubt),
        (JOB, Protocol::Udp, [40_000, 53], false, (Unenforced, None)),
        (JOB, Protocol::Udp, [53, 32_767], false, (Unenforced, None)),
        (
            JOB,
            Protocol::Udp,
            [32_768, 40_000],
            false,
            (Unenforced, None),
        ),
        (JOB, Protocol::Udp, [53, 40_000], true, (Unenforced, None)),
        (JOB, Protocol::Tcp, [53, 40_000], false, (Unenforced, None)),
        (WEB, Protocol::Udp, [53, 40_000], false, (Allowed, None)),
    ] {
        let found = swept(from, |seen| {
            let mut seen = seen.arrived();
            seen.flow.protocol = protocol;
            [seen.flow.source_port, seen.flow.destination_port] = ports;
            seen.attempt.tracked = tracked;
            seen
        });
        assert_eq!(
            found, expected,
            "{protocol:?} {ports:?} of {from}, tracked: {tracked}"
        );
    }
}

/// Both ends of a gossip protocol speak first, from one port, and another node may have stopped the one that policy denies.
#[test]
fn a_datagram_between_equal_ports_may_be_no_answer() {
    let doubt = (Unknown, Some(Orientation));
    let leak = (Unenforced, None);
    for (from, to, ports, expected) in [
        (JOB, AWAY, [7946, 7946], doubt),
        (JOB, AWAY, [40_000, 7946], leak),
        (WEB, AWAY, [7946, 7946], (Allowed, None)),
        // What its own interface let in its peer has said.
        (JOB, DB, [7946, 7946], leak),
    ] {
        let told = |bench: &Bench| {
            let found = bench.only();
            (found.assessment, found.unknown_because)
        };
        let begun = || {
            let mut bench = Bench::settled();
            let mut seen = bench.attempt(from, to);
            seen.flow.protocol = Protocol::Udp;
            [seen.flow.source_port, seen.flow.destination_port] = ports;
            (bench, seen)
        };
        let (mut bench, seen) = begun();
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        assert_eq!(told(&bench), expected, "{ports:?} of {from} to {to}");

        let (mut bench, mut seen) = begun();
        bench.pass(4 * S);
        bench.give(seen.swept());
        bench.pass(20 * S);
        bench.written.clear();
        seen.attempt.heard = to == AWAY;
        seen.attempt.answered = to == DB;
        bench.give(seen.swept_again());
        bench.pass(10 * S);
        assert_eq!(told(&bench), expected, "{ports:?} of {from} to {to}, late");
        assert_eq!(bench.only().count, 0);
    }
}

/// What was dropped before any interface saw it is new where an older conversation would have been seen.
#[test]
fn a_datagram_that_came_to_no_interface_is_new_if_its_ends_were_watched_from_birth() {
    let stopped = (Blocked, None);
    let doubt = (Unknown, Some(Orientation));
    for (from_birth, foreign_program, expected) in [
        (true, Some(false), stopped),
        (false, Some(false), doubt),
        (true, Some(true), doubt),
        (true, None, doubt),
    ] {
        let mut bench = Bench::settled();
        for (index, address) in [(2, JOB), (3, DB)] {
            bench.give(Input::Link(Link {
                index,
                name: "veth".into(),
                watched_since: bench.now,
                from_birth,
                addresses: vec![address.parse().unwrap()],
                foreign_program,
                netns: None,
            }));
        }
        let mut seen = bench.attempt(JOB, DB);
        seen.flow.protocol = Protocol::Udp;
        seen.attempt.source_link = None;
        for input in drop(&mut bench, seen, DropClass::Netfilter, true) {
            bench.give(input);
        }
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(
            (found.assessment, found.unknown_because),
            expected,
            "{from_birth} {foreign_program:?}"
        );
    }
}

/// What conntrack remembers of a datagram's conversation.
#[derive(Clone, Copy, Debug)]
enum Entry {
    None,
    SameWay,
    OtherWay,
}

/// What is claimed of datagrams of pods that were there before the agent.
fn of_old(
    (from, to): (&str, &str),
    ports: [u16; 2],
    entry: Entry,
    tell: impl FnOnce(&mut Bench, Seen) -> Vec<Input>,
) -> Claim {
    let mut bench = Bench::begun(false);
    bench.pass(20 * S);
    let mut seen = bench.attempt(from, to);
    seen.flow.protocol = Protocol::Udp;
    [seen.flow.source_port, seen.flow.destination_port] = ports;
    let way = |original: Flow| Tracked {
        original,
        reply: original.reversed(),
    };
    bench.tracked = match entry {
        Entry::None => Vec::new(),
        Entry::SameWay => vec![way(seen.flow)],
        Entry::OtherWay => vec![way(seen.flow.reversed())],
    };
    for input in tell(&mut bench, seen) {
        bench.give(input);
    }
    bench.pass(20 * S);
    let found = bench.only();
    (found.assessment, found.unknown_because)
}

/// It may have begun before a policy that denies it now (R40): that it goes on is no leak, whoever opened it.
#[test]
fn conntrack_says_who_opened_what_may_be_old_and_not_when() {
    type Tell = fn(&mut Bench, Seen) -> Vec<Input>;
    let answered: Tell = |bench, seen| vec![seen.event(bench.now, EventKind::Answered, 1)];
    let delivered: Tell = |bench, seen| {
        bench.pass(3 * S);
        vec![seen.arrived().swept()]
    };
    let refused: Tell = |bench, seen| vec![seen.event(bench.now, EventKind::Refused, 1)];
    let stopped: Tell = |bench, seen| drop(bench, seen, DropClass::Tc, false);
    let asks = [40_000, 53];
    let replies = [53, 40_000];
    let doubt = (Unknown, Some(Orientation));
    // Nothing isolates `job`, and what it would send back is denied.
    for (ends, ports, entry, tell, expected) in [
        ((DB, JOB), asks, Entry::SameWay, answered, (Allowed, None)),
        ((DB, JOB), asks, Entry::SameWay, delivered, (Allowed, None)),
        ((DB, JOB), asks, Entry::SameWay, refused, (Refused, None)),
        ((DB, JOB), asks, Entry::OtherWay, answered, doubt),
        ((DB, JOB), asks, Entry::None, answered, doubt),
        ((JOB, DB), asks, Entry::SameWay, answered, doubt),
        ((JOB, DB), asks, Entry::SameWay, delivered, doubt),
        ((JOB, DB), asks, Entry::SameWay, refused, doubt),
        ((JOB, DB), asks, Entry::SameWay, stopped, (Blocked, None)),
        ((JOB, DB), asks, Entry::OtherWay, stopped, doubt),
        ((JOB, DB), asks, Entry::None, stopped, doubt),
        // Whoever opened it was free to.
        ((WEB, DB), asks, Entry::None, answered, (Allowed, None)),
        ((WEB, DB), asks, Entry::None, delivered, (Allowed, None)),
        ((WEB, DB), asks, Entry::None, refused, doubt),
        ((WEB, DB), replies, Entry::None, answered, doubt),
    ] {
        assert_eq!(
            of_old(ends, ports, entry, tell),
            expected,
            "{ends:?} {ports:?} {entry:?}"
        );
    }
}

/// As each pod asks for names.
#[test]
fn a_question_to_a_service_that_may_be_old_is_oriented_by_its_translation() {
    let mut bench = Bench::begun(false);
    bench.apply(&service());
    bench.apply(&slice(&[DB]));
    bench.pass(20 * S);
    let mut seen = bench.attempt(WEB, API);
    seen.flow.protocol = Protocol::Udp;
    let backend = Flow {
        destination: DB.parse().unwrap(),
        ..seen.flow
    };
    bench.tracked = vec![Tracked {
        original: seen.flow,
        reply: backend.reversed(),
    }];
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!((found.assessment, found.unknown_because), (Allowed, None));
    assert_eq!(bench.look_ups, 1);
}
