//! What packets themselves tell of translation: conntrack forgets at once what was dropped or refused.

use std::net::IpAddr;

use node_agent_engine::Input;
use node_agent_engine::input::DropClass::Netfilter;
use node_agent_engine::input::EventKind::{Dropped, Refused, Reset, Unreachable};
use node_agent_engine::model::Protocol;
use node_agent_engine::record::Assessment::{UnexpectedDrop, Unknown};
use node_agent_engine::record::{Assessment, Evidence};
use node_agent_engine::verdict::UnknownBecause;

use crate::bench::{API, AWAY, DB, JOB, S, WEB, WORLD, egress_denied};
use crate::translated::{bench_with, names};

fn at(ip: &str) -> Option<(IpAddr, u16)> {
    Some((ip.parse().unwrap(), 5432))
}

#[test]
fn a_drop_behind_translation_names_the_service_without_asking() {
    let mut bench = bench_with(&[DB]);
    let mut seen = bench.attempt(JOB, API).dropped(Netfilter, false);
    seen.attempt.led_to = at(DB);
    bench.give(seen.event(bench.now, Dropped, 0));
    bench.give(Input::Tick);
    let connection = bench.only();
    assert_eq!(connection.assessment, Assessment::Blocked);
    assert_eq!(names(connection), (Some("db"), Some("api")));
    assert_eq!(bench.look_ups, 0);
}

#[test]
fn a_refusal_from_another_node_names_backend_and_service() {
    // A RST from the Service's address could be either's.
    for (backend, name) in [(AWAY, "away"), (DB, "db")] {
        let mut bench = bench_with(&[AWAY, DB]);
        let mut seen = bench.attempt(WEB, API).reset();
        seen.attempt.led_to = at(backend);
        bench.give(seen.event(bench.now, Reset, 0));
        bench.pass(4 * S);
        bench.give(seen.swept());
        bench.pass(20 * S);
        let connection = bench.only();
        assert_eq!(names(connection), (Some(name), Some("api")));
        let evidence = &connection.outcome.evidence;
        assert!(evidence.contains(&Evidence::Conntrack), "{evidence:?}");
        assert_eq!(bench.look_ups, 0);
    }
}

/// Whose backend on this node saw another source (a node's, where it is called by its node port) has told of it there.
#[test]
fn a_refusal_of_a_pod_that_saw_another_source_is_no_rejection() {
    let mut bench = bench_with(&[DB]);
    let mut seen = bench.attempt(WEB, API).reset();
    seen.attempt.led_to = at(DB);
    bench.give(seen.event(bench.now, Reset, 0));
    bench.pass(4 * S);
    bench.give(seen.swept());
    bench.pass(20 * S);
    assert_eq!(bench.only().assessment, Assessment::Refused);
}

/// Translation gives an ICMP error the Service's address, whoever sent it. No stack answers a SYN so: where a pod is behind it
/// somebody on the way has stopped it. A host outside may have a firewall, and a datagram's own pod says the same.
#[test]
fn an_icmp_error_for_tcp_behind_a_service_is_no_refusal() {
    let rejected = (UnexpectedDrop, None);
    let refused = (Assessment::Refused, None);
    let denied = (Unknown, Some(UnknownBecause::FarSide));
    for (name, protocol, backend, shut, expected) in [
        ("TCP to a pod", Protocol::Tcp, AWAY, false, rejected),
        ("TCP to a pod, denied", Protocol::Tcp, AWAY, true, denied),
        ("UDP to a pod", Protocol::Udp, AWAY, false, refused),
        ("TCP to the world", Protocol::Tcp, WORLD, false, refused),
    ] {
        let mut bench = bench_with(&[backend]);
        if shut {
            bench.apply(&egress_denied("web"));
            bench.pass(20 * S);
        }
        let mut seen = bench.attempt(WEB, API).rejected(API, 3, 3);
        seen.flow.protocol = protocol;
        seen.attempt.led_to = at(backend);
        bench.give(seen.event(bench.now, Unreachable, 0));
        bench.pass(4 * S);
        bench.give(seen.swept());
        bench.pass(20 * S);
        let connection = bench.only();
        let said = (connection.assessment, connection.unknown_because);
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn what_a_pod_refuses_names_the_service_that_it_was_asked_for() {
    let mut bench = bench_with(&[DB]);
    let mut seen = bench.attempt(JOB, DB).arrived();
    seen.attempt.source_link = None;
    seen.attempt.sent_to = at(API);
    bench.give(seen.event(bench.now, Refused, 1));
    bench.pass(20 * S);
    let connection = bench.only();
    assert_eq!(connection.assessment, Assessment::Unenforced);
    assert_eq!(names(connection), (Some("db"), Some("api")));
    assert_eq!((bench.counted, bench.look_ups), (1, 0));
}
