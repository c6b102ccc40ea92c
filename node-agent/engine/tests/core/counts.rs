//! Each attempt is counted once, however few events tell of them.

use node_agent_engine::Input;
use node_agent_engine::input::{DropClass, EventKind};

use node_agent_engine::record::Assessment;
use node_agent_engine::verdict::UnknownBecause;

use super::bench::{Bench, DB, JOB, MS, NODE, S, Seen, WEB, egress_denied};

fn sum(bench: &Bench) -> u64 {
    bench
        .written
        .iter()
        .map(|connection| connection.count)
        .sum()
}

#[test]
fn totals_count_as_their_exemplar() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.give(Input::Tick);
    bench.give(seen.total(EventKind::Answered, 250, bench.now));
    bench.pass(12 * S);
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1000));
    bench.give(Input::Ended);
    assert_eq!((sum(&bench), bench.counted), (1000, 1000));
    assert_eq!(
        bench
            .written
            .iter()
            .map(|written| written.count)
            .collect::<Vec<_>>(),
        [1, 249, 750]
    );
}

#[test]
fn what_counts_with_a_held_claim_stays_with_it() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(S);
    bench.give(seen.total(EventKind::Answered, 40, bench.now));
    bench.pass(10 * S);
    assert_eq!((sum(&bench), bench.counted), (40, 40));
}

#[test]
fn repeats_back_off() {
    let mut bench = Bench::settled();
    for _ in 0..200 {
        let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
        bench.give(seen.event(bench.now, EventKind::Dropped, 1));
        bench.give(seen.swept());
        bench.pass(S);
    }
    // At once, after 10 s, after a minute more; the next is due after ten.
    assert_eq!(
        bench.written.len(),
        3,
        "{:?}",
        bench.written.iter().map(|w| w.count).collect::<Vec<_>>()
    );
    bench.give(Input::Ended);
    assert_eq!((sum(&bench), bench.counted), (200, 200));
}

#[test]
fn a_counter_that_began_anew_is_not_counted_twice() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.give(seen.total(EventKind::Answered, 50, bench.now));
    bench.give(seen.total(EventKind::Answered, 50, bench.now));
    // The kernel side forgot the conversation after 300 s.
    bench.pass(301 * S);
    bench.give(seen.total(EventKind::Answered, 3, bench.now));
    bench.give(Input::Ended);
    assert_eq!((sum(&bench), bench.counted), (53, 53));
}

/// Two processors number their attempts one after the other, and may say them the other way round.
#[test]
fn totals_that_come_out_of_order_count_once() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.give(seen.total(EventKind::Answered, 1000, bench.now));
    for total in [1002, 1001] {
        let seen = bench.attempt(WEB, DB);
        bench.give(seen.total(EventKind::Answered, total, bench.now));
    }
    bench.give(Input::Ended);
    assert_eq!((sum(&bench), bench.counted), (1002, 1002));
}

/// On K3s the first SYN's ICMP error is often lost to the rate limit, and only some of an epoch's have one.
#[test]
fn rejections_count_once() {
    let mut bench = Bench::settled();
    for number in 0..12 {
        let mut seen = bench.attempt(JOB, DB);
        if number > 0 {
            seen = seen.rejected(NODE, 3, 3);
        }
        // The first of each kind in an epoch is said.
        if number == 1 {
            bench.give(seen.event(bench.now, EventKind::Unreachable, 1));
        }
        seen = seen.dropped(DropClass::Netfilter, false);
        if number == 0 {
            bench.give(seen.event(bench.now, EventKind::Dropped, 1));
        }
        bench.pass(300 * MS);
        bench.give(seen.swept());
    }
    bench.give(Input::Ended);
    assert_eq!((sum(&bench), bench.counted), (12, 12));
}

/// The first one said decides nothing about the others.
#[test]
fn attempts_stopped_behind_one_that_was_not_are_all_counted() {
    let mut bench = Bench::settled();
    let first = bench
        .attempt(JOB, DB)
        .arrived()
        .dropped(DropClass::Other, true);
    bench.give(first.event(bench.now, EventKind::Dropped, 1));
    let others: Vec<_> = (0..5)
        .map(|_| bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false))
        .collect();
    bench.pass(4 * S);
    bench.give(first.swept());
    for other in others {
        bench.give(other.swept());
    }
    bench.pass(12 * S);
    bench.give(Input::Ended);
    let of = |assessment| -> u64 {
        let written = bench.written.iter();
        let of = written.filter(|found| found.assessment == assessment);
        of.map(|found| found.count).sum()
    };
    assert_eq!((of(Assessment::Blocked), bench.counted), (5, 6));
}

/// Each of three attempts loses its first packet, and is answered a second later.
#[test]
fn drops_before_answers_are_no_ends() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 1));
    bench.pass(S);
    let other = bench.attempt(WEB, DB).dropped(DropClass::Netfilter, false);
    bench.give(other.event(bench.now, EventKind::Answered, 1));
    bench.pass(200 * MS);
    bench.give(other.total(EventKind::Answered, 3, bench.now));
    bench.pass(12 * S);
    bench.give(Input::Ended);
    assert!(
        bench
            .written
            .iter()
            .all(|found| found.assessment == Assessment::Allowed)
    );
    assert_eq!((sum(&bench), bench.counted), (3, 3));
}

