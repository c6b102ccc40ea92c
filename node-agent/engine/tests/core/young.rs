//! What passes in a pod's first seconds is measured, and what only seems young is in doubt.

use node_agent_engine::input::{DropClass, EventKind};
use node_agent_engine::model::{Delta, ObjectKey};
use node_agent_engine::record::Assessment::{self, Blocked, Unenforced, Unknown};
use node_agent_engine::verdict::UnknownBecause;
use node_agent_engine::{Input, Log};
use serde_json::json;

use super::bench::{Bench, DB, JOB, MS, S, pod, policy};

fn gone() -> Input {
    Input::Delta(Box::new(Delta::PodGone(ObjectKey {
        namespace: "shop".into(),
        name: "job".into(),
    })))
}

/// What the job's attempt on the database is, and its start window.
fn assessed(mut bench: Bench) -> (Assessment, Option<f64>) {
    let seen = bench.attempt(JOB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(10 * S);
    let found = bench.only();
    (found.assessment, found.start_window_s)
}

fn job_starts(bench: &mut Bench) {
    bench.apply(&pod("job", "job", JOB, "node-1"));
}

/// As every pod is heard of first: it has a node, and no address yet.
fn job_is_scheduled(bench: &mut Bench) {
    let mut job = pod("job", "job", JOB, "node-1");
    job["status"] = json!({"phase": "Pending"});
    bench.apply(&job);
}

/// A pod of that name follows it a while later, and has its interface now.
fn job_has_a_successor(bench: &mut Bench) {
    bench.give(gone());
    bench.give(Input::LinkGone(2));
    bench.pass(100 * S);
    job_is_scheduled(bench);
    bench.pass(S);
    bench.link(2, JOB, true);
}

fn job_fails(bench: &mut Bench) {
    let mut job = pod("job", "job", JOB, "node-1");
    job["status"]["phase"] = json!("Failed");
    bench.apply(&job);
}

/// A pod is there before the server has heard of its address; what its first call finds may be the end of it.
#[test]
fn what_stops_a_young_pod_is_policy() {
    type Then = fn(&mut Bench);
    let ends: [(&str, Then); 3] = [
        ("goes on", |_| {}),
        ("fails", job_fails),
        ("is deleted", |bench| bench.give(gone())),
    ];
    for (name, end) in ends {
        for is_young in [true, false] {
            let mut bench = Bench::settled();
            if is_young {
                job_has_a_successor(&mut bench);
                bench.pass(200 * MS);
            }
            let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
            bench.give(seen.event(bench.now, EventKind::Dropped, 1));
            bench.pass(300 * MS);
            if is_young {
                job_starts(&mut bench);
            }
            bench.pass(700 * MS);
            end(&mut bench);
            bench.pass(10 * S);
            let found = bench.only();
            let told = (found.assessment, found.source.name.as_deref());
            assert_eq!(told, (Blocked, Some("job")), "it {name}, young: {is_young}");
        }
    }
}

#[test]
fn only_a_pod_whose_interface_appeared_has_a_start_window() {
    let begun = |from_birth| {
        let mut bench = Bench::begun(from_birth);
        bench.pass(1500 * MS);
        bench
    };
    assert_eq!(assessed(begun(true)), (Unenforced, Some(1.5)));
    assert_eq!(
        assessed(begun(false)),
        (Unknown, None),
        "found at the start"
    );

    let mut again = Bench::settled();
    again.give(gone());
    again.pass(S);
    job_starts(&mut again);
    again.pass(S);
    let told = "its object went and came, as with a file that is written again";
    assert_eq!(assessed(again), (Unknown, None), "{told}");
}

#[test]
fn a_start_window_begins_with_the_interface() {
    for (object_first, is_scheduled, told) in [
        (true, false, "known before"),
        (false, false, "known after"),
        (false, true, "scheduled before, its address known after"),
    ] {
        let mut bench = Bench::settled();
        bench.give(gone());
        bench.give(Input::LinkGone(2));
        bench.pass(100 * S);
        if is_scheduled {
            job_is_scheduled(&mut bench);
        }
        if object_first {
            job_starts(&mut bench);
            bench.pass(20 * S);
        }
        bench.link(2, JOB, true);
        bench.pass(S);
        if !object_first {
            job_starts(&mut bench);
        }
        bench.pass(S);
        assert_eq!(assessed(bench), (Unenforced, Some(2.0)), "{told}");
    }
}

/// The agents of a DaemonSet ask for their first list within ten seconds, and an API server may be away for longer.
#[test]
fn what_came_before_the_first_picture_is_told_of_who_is_in_it() {
    let mut bench = Bench::watching(false, Log::All);
    let stopped = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(stopped.event(bench.now, EventKind::Dropped, 1));
    let passed = bench.attempt(JOB, DB);
    bench.give(passed.event(bench.now, EventKind::Answered, 1));
    bench.wait(30 * S);
    bench.sync(50 * MS);
    bench.pass(10 * S);
    let told = bench.written.iter().map(|found| {
        let names = [&found.source.name, &found.destination.name];
        (
            names.map(|name| name.as_deref()),
            found.assessment,
            found.unknown_because,
        )
    });
    let names = [Some("job"), Some("db")];
    let told: Vec<_> = told.collect();
    // What stopped the other may be older than the policies that are known now.
    let expected = [(names, Unknown, Some(UnknownBecause::InFlux))];
    assert_eq!(told, expected, "{:#?}", bench.written);
}

#[test]
fn what_came_before_a_picture_that_never_came_is_lost() {
    let mut bench = Bench::watching(false, Log::All);
    let seen = bench.attempt(JOB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.give(Input::Ended);
    assert_eq!((bench.written.len(), bench.lost), (0, 1));
}

#[test]
fn nothing_but_the_pod_may_be_young() {
    let mut bench = Bench::begun(true);
    bench.pass(S);
    let mut changed = policy();
    changed["spec"]["ingress"][0]["ports"] = serde_json::json!([{"port": 5432}]);
    bench.apply(&changed);
    assert_eq!(assessed(bench), (Unknown, None));
}

/// Nobody names the new one yet: its first packets wait for that, and are its own then. Where nobody comes the old
/// one was only made anew.
#[test]
fn a_pod_that_takes_over_an_address_is_not_its_predecessor() {
    let mut another = pod("job", "job", JOB, "node-1");
    another["metadata"]["uid"] = "another".into();
    for (object, told) in [
        (Some(&another), "another pod"),
        (None, "the same pod's new interface"),
    ] {
        let mut bench = Bench::settled();
        bench.give(Input::LinkGone(2));
        bench.pass(S);
        bench.link(3, JOB, true);
        bench.pass(100 * MS);
        let mut seen = bench.attempt(JOB, DB);
        seen.attempt.source_link = Some(3);
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(500 * MS);
        if let Some(object) = object {
            bench.apply(object);
        }
        bench.pass(10 * S);
        let known = pod("job", "job", JOB, "node-1");
        let wanted = object.unwrap_or(&known)["metadata"]["uid"].as_str();
        assert_eq!(bench.only().source.uid.as_deref(), wanted, "{told}");
    }
}

/// An enforcer may be as late with a policy as with a pod.
#[test]
fn a_policy_that_came_while_a_pod_started_leaves_it_in_flux() {
    let mut bench = Bench::settled();
    job_has_a_successor(&mut bench);
    bench.pass(100 * MS);
    let mut denial = policy();
    denial["metadata"]["name"] = json!("job");
    denial["spec"] =
        json!({"podSelector": {"matchLabels": {"app": "job"}}, "policyTypes": ["Egress"]});
    bench.apply(&denial);
    let seen = bench.attempt(JOB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(500 * MS);
    job_starts(&mut bench);
    bench.pass(10 * S);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::InFlux));
}
