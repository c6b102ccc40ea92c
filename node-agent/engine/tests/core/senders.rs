//! Who sent it: what an address, a port and an answer prove of that, and what they do not.

use node_agent_engine::input::{DropClass, EventKind, Input, Link};
use node_agent_engine::record::Assessment::{
    self, Allowed, Blocked, Unanswered, Unenforced, Unknown,
};
use node_agent_engine::record::{EndpointKind, OutcomeKind};
use node_agent_engine::verdict::UnknownBecause::{self, NotSeenStopped, SourceMismatch};

use serde_json::json;

use super::bench::{API, AWAY, Bench, DB, JOB, NODE, OTHER_NODE, S, Seen, WEB, WORLD, service};
use super::outcomes::drop;

pub(super) type Claim = (Assessment, Option<UnknownBecause>);

/// What is claimed of an attempt that passed its deadline so.
pub(super) fn swept(from: &str, change: impl FnOnce(Seen) -> Seen) -> Claim {
    let mut bench = Bench::settled();
    let seen = change(bench.attempt(from, DB));
    bench.pass(3 * S);
    bench.give(seen.swept());
    bench.pass(10 * S);
    let found = bench.only();
    (found.assessment, found.unknown_because)
}

/// The same, after the deadline; and nobody who listens where the node takes the packets for its own.
#[test]
fn what_the_node_says_late_or_refuses_in_a_pods_place_is_no_leak() {
    let mut bench = Bench::settled();
    let mut seen = bench.attempt(JOB, DB).dropped(DropClass::Netfilter, false);
    bench.pass(4 * S);
    bench.give(seen.swept());
    bench.pass(3 * S);
    seen.attempt.heard = true;
    bench.give(seen.swept_again());
    bench.pass(10 * S);
    let told: Vec<_> = bench
        .written
        .iter()
        .map(|it| (it.assessment, it.count))
        .collect();
    assert_eq!(told, [(Blocked, 1), (Unknown, 0)]);
    assert_eq!(bench.written[1].unknown_because, Some(SourceMismatch));

    for (in_pod, expected) in [
        (true, (Unenforced, None)),
        (false, (Unknown, Some(NotSeenStopped))),
    ] {
        let found = swept(JOB, |seen| seen.dropped(DropClass::NoSocket, in_pod));
        assert_eq!(found, expected, "in the pod: {in_pod}");
    }
}

/// A transparent proxy of the node.
#[test]
fn an_answer_that_its_pod_has_not_given_is_no_leak() {
    for kind in [EventKind::Answered, EventKind::Established] {
        let mut bench = Bench::settled();
        for (from, expected) in [
            (JOB, (Unknown, Some(UnknownBecause::SourceMismatch))),
            (WEB, (Allowed, None)),
        ] {
            let seen = bench.attempt(from, DB);
            bench.give(seen.unspoken(bench.now, kind, 1));
            bench.pass(10 * S);
            let found = bench.only();
            assert_eq!((found.assessment, found.unknown_because), expected);
            bench.written.clear();
        }
        // Nor does it say that packets to the pod pass its interface by.
        let seen = bench.attempt(JOB, DB);
        bench.pass(4 * S);
        bench.give(seen.swept());
        bench.pass(10 * S);
        assert_eq!(
            bench.only().unknown_because,
            Some(UnknownBecause::NotSeenStopped)
        );
    }
}

/// K3s' ServiceLB gives Services the addresses of nodes, and so do `externalIPs`.
#[test]
fn what_a_service_publishes_takes_no_node_its_name() {
    let mut published = service();
    published["status"] = json!({"loadBalancer": {"ingress": [{"ip": NODE}, {"ip": OTHER_NODE}]}});
    for (from, to, port, denied, service) in [
        (JOB, NODE, 10_250, false, false),
        (JOB, NODE, 5432, false, true),
        (OTHER_NODE, DB, 5432, true, false),
        (NODE, WEB, 8080, false, false),
    ] {
        let mut bench = Bench::settled();
        bench.apply(&published);
        bench.give(Input::NodeAddresses(vec![NODE.parse().unwrap()]));
        bench.pass(20 * S);
        let mut seen = bench.attempt(from, to).arrived();
        seen.flow.destination_port = port;
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        let assessment = if denied { Unenforced } else { Allowed };
        assert_eq!(found.assessment, assessment, "{from} to {to}:{port}");
        for (end, ip) in [(&found.source, from), (&found.destination, to)] {
            let is_node = [NODE, OTHER_NODE].contains(&ip);
            assert_eq!(end.kind == EndpointKind::Node, is_node, "{ip}");
        }
        assert_eq!(found.service.is_some(), service, "{to}:{port}");
    }
}

