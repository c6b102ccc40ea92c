//! The rules of a NetworkPolicy.
//!
//! What cannot be right is noted and built so that it matches nothing: when validation is off, it fails closed.

use ipnet::IpNet;
use serde_json::Value;

use super::check::{Check, Fields, item_path, present};
use super::selector::{nothing, selector};
use super::syntax::{block, is_port_name};
use crate::model::{
    Action, NamespaceMatch, Peer, Peers, PortMatch, PortSpec, Ports, Protocol, Rule,
};
use crate::record::Direction;

/// The rules of a direction, in order. An item that is `null` is the empty rule, as the API server reads it.
pub(super) fn rules(
    check: &mut Check<'_>,
    value: Option<&Value>,
    direction: Direction,
) -> Vec<Rule> {
    let (path, list) = match direction {
        Direction::Ingress => ("spec.ingress", "from"),
        Direction::Egress => ("spec.egress", "to"),
    };
    let items = check.list(value, path).unwrap_or_default();
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let fields = check.fields(present(item), &item_path(path, index), &[list, "ports"]);
        rules.push(rule(check, fields.as_ref(), list));
    }
    rules
}

fn rule(check: &mut Check<'_>, fields: Option<&Fields<'_>>, list: &str) -> Rule {
    let Some(fields) = fields else {
        return Rule {
            action: Action::Accept,
            peers: Peers::Any,
            ports: Ports::Any,
        };
    };
    let path = fields.path(list);
    let peers = match check.list(fields.get(list), &path) {
        None | Some([]) => Peers::Any,
        Some(items) => {
            let read = items
                .iter()
                .enumerate()
                .map(|(index, item)| peer(check, item, &item_path(&path, index)));
            Peers::Of(read.collect())
        }
    };
    let path = fields.path("ports");
    let ports = match check.list(fields.get("ports"), &path) {
        None | Some([]) => Ports::Any,
        Some(items) => {
            let read = items
                .iter()
                .enumerate()
                .map(|(index, item)| port(check, item, &item_path(&path, index)));
            Ports::Of(read.collect())
        }
    };
    Rule {
        action: Action::Accept,
        peers,
        ports,
    }
}

/// A peer that nobody is.
fn nobody() -> Peer {
    Peer::Pods {
        namespaces: NamespaceMatch::Own,
        pods: nothing(),
    }
}

fn peer(check: &mut Check<'_>, item: &Value, path: &str) -> Peer {
    let Some(fields) = check.fields(
        present(item),
        path,
        &["podSelector", "namespaceSelector", "ipBlock"],
    ) else {
        if item.is_null() {
            check.wrong(path, "V7", "must specify a peer");
        }
        return nobody();
    };
    let pods = selector(
        check,
        fields.get("podSelector"),
        &fields.path("podSelector"),
    );
    let namespaces = selector(
        check,
        fields.get("namespaceSelector"),
        &fields.path("namespaceSelector"),
    );
    let has_selector = pods.is_some() || namespaces.is_some();
    if let Some(value) = fields.get("ipBlock") {
        let block = ip_block(check, value, &fields.path("ipBlock"));
        if has_selector {
            check.wrong(path, "V8", "must not have both `ipBlock` and a selector");
            return nobody();
        }
        return block.unwrap_or_else(nobody);
    }
    if !has_selector {
        check.wrong(path, "V7", "must specify a peer");
        return nobody();
    }
    Peer::Pods {
        namespaces: namespaces.map_or(NamespaceMatch::Own, NamespaceMatch::Matching),
        pods: pods.unwrap_or_default(),
    }
}

fn ip_block(check: &mut Check<'_>, value: &Value, path: &str) -> Option<Peer> {
    let fields = check.fields(Some(value), path, &["cidr", "except"])?;
    let place = fields.path("cidr");
    let text = check.text(fields.get("cidr"), &place).unwrap_or_default();
    let cidr = if text.is_empty() {
        check.wrong(&place, "V9", "required");
        None
    } else {
        legal_block(check, text, &place, "V9")
    };
    let place = fields.path("except");
    let mut except = Vec::new();
    for (index, text) in check
        .texts(fields.get("except"), &place)
        .into_iter()
        .enumerate()
    {
        let place = item_path(&place, index);
        let hole = legal_block(check, text, &place, "V10");
        if let (Some(cidr), Some(hole)) = (cidr, hole)
            && !is_strictly_inside(&hole, &cidr)
        {
            check.wrong(
                &place,
                "V10",
                format!("`{hole}` must be a strict subset of `cidr`, {cidr}"),
            );
        }
        match hole {
            Some(hole) => except.push(hole),
            // An exception that nobody can read may have been meant for everything.
            None => except.extend(cidr),
        }
    }
    Some(Peer::Block {
        cidr: cidr?,
        except,
    })
}

