//! One attempt each: what was seen, who tried, and what is claimed.

use node_agent_engine::input::{DropClass, EventKind, Input};
use node_agent_engine::record::Assessment::{
    self, Allowed, Blocked, Refused, Unanswered, Unenforced, UnexpectedDrop, Unknown,
};
use node_agent_engine::record::OutcomeKind::{self, Answered, Delivered, Dropped, Rejected};
use node_agent_engine::verdict::UnknownBecause::{self, FarSide, LeftNode, NotSeenStopped};

use super::bench::{AWAY, Bench, DB, JOB, NODE, OTHER_NODE, S, Seen, WEB, WORLD};

type Tell = fn(&mut Bench, Seen) -> Vec<Input>;

fn event(kind: EventKind) -> impl Fn(&mut Bench, Seen) -> Vec<Input> {
    move |bench, seen| vec![seen.event(bench.now, kind, 1)]
}

fn drop(bench: &Bench, seen: Seen, class: DropClass, in_pod: bool) -> Vec<Input> {
    vec![
        seen.dropped(class, in_pod)
            .event(bench.now, EventKind::Dropped, 1),
    ]
}

/// What was seen, then for `web` (allowed to the database) and `job` (denied): assessment, outcome.
#[test]
fn each_outcome_meets_each_verdict() {
    let answered: Tell = |bench, seen| event(EventKind::Answered)(bench, seen);
    let refused: Tell = |bench, seen| event(EventKind::Refused)(bench, seen);
    let reset: Tell = |bench, seen| event(EventKind::Reset)(bench, seen);
    let netfilter: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, false);
    let own_firewall: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, true);
    let rp_filter: Tell = |bench, seen| drop(bench, seen, DropClass::Other, false);
    let silent: Tell = |_, seen| vec![seen.swept()];
    let delivered: Tell = |_, seen| vec![seen.arrived().swept()];
    let queue_full: Tell = |_, seen| vec![seen.arrived().dropped(DropClass::Other, true).swept()];
    let prohibited_by_node: Tell = |bench, seen| vec![seen.icmp(bench.now, OTHER_NODE, 3, 13)];
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

/// K3s: nft REJECT sends the ICMP error from the node, then frees the packet.
#[test]
fn a_rejection_and_its_drop_are_one() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB);
    bench.give(seen.clone().rejected(3, 3).icmp(bench.now, NODE, 3, 3));
    let both = seen.rejected(3, 3).dropped(DropClass::Netfilter, false);
    bench.give(both.event(bench.now, EventKind::Dropped, 1));
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!(
        (found.assessment, found.outcome.outcome),
        (Blocked, Rejected)
    );
    assert_eq!(found.outcome.drop_reason.as_deref(), Some("NETFILTER_DROP"));
    assert_eq!(bench.counted, 1);
}

#[test]
fn an_icmp_error_from_the_world_proves_nothing_of_a_denial() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, AWAY);
    bench.give(seen.icmp(bench.now, WORLD, 3, 13));
    bench.pass(10 * S);
    assert_eq!(bench.only().unknown_because, Some(FarSide));
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
        }));
        bench.pass(3 * S);
        bench.give(seen.swept());
        bench.pass(S);
        assert_eq!(bench.only().assessment, expected, "{foreign_program:?}");
    }
}
