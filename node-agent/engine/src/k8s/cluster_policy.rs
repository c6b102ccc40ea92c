//! `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy.

use serde_json::Value;

use super::check::{Check, Fields};
use super::tiered::{self, Dialect, exactly_one, priority};
use super::{Decode, Rejection};
use crate::model::{Action, Policy, PortMatch, PortSpec, Protocol, Tier};

const CLUSTER_NETWORK_POLICY: Dialect = Dialect {
    kind: "ClusterNetworkPolicy",
    placed_by: &["tier", "priority"],
    place,
    actions: &[
        ("Accept", Action::Accept),
        ("Deny", Action::Deny),
        ("Pass", Action::Pass),
    ],
    ports: "protocols",
    port_fields: &["tcp", "udp", "sctp", "destinationNamedPort"],
    port,
    most: 25,
    pods_need: &["podSelector"],
};

/// Decodes and validates a ClusterNetworkPolicy; `name` is what it is called in rejections.
pub(super) fn decode(
    object: &Value,
    name: &str,
    options: &Decode,
) -> Result<Policy, Vec<Rejection>> {
    tiered::decode(object, name, options, &CLUSTER_NETWORK_POLICY)
}

fn place(check: &mut Check<'_>, spec: &Fields<'_>) -> Option<(Tier, u16)> {
    let path = spec.path("tier");
    let tier = match check.text(spec.get("tier"), &path) {
        Some("Admin") => Some(Tier::Admin),
        Some("Baseline") => Some(Tier::Baseline),
        found => {
            let found = found.unwrap_or_default();
            check.wrong(&path, "R57", format!("`{found}` is not Admin or Baseline"));
            None
        }
    };
    let priority = priority(check, spec);
    Some((tier?, priority))
}

fn port(check: &mut Check<'_>, fields: &Fields<'_>) -> Option<PortMatch> {
    let protocols = [
        ("tcp", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("sctp", Protocol::Sctp),
    ];
    for (name, protocol) in protocols {
        if let Some(value) = fields.get(name) {
            let port = of_protocol(check, value, &fields.path(name))?;
            let protocol = Some(protocol);
            return Some(PortMatch { protocol, port });
        }
    }
    named_port(check, fields, "destinationNamedPort")
}

/// A port by its name, whatever its protocol (R54). An empty name is none.
pub(super) fn named_port(
    check: &mut Check<'_>,
    fields: &Fields<'_>,
    field: &str,
) -> Option<PortMatch> {
    let name = check.text(fields.get(field), &fields.path(field))?;
    (!name.is_empty()).then(|| PortMatch {
        protocol: None,
        port: PortSpec::Named(name.into()),
    })
}

/// Every port when no `destinationPort` is given, which only the text of the API allows (R54).
fn of_protocol(check: &mut Check<'_>, value: &Value, path: &str) -> Option<PortSpec> {
    let fields = check.fields(Some(value), path, &["destinationPort"])?;
    let Some(value) = fields.get("destinationPort") else {
        check.wrong(path, "R54", "must have `destinationPort`");
        return Some(PortSpec::Any);
    };
    let path = fields.path("destinationPort");
    let known = ["number", "range"];
    let fields = check.fields(Some(value), &path, &known)?;
    match exactly_one(&fields, &known) {
        Some("number") => {
            let number = number(check, &fields, "number")?;
            Some(PortSpec::Range {
                first: number,
                last: number,
            })
        }
        Some(_) => {
            let path = fields.path("range");
            let range = check.fields(fields.get("range"), &path, &["start", "end"])?;
            let first = number(check, &range, "start");
            let last = number(check, &range, "end");
            let (first, last) = (first?, last?);
            if first >= last {
                check.wrong(
                    &path,
                    "V6",
                    format!("`start`, {first}, must be less than `end`, {last}"),
                );
            }
            (first <= last).then_some(PortSpec::Range { first, last })
        }
        None => {
            check.wrong(&path, "R54", "must have either `number` or `range`");
            None
        }
    }
}

/// A port number, which must be there.
pub(super) fn number(check: &mut Check<'_>, fields: &Fields<'_>, field: &str) -> Option<u16> {
    let path = fields.path(field);
    if fields.get(field).is_none() {
        check.wrong(&path, "V2", "required");
    }
    let written = check.number(fields.get(field), &path)?;
    let number = u16::try_from(written).ok().filter(|number| *number > 0);
    if number.is_none() {
        check.wrong(&path, "V2", format!("{written} is not between 1 and 65535"));
    }
    number
}