/// A block of addresses, of a new object in the spelling that it must have; none when it is no block.
pub(super) fn legal_block(
    check: &mut Check<'_>,
    text: &str,
    path: &str,
    rule: &'static str,
) -> Option<IpNet> {
    let Some(block) = block(text) else {
        check.wrong(
            path,
            rule,
            format!("`{text}` is no CIDR such as 10.9.8.0/24 or 2001:db8::/64"),
        );
        return None;
    };
    if block.legacy {
        check.legacy(
            path,
            rule,
            format!(
                "`{text}` must be written `{}`: no leading zeros, no IPv4 in IPv6",
                block.net
            ),
        );
    }
    Some(block.net)
}

fn is_strictly_inside(hole: &IpNet, cidr: &IpNet) -> bool {
    cidr.contains(&hole.addr()) && hole.prefix_len() > cidr.prefix_len()
}

/// An item of a rule's ports; one that is `null` is the empty one: every TCP port.
fn port(check: &mut Check<'_>, item: &Value, path: &str) -> PortMatch {
    let Some(fields) = check.fields(present(item), path, &["protocol", "port", "endPort"]) else {
        return PortMatch {
            protocol: Some(Protocol::Tcp),
            port: PortSpec::Any,
        };
    };
    let protocol = protocol(check, &fields);
    let end = check.number(fields.get("endPort"), &fields.path("endPort"));
    let port = match fields.get("port") {
        None if end.is_some() => {
            check.wrong(
                &fields.path("endPort"),
                "V4",
                "must not be given without `port`",
            );
            None
        }
        None => Some(PortSpec::Any),
        Some(Value::String(name)) => named_port(check, name, end, &fields),
        Some(number) => check
            .number(Some(number), &fields.path("port"))
            .and_then(|first| range(check, first, end, &fields)),
    };
    match (protocol, port) {
        (Some(_), Some(port)) => PortMatch { protocol, port },
        (Some(_) | None, _) => no_port(),
    }
}

/// A port that no connection has.
fn no_port() -> PortMatch {
    PortMatch {
        protocol: Some(Protocol::Tcp),
        port: PortSpec::Range { first: 1, last: 0 },
    }
}

fn protocol(check: &mut Check<'_>, fields: &Fields<'_>) -> Option<Protocol> {
    let value = fields.get("protocol");
    let text = check.text(value, &fields.path("protocol"));
    match text {
        None if value.is_none() => Some(Protocol::Tcp),
        None => None,
        Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(other) => {
            check.wrong(
                &fields.path("protocol"),
                "V1",
                format!("`{other}` is not TCP, UDP or SCTP"),
            );
            None
        }
    }
}

fn named_port(
    check: &mut Check<'_>,
    name: &str,
    end: Option<i32>,
    fields: &Fields<'_>,
) -> Option<PortSpec> {
    if !is_port_name(name) {
        check.wrong(
            &fields.path("port"),
            "V3",
            format!("`{name}` is no port name: at most 15 of a-z, 0-9 and -, one letter at least"),
        );
    }
    if end.is_some() {
        check.wrong(
            &fields.path("endPort"),
            "V5",
            "must not be given with a named port",
        );
        return None;
    }
    Some(PortSpec::Named(name.into()))
}

fn range(
    check: &mut Check<'_>,
    first: i32,
    end: Option<i32>,
    fields: &Fields<'_>,
) -> Option<PortSpec> {
    let is_port = |number: i32| (1..=65535).contains(&number);
    if !is_port(first) {
        check.wrong(
            &fields.path("port"),
            "V2",
            format!("{first} is not between 1 and 65535"),
        );
    }
    if let Some(end) = end {
        if end < first {
            check.wrong(
                &fields.path("endPort"),
                "V6",
                format!("{end} must be greater than or equal to `port`, {first}"),
            );
        }
        if !is_port(end) {
            check.wrong(
                &fields.path("endPort"),
                "V6",
                format!("{end} is not between 1 and 65535"),
            );
        }
    }
    let (first, last) = (u16::try_from(first).ok()?, end.unwrap_or(first).min(65535));
    Some(PortSpec::Range {
        first,
        last: u16::try_from(last).ok()?,
    })
}
