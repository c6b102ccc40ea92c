//! Many findings become one record, and no attempt is lost by it.

use node_agent_engine::input::{DropClass, EventKind, Stage};
use node_agent_engine::record::{Assessment, Body, Cause, NodeNotEnforcing, Scan};
use node_agent_engine::{Input, Log};

use super::bench::{Bench, DB, JOB, MS, S, WEB};

/// The job tries so many ports of the database, and netfilter stops each.
fn scan(bench: &mut Bench, ports: std::ops::Range<u16>) {
    for port in ports {
        let mut seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
        seen.flow.destination_port = port;
        bench.give(seen.event(bench.now, EventKind::Dropped, 0));
        bench.give(seen.swept());
    }
}

fn scans(bench: &Bench) -> Vec<&Scan> {
    let scans = bench.others.iter().filter_map(|body| match body {
        Body::Scan(scan) => Some(&**scan),
        _ => None,
    });
    scans.collect()
}

#[test]
fn scan_is_one_record_and_the_first_twenty() {
    let mut bench = Bench::settled_with(Log::Problems);
    scan(&mut bench, 1..101);
    bench.pass(15 * S);
    assert_eq!(bench.written.len(), 20);
    let [scan] = scans(&bench)[..] else {
        panic!("{:?}", bench.others)
    };
    assert_eq!((scan.targets, scan.addresses, scan.ports), (100, 1, 100));
    assert_eq!(scan.attempts, 100);
    assert_eq!(scan.assessments, [(Assessment::Blocked, 100)].into());
    assert_eq!(scan.source.name.as_deref(), Some("job"));
    assert_eq!(bench.counted, 100);
}

#[test]
fn scan_that_goes_on_backs_off() {
    let mut bench = Bench::settled_with(Log::Problems);
    for _ in 0..100 {
        scan(&mut bench, 1..41);
        bench.pass(S);
    }
    bench.give(Input::Ended);
    let attempts: Vec<u64> = scans(&bench).iter().map(|scan| scan.attempts).collect();
    // After the window, after one window more, after a minute; the rest at the end.
    assert_eq!(attempts.len(), 4, "{attempts:?}");
    assert_eq!(attempts.iter().sum::<u64>(), 4000);
}

/// More than twenty and no scan: the rest is written when that is known.
#[test]
fn fewer_targets_than_a_scan_has_are_written_each() {
    let mut bench = Bench::settled_with(Log::Problems);
    scan(&mut bench, 1..33);
    bench.pass(S);
    assert_eq!(bench.written.len(), 20);
    bench.pass(14 * S);
    assert_eq!((bench.written.len(), scans(&bench).len()), (32, 0));
}

#[test]
fn all_keeps_each_pair() {
    let mut bench = Bench::settled_with(Log::All);
    scan(&mut bench, 1..101);
    bench.pass(15 * S);
    assert_eq!((bench.written.len(), scans(&bench).len()), (100, 1));
}

/// Whoever talks to many that answer is no scanner.
#[test]
fn allowed_connections_are_no_scan() {
    let mut bench = Bench::settled_with(Log::Problems);
    for port in 1..101 {
        let mut seen = bench.attempt(WEB, DB).arrived();
        seen.flow.destination_port = port;
        bench.give(seen.event(bench.now, EventKind::Answered, 0));
    }
    bench.pass(15 * S);
    assert_eq!((bench.written.len(), bench.others.len()), (0, 0));
}

/// Denied attempts from as many addresses pass; `ports` of them each.
fn pass_denied(bench: &mut Bench, ports: std::ops::Range<u16>) {
    for port in ports {
        let mut seen = bench.attempt(JOB, DB).arrived();
        seen.flow.destination_port = port;
        bench.give(seen.event(bench.now, EventKind::Answered, 0));
    }
}

fn not_enforcing(bench: &Bench) -> Vec<&NodeNotEnforcing> {
    let records = bench.others.iter().filter_map(|body| match body {
        Body::NodeNotEnforcing(record) => Some(record),
        _ => None,
    });
    records.collect()
}

#[test]
fn node_where_nothing_is_stopped_is_one_record() {
    let mut bench = Bench::settled_with(Log::Problems);
    pass_denied(&mut bench, 1..26);
    bench.pass(20 * S);
    let [found] = not_enforcing(&bench)[..] else {
        panic!("{:?}", bench.others)
    };
    assert_eq!((found.pairs, found.attempts), (25, 25));
    let names: Vec<_> = found
        .policies
        .iter()
        .map(|policy| &*policy.key.name)
        .collect();
    assert_eq!(names, ["db"]);
    assert_eq!(bench.written.len(), 20);
    assert_eq!(bench.counted, 25);
}

#[test]
fn fewer_pairs_are_written_each() {
    let mut bench = Bench::settled_with(Log::Problems);
    pass_denied(&mut bench, 1..20);
    bench.pass(20 * S);
    assert_eq!((bench.written.len(), not_enforcing(&bench).len()), (19, 0));
}

/// One that is stopped shows that somebody enforces: what passes is told one by one again.
#[test]
fn node_that_stops_something_enforces() {
    let mut bench = Bench::settled_with(Log::Problems);
    for round in 0..3 {
        pass_denied(&mut bench, round * 15 + 1..round * 15 + 16);
        bench.pass(20 * S);
        scan(&mut bench, 1000..1001);
        bench.pass(S);
    }
    assert_eq!(not_enforcing(&bench).len(), 0);
    let unenforced = bench
        .written
        .iter()
        .filter(|written| written.assessment == Assessment::Unenforced);
    assert_eq!(unenforced.count(), 45);
}

/// What a pod stops in its own namespace is no sign that the node enforces.
#[test]
fn own_firewall_enforces_for_nobody_else() {
    let mut bench = Bench::settled_with(Log::Problems);
    for round in 0..3 {
        pass_denied(&mut bench, round * 10 + 1..round * 10 + 11);
        let seen = bench
            .attempt(JOB, DB)
            .arrived()
            .dropped(DropClass::Netfilter, true);
        bench.give(seen.event(bench.now, EventKind::Dropped, 0));
        bench.give(seen.swept());
        bench.pass(20 * S);
    }
    let mut written = bench.written.iter();
    assert!(written.any(|written| written.cause == Some(Cause::OwnFirewall)));
    let found = not_enforcing(&bench);
    assert_eq!(found.last().map(|found| found.pairs), Some(30));
    assert_eq!(found.iter().map(|found| found.attempts).sum::<u64>(), 30);
}

#[test]
fn losses_back_off_and_none_is_forgotten() {
    let mut bench = Bench::settled_with(Log::Problems);
    for total in 1..=300 {
        let stage = Stage::Ring;
        bench.give(Input::Lost { stage, total });
        bench.pass(100 * MS);
    }
    bench.give(Input::Ended);
    let lost = bench.others.iter().filter_map(|body| match body {
        Body::Lost(lost) => Some((lost.count, lost.total)),
        _ => None,
    });
    let lost: Vec<_> = lost.collect();
    // At once, after ten seconds, and what came since at the end.
    assert_eq!(lost.len(), 3, "{lost:?}");
    assert_eq!(lost.iter().map(|(count, _)| count).sum::<u64>(), 300);
    assert_eq!(lost.last().map(|(_, total)| *total), Some(300));
}
