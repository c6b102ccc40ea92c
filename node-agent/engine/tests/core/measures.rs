//! What is measured beside the records.

use node_agent_engine::Input;
use node_agent_engine::input::{DropClass, EventKind, Span, Subject};
use node_agent_engine::model::{Delta, ObjectKey, PolicyKey};

use super::bench::{Bench, DB, JOB, MS, S, policy};

fn remove_policy(bench: &mut Bench) {
    let key = PolicyKey {
        kind: "NetworkPolicy".into(),
        namespace: "shop".into(),
        name: "db".into(),
    };
    bench.give(Input::Delta(Box::new(Delta::PolicyGone(key))));
}

/// The policy comes; what it denies passes twice and is stopped then.
#[test]
fn delay_is_from_the_change_to_the_first_stop() {
    let mut bench = Bench::settled();
    remove_policy(&mut bench);
    bench.pass(20 * S);
    bench.apply(&policy());
    for _ in 0..2 {
        bench.pass(300 * MS);
        let seen = bench.attempt(JOB, DB).arrived();
        bench.give(seen.event(bench.now, EventKind::Answered, 0));
    }
    bench.pass(400 * MS);
    for _ in 0..2 {
        let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
        bench.give(seen.event(bench.now, EventKind::Dropped, 0));
        bench.pass(S);
    }
    assert_eq!(bench.measured, [(Span::EnforcementDelay, 1000 * MS)]);
}

/// Enforcement may have stood before the change: the stop says nothing of when it began.
#[test]
fn stop_without_a_pass_before_it_measures_nothing() {
    let mut bench = Bench::settled();
    remove_policy(&mut bench);
    bench.pass(20 * S);
    bench.apply(&policy());
    bench.pass(S);
    let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 0));
    bench.pass(10 * S);
    assert_eq!(bench.measured, []);
}

#[test]
fn series_end_a_minute_after_their_workload() {
    let workload = || Subject::Workload(key("job"));
    let mut bench = Bench::settled();
    bench.give(Input::Delta(Box::new(Delta::PodGone(key("job")))));
    bench.pass(59 * S);
    assert_eq!(bench.gone, []);
    bench.pass(2 * S);
    assert_eq!(bench.gone, [workload()]);
    remove_policy(&mut bench);
    bench.pass(30 * S);
    bench.apply(&policy());
    bench.pass(90 * S);
    assert_eq!(bench.gone, [workload()], "the policy came back in time");
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "shop".into(),
        name: name.into(),
    }
}
