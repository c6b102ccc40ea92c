//! One attempt each: what was seen, who tried, and what is claimed.

use node_agent_engine::input::{DropClass, EventKind, Input};
use node_agent_engine::record::Assessment::{
    self, Allowed, Blocked, Refused, Unanswered, Unenforced, UnexpectedDrop, Unknown,
};
use node_agent_engine::record::OutcomeKind::{self, Answered, Delivered, Dropped, Rejected};
use node_agent_engine::record::{ClientSaw, Evidence};
use node_agent_engine::verdict::UnknownBecause::{self, FarSide, LeftNode, NotSeenStopped};

use node_agent_engine::model::Protocol;
use serde_json::json;

use super::bench::{AWAY, Bench, DB, JOB, MS, NODE, OTHER_NODE, S, Seen, WEB, WORLD};

pub(super) type Tell = fn(&mut Bench, Seen) -> Vec<Input>;

pub(super) fn event(kind: EventKind) -> impl Fn(&mut Bench, Seen) -> Vec<Input> {
    move |bench, seen| vec![seen.event(bench.now, kind, 1)]
}

/// What stopped it, and then its deadline.
pub(super) fn stopped(bench: &mut Bench, seen: Seen, kind: EventKind) -> Vec<Input> {
    bench.give(seen.event(bench.now, kind, 1));
    bench.pass(3 * S);
    vec![seen.swept()]
}

pub(super) fn drop(bench: &mut Bench, seen: Seen, class: DropClass, in_pod: bool) -> Vec<Input> {
    stopped(bench, seen.dropped(class, in_pod), EventKind::Dropped)
}

/// What was seen, then for `web` (allowed to the database) and `job` (denied): assessment, outcome.
#[test]
fn each_outcome_meets_each_verdict() {
    let answered: Tell = |bench, seen| event(EventKind::Answered)(bench, seen);
    let refused: Tell = |bench, seen| event(EventKind::Refused)(bench, seen);
    let reset: Tell = |bench, seen| stopped(bench, seen.reset(), EventKind::Reset);
    let netfilter: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, false);
    let own_firewall: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, true);
    let rp_filter: Tell = |bench, seen| drop(bench, seen, DropClass::Other, false);
    let silent: Tell = |_, seen| vec![seen.swept()];
    let delivered: Tell = |_, seen| vec![seen.arrived().swept()];
    let queue_full: Tell = |_, seen| vec![seen.arrived().dropped(DropClass::Other, true).swept()];
    let prohibited_by_node: Tell = |bench, seen| {
        stopped(
            bench,
            seen.rejected(OTHER_NODE, 3, 13),
            EventKind::Unreachable,
        )
    };
    type Claim = (Assessment, OutcomeKind, Option<UnknownBecause>);
    let rows: [(&str, Tell, &str, Claim, Claim); 13] = [
        (
            "answered",
            answered,
            DB,
            (Allowed, Answered, None),
            (Unenforced, Answered, None),
        ),
        (
            "refused",
            refused,
            DB,
            (Refused, OutcomeKind::Refused, None),
            (Unenforced, OutcomeKind::Refused, None),
        ),
        (
            "reset on the way",
            reset,
            DB,
            (UnexpectedDrop, Rejected, None),
            (Blocked, Rejected, None),
        ),
        (
            "reset from afar",
            reset,
            AWAY,
            (Refused, OutcomeKind::Refused, None),
            (Unknown, OutcomeKind::Refused, Some(FarSide)),
        ),
        (
            "netfilter",
            netfilter,
            DB,
            (UnexpectedDrop, Dropped, None),
            (Blocked, Dropped, None),
        ),
        (
            "own firewall",
            own_firewall,
            DB,
            (UnexpectedDrop, Dropped, None),
            (Blocked, Dropped, None),
        ),
        (
            "rp_filter",
            rp_filter,
            DB,
            (UnexpectedDrop, Dropped, None),
            (Unknown, Dropped, Some(NotSeenStopped)),
        ),
        (
            "silent",
            silent,
            DB,
            (Unanswered, OutcomeKind::Unanswered, None),
            (Unknown, OutcomeKind::Unanswered, Some(NotSeenStopped)),
        ),
        (
            "silent, other node",
            silent,
            AWAY,
            (Unanswered, OutcomeKind::Unanswered, None),
            (Unknown, OutcomeKind::Unanswered, Some(LeftNode)),
        ),
        (
            "delivered",
            delivered,
            DB,
            (Allowed, Delivered, None),
            (Unenforced, Delivered, None),
        ),
        (
            "listen queue full",
            queue_full,
            DB,
            (Allowed, Delivered, None),
            (Unenforced, Delivered, None),
        ),
        (
            "prohibited by a node",
            prohibited_by_node,
            AWAY,
            (UnexpectedDrop, Rejected, None),
            (Blocked, Rejected, None),
        ),
        (
            "answered from afar",
            answered,
            AWAY,
            (Allowed, Answered, None),
            (Unenforced, Answered, None),
        ),
    ];
    for (name, tell, to, allowed, denied) in rows {
        for (from, expected) in [(WEB, allowed), (JOB, denied)] {
            let mut bench = Bench::settled();
            let seen = bench.attempt(from, to);
            for input in tell(&mut bench, seen) {
                bench.give(input);
            }
            bench.pass(10 * S);
            let found = bench.only();
            assert_eq!(
                (
                    found.assessment,
                    found.outcome.outcome,
                    found.unknown_because
                ),
                expected,
                "{name} from {from}"
            );
            assert_eq!(bench.counted, 1, "{name} from {from}");
        }
    }
}

