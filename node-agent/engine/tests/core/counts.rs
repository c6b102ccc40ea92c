//! Each attempt is counted once, however few events tell of them.

use node_agent_engine::Input;
use node_agent_engine::input::{DropClass, EventKind};

use super::bench::{Bench, DB, JOB, S, WEB};

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
    let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 1));
    for total in 2..=200 {
        bench.pass(S);
        bench.give(seen.total(EventKind::Dropped, total, bench.now));
    }
    // At once, after 10 s, after a minute more; the next is due after ten.
    assert_eq!(
        bench.written.len(),
        3,
        "{:?}",
        bench.written.iter().map(|w| w.count).collect::<Vec<_>>()
    );
    bench.give(Input::Ended);
    assert_eq!(sum(&bench), 200);
}

#[test]
fn a_counter_that_began_anew_is_not_counted_twice() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.give(seen.total(EventKind::Answered, 50, bench.now));
    bench.give(seen.total(EventKind::Answered, 50, bench.now));
    bench.give(seen.total(EventKind::Answered, 3, bench.now));
    bench.give(Input::Ended);
    assert_eq!(sum(&bench), 53);
}

/// The drop's count is the attempt's; the ICMP error's only says what the client saw.
#[test]
fn rejections_count_once() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB);
    bench.give(
        seen.clone()
            .rejected(3, 3)
            .icmp(bench.now, super::bench::NODE, 3, 3),
    );
    let both = seen.rejected(3, 3).dropped(DropClass::Netfilter, false);
    bench.give(both.event(bench.now, EventKind::Dropped, 1));
    bench.give(both.total(EventKind::Unreachable, 30, bench.now));
    bench.give(both.total(EventKind::Dropped, 30, bench.now));
    bench.pass(S);
    bench.give(Input::Ended);
    assert_eq!(sum(&bench), 30);
}
