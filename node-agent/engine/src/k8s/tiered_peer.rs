//! The peers of a rule of ClusterNetworkPolicy and its forerunners.

use ipnet::IpNet;
use serde_json::Value;

use super::check::{Check, Fields, item_path};
use super::rule::legal_block;
use super::selector::selector;
use super::syntax::is_domain_pattern;
use super::tiered::{Dialect, MOST_IN_PEER, at_most, exactly_one, pods};
use crate::model::{DomainName, Peer, Selector};
use crate::record::Direction;

/// Reads a peer of a direction; none when it has no field that anybody understands.
pub(super) fn peer(
    check: &mut Check<'_>,
    item: &Value,
    path: &str,
    direction: Direction,
    dialect: &Dialect,
) -> Option<Peer> {
    let known: &[&str] = match direction {
        Direction::Ingress => &["namespaces", "pods"],
        Direction::Egress => &["namespaces", "pods", "nodes", "networks", "domainNames"],
    };
    let fields = check.fields(Some(item), path, known)?;
    let Some(name) = exactly_one(&fields, known) else {
        check.wrong(
            path,
            "V7",
            format!("must have exactly one of {}", known.join(", ")),
        );
        return None;
    };
    let (value, path) = (fields.get(name)?, fields.path(name));
    match name {
        "namespaces" => Some(Peer::OwnNetworkPods {
            namespaces: selector(check, Some(value), &path)?,
            pods: Selector::default(),
        }),
        "pods" => {
            let (namespaces, pods) = pods(check, value, &path, dialect)?;
            Some(Peer::OwnNetworkPods { namespaces, pods })
        }
        "nodes" => Some(Peer::Nodes(selector(check, Some(value), &path)?)),
        "networks" => networks(check, &fields, &path).map(Peer::Networks),
        _ => domains(check, &fields, &path).map(Peer::Domains),
    }
}

fn networks(check: &mut Check<'_>, fields: &Fields<'_>, path: &str) -> Option<Vec<IpNet>> {
    let texts = set(check, fields.get("networks"), path);
    let mut networks = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        networks.push(legal_block(check, text, &item_path(path, index), "V9"));
    }
    networks.into_iter().collect()
}

fn domains(check: &mut Check<'_>, fields: &Fields<'_>, path: &str) -> Option<Vec<DomainName>> {
    let texts = set(check, fields.get("domainNames"), path);
    let mut domains = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        let legal = is_domain_pattern(text);
        if !legal {
            check.wrong(
                &item_path(path, index),
                "R52",
                format!("`{text}` is no domain name such as example.org or *.example.org"),
            );
        }
        domains.push(legal.then(|| DomainName::parse(text)));
    }
    domains.into_iter().collect()
}

/// From one to many texts, none of them twice.
fn set<'v>(check: &mut Check<'_>, value: Option<&'v Value>, path: &str) -> Vec<&'v str> {
    let texts = check.texts(value, path);
    if texts.is_empty() {
        check.wrong(path, "R46", "must not be empty");
    }
    at_most(check, path, texts.len(), MOST_IN_PEER);
    for (index, text) in texts.iter().enumerate() {
        if texts.iter().take(index).any(|earlier| earlier == text) {
            check.wrong(
                &item_path(path, index),
                "R46",
                format!("`{text}` is there twice"),
            );
        }
    }
    texts
}