#[test]
fn blocked_is_told_at_once() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 1));
    bench.give(Input::Tick);
    let blocked = bench.only();
    assert_eq!(blocked.assessment, Blocked);
    let ingress = &blocked.verdict.ingress;
    assert_eq!(&*ingress.isolated_by[0].key.name, "db");
    assert_eq!(ingress.nearest.as_ref().unwrap().missed[0].found, "app=job");
    assert!(ingress.would_allow.is_some());
}

/// K3s: nft REJECT sends the ICMP error from the node, then frees the packet. A busy agent reads both late.
#[test]
fn a_rejection_and_its_drop_are_one() {
    for late in [0, 150 * MS, 2 * S] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(JOB, DB).rejected(NODE, 3, 3);
        let at = bench.now;
        bench.now = at.plus(late);
        bench.give(seen.event(at, EventKind::Unreachable, 1));
        let both = seen.dropped(DropClass::Netfilter, false);
        bench.give(both.event(at, EventKind::Dropped, 1));
        bench.pass(4 * S);
        bench.give(both.swept());
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(
            (found.assessment, found.outcome.outcome),
            (Blocked, Rejected)
        );
        assert_eq!(bench.counted, 1, "{late} ns late");
    }
}

#[test]
fn an_icmp_error_from_the_world_proves_nothing_of_a_denial() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, AWAY).rejected(WORLD, 3, 13);
    for input in stopped(&mut bench, seen, EventKind::Unreachable) {
        bench.give(input);
    }
    bench.pass(10 * S);
    assert_eq!(bench.only().unknown_because, Some(FarSide));
}

/// A node that refuses a datagram itself sends the same ICMP error as one that rejects it.
#[test]
fn an_icmp_error_from_the_destination_is_its_own() {
    let closed = |from: &str, to: &str, class: Option<DropClass>| {
        let mut bench = Bench::settled();
        bench.apply(
            &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "job", "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": "job"}}, "policyTypes": ["Egress"]}}),
        );
        bench.pass(30 * S);
        let mut seen = bench.attempt(from, to).rejected(to, 3, 3);
        seen.flow.protocol = Protocol::Udp;
        if let Some(class) = class {
            seen = seen.dropped(class, false);
        }
        for input in stopped(&mut bench, seen, EventKind::Unreachable) {
            bench.give(input);
        }
        bench.pass(10 * S);
        let found = bench.only();
        (found.assessment, found.unknown_because)
    };
    assert_eq!(closed(WEB, NODE, None), (Refused, None));
    assert_eq!(
        closed(WEB, NODE, Some(DropClass::NoSocket)),
        (Refused, None)
    );
    assert_eq!(
        closed(WEB, NODE, Some(DropClass::Netfilter)),
        (UnexpectedDrop, None)
    );
    assert_eq!(closed(WEB, OTHER_NODE, None), (Refused, None));
    assert_eq!(closed(JOB, OTHER_NODE, None), (Unknown, Some(FarSide)));
}

