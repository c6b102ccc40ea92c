//! A claim must hold, and nothing is claimed when in doubt.

use node_agent_engine::Input;
use node_agent_engine::input::{DropClass, EventKind, Stage};
use node_agent_engine::model::{Delta, ObjectKey, PolicyKey};
use node_agent_engine::record::Assessment::{Allowed, Unenforced, UnexpectedDrop, Unknown};
use node_agent_engine::verdict::UnknownBecause;

use super::bench::{API, Bench, DB, JOB, MS, S, WEB, WORLD, pod, policy, service, slice};

pub(super) fn policy_gone() -> Input {
    Input::Delta(Box::new(Delta::PolicyGone(PolicyKey {
        kind: "NetworkPolicy".into(),
        namespace: "shop".into(),
        name: "db".into(),
    })))
}

pub(super) fn answered(bench: &mut Bench) {
    let seen = bench.attempt(JOB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
}

#[test]
fn unenforced_waits_for_the_confirm_time_and_a_fresh_reading() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.pass(4900 * MS);
    assert!(bench.written.is_empty());
    bench.pass(300 * MS);
    assert_eq!(bench.only().assessment, Unenforced);
    assert_eq!(bench.confirms, 1);
}

#[test]
fn unenforced_is_in_flux_when_the_policy_went_before_it_was_confirmed() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.pass(2 * S);
    bench.give(policy_gone());
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!(
        (found.assessment, found.unknown_because),
        (Unknown, Some(UnknownBecause::InFlux))
    );
}

#[test]
fn unexpected_drop_is_in_flux_when_a_policy_came_before_it_was_confirmed() {
    let mut bench = Bench::settled();
    bench.give(policy_gone());
    bench.pass(20 * S);
    let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 1));
    bench.pass(4 * S);
    bench.give(seen.swept());
    bench.pass(500 * MS);
    bench.apply(&policy());
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!(
        (found.assessment, found.unknown_because),
        (Unknown, Some(UnknownBecause::InFlux))
    );
}

/// What dropped it did so before policy wanted it.
#[test]
fn blocked_is_in_flux_when_the_policy_came_after_the_attempt() {
    let mut bench = Bench::settled();
    bench.give(policy_gone());
    bench.pass(20 * S);
    let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 1));
    bench.pass(S);
    bench.apply(&policy());
    bench.pass(3 * S);
    bench.give(seen.swept());
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!(
        (found.assessment, found.unknown_because),
        (Unknown, Some(UnknownBecause::InFlux))
    );
}

/// What is known of a claim's ends may be less in the end.
#[test]
fn a_claim_whose_pod_turned_out_to_be_another_is_none() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.pass(2 * S);
    bench.apply(&pod("twin", "db", DB, "node-1"));
    bench.pass(10 * S);
    assert_eq!(bench.only().assessment, Unknown);
}

/// An address that lies in no range of pods is outside the cluster, unless a pod's interface leads there: of that pod the
/// cluster has not said anything yet.
#[test]
fn a_drop_on_the_way_to_a_pod_that_is_not_known_is_no_claim() {
    const UNHEARD_OF: &str = "172.31.0.9";
    let doubt = (Unknown, Some(UnknownBecause::Identity));
    for (leads_there, expected) in [(false, (UnexpectedDrop, None)), (true, doubt)] {
        let mut bench = Bench::settled();
        if leads_there {
            bench.link(9, UNHEARD_OF, true);
        }
        let seen = bench
            .attempt(WEB, UNHEARD_OF)
            .dropped(DropClass::Netfilter, false);
        bench.give(seen.event(bench.now, EventKind::Dropped, 1));
        bench.pass(4 * S);
        bench.give(seen.swept());
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!((found.assessment, found.unknown_because), expected);
    }
}

#[test]
fn unenforced_is_in_flux_when_the_policy_is_young() {
    let mut bench = Bench::settled();
    bench.give(policy_gone());
    bench.pass(20 * S);
    bench.apply(&policy());
    bench.pass(S);
    answered(&mut bench);
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!(
        (found.assessment, found.unknown_because),
        (Unknown, Some(UnknownBecause::InFlux))
    );
}