/// Whoever forges an answer takes no proof of a drop away, and gives none of an answer.
#[test]
fn an_answer_that_another_may_have_forged_ends_in_doubt() {
    let doubt = (Unknown, Some(SourceMismatch));
    type Change = fn(Seen) -> Seen;
    let rows: [(&str, Change, Claim, Claim); 4] = [
        (
            "silent",
            |seen| seen,
            doubt,
            (Unknown, Some(NotSeenStopped)),
        ),
        ("delivered", Seen::arrived, doubt, (Unenforced, None)),
        (
            "answered",
            |seen| seen.arrived().replied(),
            doubt,
            (Unenforced, None),
        ),
        (
            "dropped",
            |seen| seen.dropped(DropClass::Netfilter, false),
            (Blocked, None),
            (Blocked, None),
        ),
    ];
    for (name, change, forged, honest) in rows {
        assert_eq!(swept(JOB, change), honest, "{name}");
        assert_eq!(
            swept(JOB, |seen| change(seen).forged()),
            forged,
            "{name}, forged"
        );
    }
}

/// The port of a bridge of which no address is known yet denies none.
#[test]
fn an_address_that_is_known_behind_another_interface_is_borrowed() {
    for (behind_other, expected) in [
        ("10.42.0.77", (Unenforced, None)),
        (JOB, (Unknown, Some(SourceMismatch))),
    ] {
        let mut bench = Bench::settled();
        for (index, address) in [(2, None), (4, Some(behind_other))] {
            bench.give(Input::Link(Link {
                index,
                name: format!("veth{index}").into(),
                watched_since: bench.now,
                from_birth: true,
                addresses: address.map(|it| it.parse().unwrap()).into_iter().collect(),
                foreign_program: Some(false),
                netns: Some(4_026_532_000 + index),
            }));
        }
        bench.pass(10 * S);
        let seen = bench.attempt(JOB, DB);
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(
            (found.assessment, found.unknown_because),
            expected,
            "{behind_other}"
        );
    }
}

/// A pod's address is given to another pod while what it did is still told: nobody forged that.
#[test]
fn an_address_that_moved_on_later_is_not_borrowed() {
    for (is_first, expected) in [
        (true, (Unenforced, None)),
        (false, (Unknown, Some(SourceMismatch))),
    ] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(JOB, DB);
        let early = is_first.then(|| seen.event(bench.now, EventKind::Answered, 1));
        bench.wait(S);
        bench.give(Input::LinkGone(2));
        bench.link(4, JOB, true);
        bench.wait(S);
        let mut late = bench.attempt(JOB, DB);
        late.attempt.source_link = Some(2);
        bench.give(early.unwrap_or_else(|| late.event(bench.now, EventKind::Answered, 1)));
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(
            (found.assessment, found.unknown_because),
            expected,
            "{is_first}"
        );
    }
}

/// Any node drops it, policy or not: what is told is the reason.
#[test]
fn a_packet_that_is_at_fault_itself_stopped_nobody() {
    for (from, expected) in [
        (WEB, (Unanswered, None)),
        (JOB, (Unknown, Some(NotSeenStopped))),
    ] {
        let mut bench = Bench::settled();
        let seen = bench.attempt(from, DB);
        for input in drop(&mut bench, seen, DropClass::Malformed, false) {
            bench.give(input);
        }
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(
            (found.assessment, found.unknown_because),
            expected,
            "{from}"
        );
        assert_eq!(found.outcome.outcome, OutcomeKind::Unanswered, "{from}");
        assert!(found.outcome.drop_reason.is_some(), "{from}");
    }
}