/// Whether an attempt's drop was told at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Told,
    Untold,
    /// Nothing stopped it, and nothing came back in time.
    Silent,
}

/// A connection that is stopped for more than its deadline, or not answered, and then let through.
#[test]
fn what_is_answered_after_its_deadline_counts_once() {
    use Assessment::{Allowed, Blocked, Unanswered, Unenforced, UnexpectedDrop};
    for (from, first, later, expected) in [
        // Nothing was claimed yet, and nothing will be.
        (WEB, First::Told, 500 * MS, &[(Allowed, 1)][..]),
        // It was claimed: that stands, and the rest is told.
        (
            WEB,
            First::Untold,
            10 * S,
            &[(UnexpectedDrop, 1), (Allowed, 0)],
        ),
        // That it leaked is told, too.
        (JOB, First::Told, 3 * S, &[(Blocked, 1), (Unenforced, 0)]),
        (WEB, First::Silent, 10 * S, &[(Unanswered, 1), (Allowed, 0)]),
    ] {
        let mut bench = Bench::settled();
        let mut seen = bench.attempt(from, DB);
        if first != First::Silent {
            seen = seen.dropped(DropClass::Netfilter, false);
        }
        if first == First::Told {
            bench.give(seen.event(bench.now, EventKind::Dropped, 1));
        }
        bench.pass(4 * S);
        bench.give(seen.swept());
        bench.pass(later);
        bench.give(seen.answered_late());
        bench.pass(20 * S);
        bench.give(Input::Ended);
        assert_eq!(told(&bench), expected);
        assert_eq!((sum(&bench), bench.counted), (1, 1));
        let drops = bench.written.iter().map(|found| found.drops).max();
        assert_eq!(drops, Some(u32::from(first != First::Silent)));
    }
}

fn told(bench: &Bench) -> Vec<(Assessment, u64)> {
    let written = bench.written.iter();
    written
        .map(|found| (found.assessment, found.count))
        .collect()
}

#[test]
fn what_was_cut_short_is_lost_not_silent() {
    let mut bench = Bench::settled();
    let Input::Swept(mut swept) = bench.attempt(WEB, DB).swept() else {
        unreachable!()
    };
    swept.cut_short = true;
    bench.give(Input::Swept(swept));
    bench.give(Input::Ended);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::Lost));
}

/// Attempts on so many addresses of the world, each a kind of its own; gives how many were written.
fn flood(bench: &mut Bench, kinds: u32, tell: impl Fn(&mut Bench, &str) -> Seen) -> u64 {
    let mut written = 0;
    for kind in 0..kinds {
        let to = std::net::Ipv4Addr::from(0x0505_0000 + kind).to_string();
        let seen = tell(bench, &to);
        let event = match seen.attempt.drop {
            Some(_) => EventKind::Dropped,
            None => EventKind::Answered,
        };
        bench.give(seen.event(bench.now, event, 1));
        if kind % 4000 == 0 {
            bench.pass(50 * MS);
            written += sum(bench);
            bench.written.clear();
        }
    }
    written
}

/// One pod that tries many addresses cannot silence the node, and what was counted of the others is written.
#[test]
fn after_any_number_of_kinds_a_problem_is_still_written() {
    let blocked = |bench: &mut Bench, to: &str| {
        let seen = bench.attempt(JOB, to);
        seen.dropped(DropClass::Netfilter, false)
    };
    for (kinds, allowed) in [(100_000, true), (40_000, false)] {
        let mut bench = Bench::settled();
        bench.apply(&egress_denied("job"));
        let seen = bench.attempt(WEB, DB);
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(50 * MS);
        bench.give(seen.total(EventKind::Answered, 5, bench.now));
        let mut written = flood(&mut bench, kinds, |bench, to| match allowed {
            true => bench.attempt(WEB, to),
            false => blocked(bench, to),
        });
        bench.give(Input::Tick);
        written += sum(&bench);
        bench.written.clear();

        let seen = blocked(&mut bench, DB);
        bench.give(seen.event(bench.now, EventKind::Dropped, 1));
        bench.give(Input::Tick);
        assert_eq!(bench.only().destination.ip.to_string(), DB, "{kinds} kinds");

        bench.give(Input::Ended);
        assert_eq!(
            (written + sum(&bench), bench.lost),
            (u64::from(kinds) + 6, 0),
            "{kinds} kinds"
        );
    }
}

#[test]
fn what_counts_with_a_forgotten_kind_is_lost() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    flood(&mut bench, 40_000, |bench, to| bench.attempt(WEB, to));
    bench.give(seen.total(EventKind::Answered, 5, bench.now));
    bench.give(Input::Tick);
    assert_eq!(bench.lost, 4);
}

/// A total comes after all events: one that no event told of had its event lost, and is lost until one tells.
#[test]
fn a_total_that_no_event_told_of_is_lost() {
    for ended in [Input::Tick, Input::Ended] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(WEB, DB);
        bench.give(seen.total(EventKind::Answered, 5, bench.now));
        bench.give(ended);
        assert_eq!((sum(&bench), bench.lost), (0, 5));
    }
}

#[test]
fn what_a_later_event_tells_of_counts_again() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.total(EventKind::Answered, 5, bench.now));
    bench.pass(12 * S);
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 6));
    bench.give(seen.total(EventKind::Answered, 9, bench.now));
    bench.give(Input::Ended);
    assert_eq!((sum(&bench), bench.lost), (4, 5));
}