/// Whose interface is not watched may have sent a RST itself.
#[test]
fn a_reset_from_an_interface_that_is_not_watched_is_no_rejection() {
    for (from, expected) in [(WEB, (Refused, None)), (JOB, (Unknown, Some(FarSide)))] {
        let mut bench = Bench::settled();
        bench.give(Input::LinkGone(3));
        let seen = bench.attempt(from, DB).reset();
        for input in stopped(&mut bench, seen, EventKind::Reset) {
            bench.give(input);
        }
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!((found.assessment, found.unknown_because), expected);
    }
}

/// An error that says that the way ends there is no rejection; what dropped the packet says more, or nothing does.
#[test]
fn a_way_that_ends_is_no_rejection() {
    for (class, expected) in [
        (DropClass::Other, (UnexpectedDrop, Dropped)),
        (DropClass::Route, (Unanswered, OutcomeKind::Unanswered)),
        (DropClass::NoRoute, (Unanswered, OutcomeKind::Unanswered)),
    ] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(WEB, DB).rejected(NODE, 3, 1);
        for input in drop(&mut bench, seen, class, false) {
            bench.give(input);
        }
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!((found.assessment, found.outcome.outcome), expected);
        assert_eq!(found.outcome.client_saw, ClientSaw::Unreachable);
        for saw in [Evidence::KfreeSkb, Evidence::IcmpAtSource] {
            assert!(found.outcome.evidence.contains(&saw), "{class:?} {saw:?}");
        }
    }
}

#[test]
fn dropped_and_then_answered_is_allowed() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB).dropped(DropClass::Other, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 1));
    bench.pass(S);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!((found.assessment, found.drops), (Allowed, 1));
    assert_eq!(bench.counted, 1);
}

/// Written is written; what counts is how it ended.
#[test]
fn a_denial_that_is_answered_after_all_counts_as_unenforced_only() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 1));
    bench.pass(S);
    assert_eq!(bench.counted, 0);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(12 * S);
    let found: Vec<_> = bench
        .written
        .iter()
        .map(|found| (found.assessment, found.drops))
        .collect();
    assert_eq!(found, [(Blocked, 0), (Unenforced, 1)]);
    assert_eq!(bench.counted, 1);
}

/// An answer that left the peer may be lost on its way back.
#[test]
fn what_left_its_peer_is_answered() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB).arrived().replied();
    bench.pass(3 * S);
    bench.give(seen.swept());
    let other = bench.attempt(WEB, DB).arrived().replied();
    bench.give(other.event(bench.now, EventKind::Answered, 1));
    bench.give(Input::Ended);
    let found: Vec<_> = bench
        .written
        .iter()
        .map(|found| (found.assessment, found.outcome.outcome, found.count))
        .collect();
    assert_eq!(found, [(Allowed, Answered, 2)]);
}

/// Its own firewall may have dropped it where nobody looks.
#[test]
fn delivery_is_not_claimed_into_a_namespace_that_is_not_known() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB).arrived();
    bench.give(Input::Link(node_agent_engine::input::Link {
        index: 3,
        name: "veth3".into(),
        watched_since: bench.now,
        from_birth: true,
        addresses: vec![DB.parse().unwrap()],
        foreign_program: Some(false),
        netns: None,
    }));
    bench.pass(3 * S);
    bench.give(seen.swept());
    bench.pass(S);
    assert_eq!(bench.only().unknown_because, Some(NotSeenStopped));
}

#[test]
fn delivery_is_not_claimed_beside_a_foreign_program() {
    for (foreign_program, expected) in [
        (Some(true), Unanswered),
        (None, Unanswered),
        (Some(false), Allowed),
    ] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(WEB, DB).arrived();
        bench.give(Input::Link(node_agent_engine::input::Link {
            index: 3,
            name: "veth3".into(),
            watched_since: bench.now,
            from_birth: true,
            addresses: vec![DB.parse().unwrap()],
            foreign_program,
            netns: Some(1),
        }));
        bench.pass(3 * S);
        bench.give(seen.swept());
        bench.pass(S);
        assert_eq!(bench.only().assessment, expected, "{foreign_program:?}");
    }
}