/// Of whom nobody knows who it is, it is not known what he misses either.
#[test]
fn who_is_not_known_misses_nothing() {
    let mut bench = Bench::settled();
    bench.apply(&service());
    bench.pass(20 * S);
    let mut seen = bench.attempt(API, DB).arrived();
    seen.attempt.source_link = None;
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.pass(10 * S);
    let found = bench.only();
    assert_eq!(found.unknown_because, Some(UnknownBecause::Identity));
    assert!(found.verdict.ingress.nearest.is_none());
}

/// As whom a pod is translated that reaches itself through a Service (Cilium's 169.254.42.1): it comes from no other network.
#[test]
fn a_link_local_sender_is_not_outside() {
    for (from, expected) in [
        ("169.254.42.1", (Unknown, Some(UnknownBecause::Identity))),
        ("fe80::1", (Unknown, Some(UnknownBecause::Identity))),
        (WORLD, (Unenforced, None)),
    ] {
        let mut bench = Bench::settled();
        let mut seen = bench.attempt(from, DB).arrived();
        seen.attempt.source_link = None;
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(
            (found.assessment, found.unknown_because),
            expected,
            "{from}"
        );
    }
}

/// A pod may give itself whatever address: one of another node's pod is not spoken from, and does not lie, here.
#[test]
fn another_node_s_pod_is_not_here() {
    let taken = (Unknown, Some(SourceMismatch));
    for (from, to, here, speaks_here, expected) in [
        (AWAY, DB, false, false, (Unenforced, None)),
        (AWAY, DB, true, false, taken),
        (AWAY, DB, false, true, taken),
        (WEB, AWAY, true, false, taken),
        (WEB, AWAY, false, false, (Allowed, None)),
    ] {
        let mut bench = Bench::settled();
        if here {
            bench.link(7, AWAY, true);
        }
        let mut seen = bench.attempt(from, to);
        if from == AWAY {
            seen = seen.arrived();
            seen.attempt.source_link = speaks_here.then_some(7);
        }
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        let claim = (found.assessment, found.unknown_because);
        assert_eq!(claim, expected, "{from} to {to}, {here}, {speaks_here}");
    }
}

/// An address of nobody's behind a pod's interface is not outside; routed there beside the pod's, it is the pod's second.
#[test]
fn an_address_beside_a_pod_s_own_is_of_another_network() {
    let second = "172.20.0.3";
    for (addresses, expected) in [
        (vec![DB, second], UnknownBecause::SecondaryNetwork),
        (vec![second], UnknownBecause::Identity),
        (vec![DB], UnknownBecause::Identity),
    ] {
        let mut bench = Bench::settled();
        bench.give(Input::Link(Link {
            index: 3,
            name: "veth3".into(),
            watched_since: bench.now,
            from_birth: true,
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            foreign_program: Some(false),
            netns: None,
        }));
        let mut seen = bench.attempt(JOB, second);
        seen.attempt.destination_link = Some(3);
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(found.unknown_because, Some(expected), "{addresses:?}");
        assert_eq!(found.destination.kind, EndpointKind::Unknown);
    }
}

/// NodeLocal DNS: the node answers at an address that the cluster knows as a Service's.
#[test]
fn a_service_that_the_node_answers_for_itself_is_no_pod() {
    for (addresses, expected) in [
        (vec![NODE, API], Some(UnknownBecause::NodeService)),
        (vec![NODE], None),
    ] {
        let mut bench = Bench::settled();
        bench.apply(&service());
        let ips = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        bench.give(Input::NodeAddresses(ips));
        bench.pass(20 * S);
        let seen = bench.attempt(WEB, API);
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        let doubt = found.unknown_because == Some(UnknownBecause::NodeService);
        assert_eq!(doubt, expected.is_some(), "{addresses:?}");
        assert_eq!(found.destination.kind, EndpointKind::Service);
        assert!(found.service.is_some());
    }
}
