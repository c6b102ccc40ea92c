//! Who opened a conversation of datagrams: what ports and interfaces prove of that, and what they do not.

use node_agent_engine::input::{DropClass, EventKind, Input, Link};
use node_agent_engine::model::Protocol;
use node_agent_engine::record::Assessment::{Allowed, Blocked, Unenforced, Unknown};
use node_agent_engine::verdict::UnknownBecause::Orientation;

use super::bench::{AWAY, Bench, DB, JOB, S, WEB};
use super::outcomes::drop;
use super::senders::swept;

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