/// What changed has no say in the verdict, before and after.
#[test]
fn a_change_that_leaves_the_verdict_as_it_was_leaves_the_claim() {
    let mut other = policy();
    other["metadata"]["name"] = "other".into();
    for before in [true, false] {
        let mut bench = Bench::settled();
        if before {
            bench.apply(&other);
            bench.pass(S);
        }
        answered(&mut bench);
        if !before {
            bench.pass(S);
            bench.apply(&other);
        }
        bench.pass(10 * S);
        assert_eq!(bench.only().assessment, Unenforced, "{before}");
    }
}

/// Nor when nobody heard of it in between.
#[test]
fn unenforced_is_in_flux_when_the_policy_went_and_came_again_at_once() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.pass(S);
    bench.give(policy_gone());
    bench.apply(&policy());
    bench.pass(10 * S);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::InFlux));
}

#[test]
fn unenforced_is_in_flux_when_the_policy_went_and_came_again() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.pass(S);
    bench.give(policy_gone());
    bench.pass(S);
    bench.apply(&policy());
    bench.pass(10 * S);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::InFlux));
}

#[test]
fn an_absence_in_a_window_with_a_loss_proves_nothing() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, WORLD);
    bench.pass(S);
    bench.give(Input::Lost {
        stage: Stage::Ring,
        total: 7,
    });
    bench.pass(2 * S);
    bench.give(seen.swept());
    bench.pass(S);
    let found = bench.only();
    assert_eq!(
        (found.unknown_because, found.lost),
        (Some(UnknownBecause::Lost), 7)
    );
}

#[test]
fn a_source_that_is_not_the_interfaces_pod_is_no_evidence() {
    let mut bench = Bench::settled();
    let mut seen = bench.attempt(JOB, DB);
    seen.attempt.source_link = Some(1);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(10 * S);
    assert_eq!(
        bench.only().unknown_because,
        Some(UnknownBecause::SourceMismatch)
    );
}

/// Another pod of the node can send what looks like the database's answer.
#[test]
fn an_answer_from_another_pods_interface_is_no_evidence() {
    for kind in [EventKind::Answered, EventKind::Refused] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(JOB, DB);
        let Input::Event(mut event) = seen.event(bench.now, kind, 1) else {
            unreachable!()
        };
        event.link = Some(1);
        bench.give(Input::Event(event));
        bench.pass(10 * S);
        assert_eq!(
            bench.only().unknown_because,
            Some(UnknownBecause::SourceMismatch),
            "{kind:?}"
        );
    }
}

#[test]
fn what_is_held_at_the_end_is_not_claimed() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.give(Input::Ended);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::Stale));
}

#[test]
fn what_is_held_at_the_end_is_in_flux_when_its_verdict_changed() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.pass(S);
    bench.give(policy_gone());
    bench.give(Input::Ended);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::InFlux));
}

#[test]
fn events_from_before_the_first_picture_are_judged_after_it() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(WEB, DB);
    let settled = std::mem::replace(&mut bench, Bench::settled());
    assert!(settled.written.is_empty());
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(S);
    assert_eq!(bench.only().assessment, Allowed);
}

/// Whoever reads the change of a Service, its slice or its backends is not alarmed by what went before it.
#[test]
fn unenforced_through_a_service_is_in_flux_when_anything_behind_it_is_young() {
    type Change = fn(&mut Bench);
    let settled: [(&str, Change); 4] = [
        ("nothing", |_| {}),
        ("the policy of its backend", |bench| {
            bench.give(policy_gone());
            bench.apply(&policy());
        }),
        ("its slice", |bench| bench.apply(&slice(&[DB, DB]))),
        ("itself", |bench| {
            bench.give(Input::Delta(Box::new(Delta::ServiceGone(ObjectKey {
                namespace: "shop".into(),
                name: "api".into(),
            }))));
            bench.apply(&service());
        }),
    ];
    for (changed, change) in settled {
        let mut bench = Bench::settled();
        bench.apply(&service());
        bench.apply(&slice(&[DB]));
        bench.pass(30 * S);
        change(&mut bench);
        bench.pass(S);
        let seen = bench.attempt(JOB, API);
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        let expected = match changed {
            "nothing" => (Unenforced, None),
            _ => (Unknown, Some(UnknownBecause::InFlux)),
        };
        assert_eq!(
            (found.assessment, found.unknown_because),
            expected,
            "{changed}"
        );
    }
}
