//! Several nodes with an agent each: who counts what both see.

use node_agent_engine::Input;
use node_agent_engine::input::DropClass::Netfilter;
use node_agent_engine::input::EventKind::{Answered, Dropped, Established, Unreachable};
use node_agent_engine::model::{Delta, ObjectKey, Protocol};
use node_agent_engine::record::OutcomeKind::{Refused, Rejected};
use node_agent_engine::record::{Assessment, ClientSaw};
use serde_json::json;

use crate::bench::{
    API, AWAY, Bench, DB, JOB, NODE, NODE_PORT, OTHER_NODE, S, WEB, WORLD, agent, node_port, slice,
};

#[test]
fn an_attempt_counts_at_the_node_that_knows_its_end() {
    // Policy lets WEB reach the database's pod there, and JOB not.
    for (what, from, to, kind, counted) in [
        ("answered from there", WEB, AWAY, Some(Answered), 0),
        ("leaked there", JOB, AWAY, Some(Answered), 0),
        ("only its socket heard it", WEB, AWAY, Some(Established), 1),
        ("stopped here", JOB, AWAY, Some(Dropped), 1),
        ("lost on the way", WEB, AWAY, None, 1),
        ("perhaps stopped there", JOB, AWAY, None, 0),
        ("outside", WEB, WORLD, Some(Answered), 1),
        ("the other node itself", WEB, OTHER_NODE, Some(Answered), 1),
    ] {
        for has_agent in [true, false] {
            let mut bench = Bench::settled();
            if has_agent {
                bench.apply(&agent("node-2"));
            }
            let mut seen = bench.attempt(from, to);
            match kind {
                Some(Dropped) => {
                    seen = seen.dropped(Netfilter, false);
                    bench.give(seen.event(bench.now, Dropped, 0));
                    bench.give(seen.swept());
                }
                Some(end) => bench.give(seen.event(bench.now, end, 1)),
                None => bench.give(seen.swept()),
            }
            bench.pass(20 * S);
            let expected = if has_agent { counted } else { 1 };
            assert_eq!(bench.counted, expected, "{what}, agent there: {has_agent}");
            assert_eq!(
                bench.only().count,
                1,
                "{what}: each node writes what it saw"
            );
        }
    }
}

#[test]
fn without_a_known_agent_every_node_has_one() {
    let mut bench = Bench::settled();
    let key = ObjectKey {
        namespace: "netverdict".into(),
        name: "netverdict-node-1".into(),
    };
    let gone = Delta::PodGone(key);
    bench.give(Input::Delta(Box::new(gone)));
    let seen = bench.attempt(WEB, AWAY);
    bench.give(seen.event(bench.now, Answered, 1));
    bench.pass(20 * S);
    assert_eq!(bench.counted, 0);
    assert_eq!(bench.only().assessment, Assessment::Allowed);
}

/// Conntrack forgets a connection that was refused: then nobody says which backend it was.
#[test]
fn a_refusal_from_an_unknown_backend_counts_there() {
    for (what, from, to, backends, counted) in [
        ("all there", WEB, API, &[AWAY][..], 0),
        ("by a node's port", WEB, NODE, &[AWAY], 0),
        // Told of at its own interface, had it been that one.
        ("one here", WEB, API, &[DB, AWAY], 0),
        ("the client itself", WEB, API, &[WEB], 0),
        ("none of a pod", WEB, API, &[OTHER_NODE], 1),
        ("nobody", WEB, API, &[], 1),
        ("no port of a Service", WEB, OTHER_NODE, &[AWAY], 1),
    ] {
        let mut bench = Bench::settled();
        bench.apply(&agent("node-2"));
        bench.apply(&node_port());
        bench.apply(&slice(backends));
        bench.pass(20 * S);
        let mut seen = bench.attempt(from, to).reset();
        if to == NODE {
            seen.flow.destination_port = NODE_PORT;
        }
        bench.give(seen.swept());
        bench.pass(20 * S);
        assert_eq!(bench.only().assessment, Assessment::Refused, "{what}");
        assert_eq!(bench.counted, counted, "{what}");
    }
}

/// The other node sends it on as its own, so that whoever gets it, here or there, sees it come for the first time.
#[test]
fn what_goes_by_another_nodes_port_counts_where_it_comes_out() {
    for (what, backends, counted) in [
        ("back here", &[DB][..], 0),
        ("there", &[AWAY], 0),
        ("one of both", &[DB, AWAY], 0),
        ("none of a pod", &[OTHER_NODE], 1),
    ] {
        for (name, protocol) in [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)] {
            let mut bench = Bench::settled();
            let (mut service, mut slice) = (node_port(), slice(backends));
            service["spec"]["ports"][0]["protocol"] = json!(name);
            slice["ports"][0]["protocol"] = json!(name);
            bench.apply(&agent("node-2"));
            bench.apply(&service);
            bench.apply(&slice);
            bench.pass(20 * S);
            let mut seen = bench.attempt(WEB, OTHER_NODE);
            seen.flow.destination_port = NODE_PORT;
            seen.flow.protocol = protocol;
            bench.give(seen.event(bench.now, Answered, 1));
            bench.pass(20 * S);
            assert_eq!(bench.counted, counted, "{name} {what}");
        }
    }
}

/// Flannel's tunnels end at the first address of each node's pods, and its bridges have the second: K3s rejects from there.
#[test]
fn a_node_rejects_under_an_address_among_its_pods() {
    for (from, outcome) in [
        ("10.42.1.0", Rejected),
        ("10.42.1.1", Rejected),
        // A pod's, and nobody's.
        (DB, Refused),
        ("10.43.1.0", Refused),
    ] {
        let mut bench = Bench::settled();
        bench.apply(
            &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-2"},
            "spec": {"podCIDRs": ["10.42.1.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": OTHER_NODE}]}}),
        );
        bench.pass(20 * S);
        let seen = bench.attempt(JOB, AWAY).rejected(from, 3, 3);
        bench.give(seen.event(bench.now, Unreachable, 1));
        bench.pass(3 * S);
        bench.give(seen.swept());
        bench.pass(20 * S);
        assert_eq!(bench.only().outcome.outcome, outcome, "{from}");
    }
}

/// A REJECT and a DROP there look the same: what came back is seen at the client's own interface alone.
#[test]
fn what_a_client_of_another_node_saw_is_not_known_here() {
    for (from, saw) in [(JOB, ClientSaw::Nothing), (AWAY, ClientSaw::Unknown)] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(from, DB).dropped(Netfilter, false);
        bench.give(seen.event(bench.now, Dropped, 0));
        bench.give(seen.swept());
        bench.pass(20 * S);
        assert_eq!(bench.only().outcome.client_saw, saw, "from {from}");
    }
}
