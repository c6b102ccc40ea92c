//! What people write on objects decides what is written of them, never what is counted.

use node_agent_engine::Log;
use node_agent_engine::input::{DropClass, EventKind};
use serde_json::{Value, json};

use super::bench::{Bench, DB, JOB, S, WEB, policy};

fn namespace(annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "annotations": annotations}})
}

fn annotated_policy(annotations: Value) -> Value {
    let mut policy = policy();
    policy["metadata"]["annotations"] = annotations;
    policy
}

/// One connection of each sort: blocked, denied and unanswered, allowed.
fn traffic(bench: &mut Bench) {
    let seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.give(seen.event(bench.now, EventKind::Dropped, 0));
    bench.give(seen.swept());
    let mut seen = bench.attempt(JOB, DB);
    seen.flow.destination_port = 1;
    bench.give(seen.swept());
    let seen = bench.attempt(WEB, DB).arrived();
    bench.give(seen.event(bench.now, EventKind::Answered, 0));
    bench.pass(15 * S);
}

/// How many of the three are written.
fn check(log: Log, objects: &[Value], wanted: usize) {
    let mut bench = Bench::settled_with(log);
    for object in objects {
        bench.apply(object);
    }
    bench.pass(10 * S);
    traffic(&mut bench);
    let sorts: Vec<_> = bench
        .written
        .iter()
        .map(|written| written.assessment)
        .collect();
    assert_eq!(sorts.len(), wanted, "{log:?} {objects:?} {sorts:?}");
    assert_eq!(bench.counted, 3);
    assert!(bench.bad.is_empty(), "{:?}", bench.bad);
}

#[test]
fn policy_says_more_than_its_namespace_and_that_more_than_the_flag() {
    let log = |what: &str| json!({"netverdict.io/log": what});
    for (flag, wanted) in [(Log::Problems, 1), (Log::Denied, 2), (Log::All, 3)] {
        check(flag, &[], wanted);
    }
    for (what, wanted) in [("none", 0), ("problems", 1), ("denied", 2), ("all", 3)] {
        check(Log::All, &[namespace(log(what))], wanted);
        check(Log::All, &[annotated_policy(log(what))], wanted);
        check(
            Log::All,
            &[namespace(log("none")), annotated_policy(log(what))],
            wanted,
        );
    }
    let calico = json!({"projectcalico.org/policy-action": "log"});
    check(Log::Problems, &[annotated_policy(calico)], 2);
}

/// The clock of the bench begins in 1970.
const ACKNOWLEDGED: &str = "known, see #7 until 1970-01-01";

fn acknowledge(text: &str) -> Value {
    json!({"netverdict.io/acknowledge": text})
}

fn pod(annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "job", "namespace": "shop", "uid": "uid-job", "labels": {"app": "job"},
            "annotations": annotations},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": JOB}})
}

#[test]
fn acknowledged_finding_is_counted_and_kept_out_of_the_problems() {
    for (object, kind, name) in [
        (
            annotated_policy(acknowledge(ACKNOWLEDGED)),
            "NetworkPolicy",
            "db",
        ),
        (pod(acknowledge(ACKNOWLEDGED)), "Pod", "job"),
        (namespace(acknowledge(ACKNOWLEDGED)), "Namespace", "shop"),
    ] {
        check(Log::Problems, std::slice::from_ref(&object), 0);
        let mut bench = Bench::settled_with(Log::All);
        bench.apply(&object);
        bench.pass(10 * S);
        traffic(&mut bench);
        let noted: Vec<_> = bench
            .written
            .iter()
            .filter_map(|written| written.acknowledged.as_ref())
            .collect();
        let [noted] = noted[..] else {
            panic!("{noted:?}")
        };
        assert_eq!((&*noted.by.kind, &*noted.by.name), (kind, name));
        assert_eq!(
            (&*noted.reason, &*noted.until),
            ("known, see #7", "1970-01-01")
        );
    }
}

#[test]
fn what_is_over_or_unreadable_acknowledges_nothing() {
    check(
        Log::Problems,
        &[namespace(acknowledge("x until 1969-12-31"))],
        1,
    );
    let mut bench = Bench::settled_with(Log::Problems);
    for _ in 0..2 {
        bench.apply(&namespace(acknowledge("x until soon")));
    }
    bench.apply(&annotated_policy(json!({"netverdict.io/log": "loud"})));
    bench.pass(10 * S);
    traffic(&mut bench);
    assert_eq!(bench.written.len(), 1);
    let [first, second] = &bench.bad[..] else {
        panic!("{:?}", bench.bad)
    };
    assert!(
        first.starts_with("Namespace shop: annotation netverdict.io/acknowledge: `x until soon`")
    );
    assert!(second.starts_with("NetworkPolicy shop/db: annotation netverdict.io/log: `loud`"));
}
