//! `policy.networking.k8s.io/v1alpha1` AdminNetworkPolicy and BaselineAdminNetworkPolicy, which came before
//! ClusterNetworkPolicy. A baseline policy of another name than `default` is taken as well: there are several
//! in clusters whose CRD does not look at the name.

use serde_json::Value;

use super::check::{Check, Fields};
use super::cluster_policy::{named_port, number};
use super::tiered::{self, Dialect, priority};
use super::{Decode, Rejection};
use crate::model::{Action, Policy, PortMatch, PortSpec, Protocol, Tier};

const ADMIN_NETWORK_POLICY: Dialect = Dialect {
    kind: "AdminNetworkPolicy",
    placed_by: &["priority"],
    place: |check, spec| Some((Tier::Admin, priority(check, spec))),
    actions: &[
        ("Allow", Action::Accept),
        ("Deny", Action::Deny),
        ("Pass", Action::Pass),
    ],
    ports: "ports",
    port_fields: &["portNumber", "portRange", "namedPort"],
    port,
    most: 100,
    pods_need: &[],
};

const BASELINE_ADMIN_NETWORK_POLICY: Dialect = Dialect {
    kind: "BaselineAdminNetworkPolicy",
    placed_by: &[],
    // After every ClusterNetworkPolicy of its tier.
    place: |_, _| Some((Tier::Baseline, 1001)),
    actions: &[("Allow", Action::Accept), ("Deny", Action::Deny)],
    ..ADMIN_NETWORK_POLICY
};

/// Decodes and validates an AdminNetworkPolicy; `name` is what it is called in rejections.
pub(super) fn decode(
    object: &Value,
    name: &str,
    options: &Decode,
) -> Result<Policy, Vec<Rejection>> {
    tiered::decode(object, name, options, &ADMIN_NETWORK_POLICY)
}

/// Decodes and validates a BaselineAdminNetworkPolicy; `name` is what it is called in rejections.
pub(super) fn decode_baseline(
    object: &Value,
    name: &str,
    options: &Decode,
) -> Result<Policy, Vec<Rejection>> {
    tiered::decode(object, name, options, &BASELINE_ADMIN_NETWORK_POLICY)
}

fn port(check: &mut Check<'_>, fields: &Fields<'_>) -> Option<PortMatch> {
    if let Some(value) = fields.get("portNumber") {
        let path = fields.path("portNumber");
        let fields = check.fields(Some(value), &path, &["protocol", "port"])?;
        let number = number(check, &fields, "port");
        return range(check, &fields, number?, number?);
    }
    if let Some(value) = fields.get("portRange") {
        let path = fields.path("portRange");
        let fields = check.fields(Some(value), &path, &["protocol", "start", "end"])?;
        let first = number(check, &fields, "start");
        let last = number(check, &fields, "end");
        return range(check, &fields, first?, last?);
    }
    named_port(check, fields, "namedPort")
}

/// A range that ends before it begins, or of a protocol that nobody knows, cannot be understood. The CRD takes
/// both (R55).
fn range(check: &mut Check<'_>, fields: &Fields<'_>, first: u16, last: u16) -> Option<PortMatch> {
    let protocol = match check.text(fields.get("protocol"), &fields.path("protocol")) {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(_) => return None,
    };
    (first <= last).then_some(PortMatch {
        protocol: Some(protocol),
        port: PortSpec::Range { first, last },
    })
}
