//! Which ports have series of their own.

use node_agent_engine::input::Port;
use node_agent_engine::record::Connection;
use node_agent_engine::verdict::{MissedWhat, Side};

/// Says whether the pod, a Service or a policy names the port: a scan must not make series.
pub(super) fn is_port_named(connection: &Connection, port: Port) -> bool {
    match port {
        Port::Declared => true,
        Port::Undeclared => {
            has_policy_port(&connection.verdict.egress)
                || has_policy_port(&connection.verdict.ingress)
        }
    }
}

fn has_policy_port(side: &Side) -> bool {
    let mut decided = side.allowed_by.iter().chain(&side.denied_by);
    let nearest = side.nearest.as_ref();
    decided.any(|rule| rule.port.is_some())
        || nearest.is_some_and(|nearest| {
            nearest.rule.port.is_some()
                && !nearest
                    .missed
                    .iter()
                    .any(|missed| is_about_port(missed.what))
        })
}

fn is_about_port(what: MissedWhat) -> bool {
    match what {
        MissedWhat::Port | MissedWhat::EndPort | MissedWhat::NamedPort | MissedWhat::Protocol => {
            true
        }
        MissedWhat::NamespaceLabels
        | MissedWhat::Namespace
        | MissedWhat::PodLabels
        | MissedWhat::NotAPod
        | MissedWhat::Cidr
        | MissedWhat::Except
        | MissedWhat::Family
        | MissedWhat::NotANode
        | MissedWhat::NodeLabels
        | MissedWhat::DomainName
        | MissedWhat::Direction => false,
    }
}
