//! A pod that is gone before its attempt is judged is told as it was.

use node_agent_engine::Input;
use node_agent_engine::input::{DropClass, EventKind};
use node_agent_engine::model::{Delta, ObjectKey};
use node_agent_engine::record::Assessment::{self, Allowed, Unknown};
use node_agent_engine::record::{Cause, EndpointKind, Evidence};
use node_agent_engine::verdict::UnknownBecause;
use serde_json::json;

use super::bench::{AWAY, Bench, DB, JOB, NODE, S, WEB, WORLD, pod};
use super::outcomes::drop;

#[test]
fn a_pod_that_is_gone_is_told_as_it_was() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB);
    bench.pass(S);
    for name in ["job", "db"] {
        bench.give(Input::Delta(Box::new(Delta::PodGone(ObjectKey {
            namespace: "shop".into(),
            name: name.into(),
        }))));
    }
    for input in drop(&mut bench, seen, DropClass::Netfilter, false) {
        bench.give(input);
    }
    bench.pass(10 * S);
    let found = bench.only();
    for (end, name) in [(&found.source, "job"), (&found.destination, "db")] {
        assert_eq!(end.kind, EndpointKind::Pod, "{name}");
        assert_eq!(end.name.as_deref(), Some(name));
        assert_eq!(end.uid.as_deref(), Some(format!("uid-{name}").as_str()));
        assert_eq!(
            end.workload.as_ref().map(|workload| &*workload.name),
            Some(name)
        );
        assert!(
            end.labels
                .as_ref()
                .is_some_and(|labels| labels.iter().any(|(_, value)| &**value == name)),
            "{name}: {:?}",
            end.labels
        );
    }
}

/// What is there for an attempt's packet, that finds no neighbour or no way.
enum There {
    /// The pod and its interface, or a pod of another node.
    All,
    /// The pod is listed, and its interface is gone.
    Listed,
    /// Neither, for a while.
    Nothing,
}

/// Nobody is there, and so nobody stopped it: a pod is listed for minutes after it or its node went, and Calico routes blocks
/// of pods' addresses to nowhere.
#[test]
fn what_nobody_is_there_for_is_no_unexpected_drop() {
    use DropClass::{Neighbour, Route};
    use There::{All, Listed, Nothing};
    let gone = (Assessment::Unanswered, Some(Cause::PeerGone));
    let claim = (Assessment::UnexpectedDrop, None);
    for (to, there, class, expected) in [
        (DB, All, Neighbour, claim),
        (DB, All, Route, claim),
        (DB, Listed, Neighbour, gone),
        (DB, Listed, Route, gone),
        (DB, Nothing, Neighbour, gone),
        (DB, Nothing, Route, gone),
        (AWAY, All, Neighbour, gone),
        (AWAY, All, Route, claim),
        (WORLD, All, Neighbour, gone),
        (WORLD, All, Route, claim),
        (NODE, All, Route, claim),
    ] {
        let mut bench = Bench::settled();
        match there {
            All => {}
            Listed => bench.give(Input::LinkGone(3)),
            Nothing => {
                bench.give(Input::LinkGone(3));
                bench.give(Input::Delta(Box::new(Delta::PodGone(ObjectKey {
                    namespace: "shop".into(),
                    name: "db".into(),
                }))));
            }
        }
        bench.pass(30 * S);
        let seen = bench.attempt(WEB, to).dropped(class, false);
        bench.give(seen.event(bench.now, EventKind::Dropped, 1));
        bench.pass(3 * S);
        bench.give(seen.swept());
        bench.pass(30 * S);
        let found = bench.only();
        let told = (found.assessment, found.cause);
        assert_eq!(told, expected, "{class:?} on the way to {to}");
    }
}

/// A pod of another node that policy allows, and that ends before anybody tells its address: the address lies in no range
/// of any node. Who is told within the grace time is judged as any other; of a later one nothing is claimed.
#[test]
fn a_pod_that_is_first_heard_with_its_address_when_it_is_finished_is_not_the_world() {
    const SHORT: &str = "172.30.9.7";
    for phase in ["Succeeded", "Failed"] {
        let in_flux = (Unknown, Some(UnknownBecause::InFlux));
        for (after, kind, told) in [
            (S, EndpointKind::Pod, (Allowed, None)),
            (4 * S, EndpointKind::Pod, in_flux),
            (6 * S, EndpointKind::World, in_flux),
        ] {
            let mut bench = Bench::settled();
            let mut object = pod("short", "web", SHORT, "node-2");
            object["status"] = json!({"phase": "Pending"});
            bench.apply(&object);
            bench.pass(S);
            let seen = bench.attempt(SHORT, DB).arrived();
            bench.give(seen.event(bench.now, EventKind::Answered, 1));
            bench.wait(after);
            object["status"] = json!({"phase": phase, "podIP": SHORT});
            bench.apply(&object);
            bench.pass(40 * S);
            let found = bench.only();
            assert_eq!(
                (found.source.kind, (found.assessment, found.unknown_because)),
                (kind, told),
                "{phase} after {after} ns: {found:#?}"
            );
        }
    }
}

/// A bridge floods what it knows nobody for: a copy at another pod's interface is no sighting at the destination.
#[test]
fn what_a_bridge_floods_has_not_arrived() {
    for (seen_at, is_there) in [(1, false), (3, true)] {
        let mut bench = Bench::settled();
        let mut seen = bench.attempt(JOB, DB);
        seen.attempt.destination_link = Some(seen_at);
        bench.give(seen.swept());
        bench.pass(10 * S);
        let evidence = &bench.only().outcome.evidence;
        let arrived = evidence.contains(&Evidence::AttemptAtDestination);
        assert_eq!(arrived, is_there, "{seen_at}: {evidence:?}");
    }
}
