//! What ClusterNetworkPolicy and its forerunners have in common: a subject, a priority and rules with actions.
//!
//! Held against their CRDs, which look at fewer things than the API server does for NetworkPolicy: a label or an
//! operator of a selector may be anything, one that cannot be right matches nothing (R8). A rule with a part that
//! nobody understands fails closed as a whole (R53).

use serde_json::Value;

use super::check::{Check, Fields, item_path};
use super::metadata::{Metadata, Scope};
use super::selector::{nothing, selector};
use super::tiered_peer::peer;
use super::{Decode, Rejection};
use crate::model::{
    Action, NamespaceMatch, Peer, Peers, Policy, PortMatch, Ports, Rule, Selector, Subject, Tier,
    Unmatched,
};
use crate::record::Direction;

/// What one of the kinds has in its own way.
pub(super) struct Dialect {
    pub(super) kind: &'static str,
    /// The fields of `spec` besides `subject`, `ingress` and `egress`.
    pub(super) placed_by: &'static [&'static str],
    /// Tier and priority; none when they cannot be told.
    pub(super) place: fn(&mut Check<'_>, &Fields<'_>) -> Option<(Tier, u16)>,
    /// How actions are written.
    pub(super) actions: &'static [(&'static str, Action)],
    /// What the list of ports is called.
    pub(super) ports: &'static str,
    /// The fields of an item of it, of which exactly one is given.
    pub(super) port_fields: &'static [&'static str],
    /// Reads such an item; none when it cannot be understood.
    pub(super) port: fn(&mut Check<'_>, &Fields<'_>) -> Option<PortMatch>,
    /// How many rules a direction, and how many items a list of a rule may have.
    pub(super) most: usize,
    /// The selectors that `pods` must have.
    pub(super) pods_need: &'static [&'static str],
}

/// How many networks or domain names a peer may have.
pub(super) const MOST_IN_PEER: usize = 25;

/// Decodes and validates a policy; `name` is what it is called in rejections.
pub(super) fn decode(
    object: &Value,
    name: &str,
    options: &Decode,
    dialect: &Dialect,
) -> Result<Policy, Vec<Rejection>> {
    let mut check = Check::new(name);
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let top = check.fields(Some(object), "", &known);
    let metadata = Metadata::read(&mut check, top.as_ref(), dialect.kind, &Scope::Cluster);
    check.selectors_are_free();
    let mut known = vec!["subject", "ingress", "egress"];
    known.extend(dialect.placed_by);
    let spec = top.as_ref().and_then(|top| top.get("spec"));
    let spec = check.fields(spec, "spec", &known);
    let Some(spec) = spec else {
        check.wrong("spec", "V14", "required");
        return Err(check.rejections());
    };
    let place = (dialect.place)(&mut check, &spec);
    let subject = subject(&mut check, &spec, dialect);
    let ingress = rules(&mut check, &spec, Direction::Ingress, dialect);
    let egress = rules(&mut check, &spec, Direction::Egress, dialect);
    // Without a tier there is no telling when it would be asked, whatever the validation.
    let Some((tier, priority)) = place else {
        return Err(check.rejections());
    };
    check.finish(options.validation)?;
    let metadata = metadata.named(name)?;
    Ok(Policy {
        key: metadata.key,
        uid: metadata.uid,
        generation: metadata.generation,
        annotations: metadata.annotations,
        tier,
        priority: Some(priority),
        unmatched: Unmatched::Passed,
        subject,
        ingress: Some(ingress),
        egress: Some(egress),
    })
}

/// The priority, from 0 to 1000.
pub(super) fn priority(check: &mut Check<'_>, spec: &Fields<'_>) -> u16 {
    let (value, path) = (spec.get("priority"), spec.path("priority"));
    let priority = check.number(value, &path);
    match priority.map(|priority| (priority, u16::try_from(priority.clamp(0, 1000)))) {
        Some((written, Ok(priority))) => {
            if i32::from(priority) != written {
                check.wrong(&path, "R45", format!("{written} is not between 0 and 1000"));
            }
            priority
        }
        Some((_, Err(_))) | None => {
            if value.is_none() {
                check.wrong(&path, "R45", "required");
            }
            1000
        }
    }
}

fn subject(check: &mut Check<'_>, spec: &Fields<'_>, dialect: &Dialect) -> Subject {
    let nobody = || (Selector::default(), nothing());
    let path = spec.path("subject");
    let fields = check.fields(spec.get("subject"), &path, &["namespaces", "pods"]);
    let (namespaces, pods) = match fields {
        None => {
            if spec.get("subject").is_none() {
                check.wrong(&path, "R47", "required");
            }
            nobody()
        }
        Some(fields) => match (fields.get("namespaces"), fields.get("pods")) {
            (Some(value), None) => {
                let path = fields.path("namespaces");
                let namespaces = selector(check, Some(value), &path).unwrap_or_else(nothing);
                (namespaces, Selector::default())
            }
            (None, Some(value)) => {
                let path = fields.path("pods");
                pods(check, value, &path, dialect).unwrap_or_else(nobody)
            }
            (Some(_), Some(_)) | (None, None) => {
                check.wrong(&path, "R47", "must have either `namespaces` or `pods`");
                nobody()
            }
        },
    };
    Subject {
        namespaces: NamespaceMatch::Matching(namespaces),
        pods,
    }
}

/// Selectors of namespaces and of pods in them.
pub(super) fn pods(
    check: &mut Check<'_>,
    value: &Value,
    path: &str,
    dialect: &Dialect,
) -> Option<(Selector, Selector)> {
    let fields = check.fields(Some(value), path, &["namespaceSelector", "podSelector"])?;
    for needed in dialect.pods_need {
        if fields.get(needed).is_none() {
            check.wrong(&fields.path(needed), "R48", "required");
        }
    }
    let mut read = |name| selector(check, fields.get(name), &fields.path(name)).unwrap_or_default();
    Some((read("namespaceSelector"), read("podSelector")))
}

fn rules(
    check: &mut Check<'_>,
    spec: &Fields<'_>,
    direction: Direction,
    dialect: &Dialect,
) -> Vec<Rule> {
    let (name, list) = match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    let path = spec.path(name);
    let items = check.list(spec.get(name), &path).unwrap_or_default();
    at_most(check, &path, items.len(), dialect.most);
    let known = ["name", "action", list, dialect.ports];
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let fields = check.fields(Some(item), &item_path(&path, index), &known);
        rules.extend(fields.map(|fields| rule(check, &fields, list, direction, dialect)));
    }
    rules
}

fn rule(
    check: &mut Check<'_>,
    fields: &Fields<'_>,
    list: &str,
    direction: Direction,
    dialect: &Dialect,
) -> Rule {
    let name = check.text(fields.get("name"), &fields.path("name"));
    if name.is_some_and(|name| name.chars().count() > 100) {
        check.wrong(&fields.path("name"), "R46", "at most 100 characters");
    }
    let action = action(check, fields, dialect);
    let peers = peers(check, fields, list, direction, dialect);
    let ports = ports(check, fields, dialect);
    names_fit_peers(check, fields, peers.as_deref(), ports.as_ref());
    match (action, peers, ports) {
        (Some(action), Some(peers), Some(ports)) => Rule {
            action,
            peers: Peers::Of(peers),
            ports,
        },
        // What nobody understands fails closed, the whole rule and not just that part (R53).
        (Some(Action::Accept), _, _) => Rule {
            action: Action::Accept,
            peers: Peers::Of(Vec::new()),
            ports: Ports::Any,
        },
        (Some(Action::Deny | Action::Pass) | None, _, _) => Rule {
            action: Action::Deny,
            peers: Peers::Any,
            ports: Ports::Any,
        },
    }
}

fn action(check: &mut Check<'_>, fields: &Fields<'_>, dialect: &Dialect) -> Option<Action> {
    let path = fields.path("action");
    let text = check.text(fields.get("action"), &path).unwrap_or_default();
    let known = dialect.actions.iter().find(|(word, _)| *word == text);
    if known.is_none() {
        let words: Vec<&str> = dialect.actions.iter().map(|(word, _)| *word).collect();
        let words = words.join(", ");
        check.wrong(&path, "R56", format!("`{text}` is none of {words}"));
    }
    known.map(|(_, action)| *action)
}

/// The peers; none when one of them cannot be understood.
fn peers(
    check: &mut Check<'_>,
    fields: &Fields<'_>,
    list: &str,
    direction: Direction,
    dialect: &Dialect,
) -> Option<Vec<Peer>> {
    let path = fields.path(list);
    let items = check.list(fields.get(list), &path).unwrap_or_default();
    if items.is_empty() {
        check.wrong(&path, "R46", "at least one peer is required");
    }
    at_most(check, &path, items.len(), dialect.most);
    let mut peers = Vec::new();
    for (index, item) in items.iter().enumerate() {
        peers.push(peer(
            check,
            item,
            &item_path(&path, index),
            direction,
            dialect,
        ));
    }
    peers.into_iter().collect()
}

/// The ports; none when one of them cannot be understood.
fn ports(check: &mut Check<'_>, fields: &Fields<'_>, dialect: &Dialect) -> Option<Ports> {
    let path = fields.path(dialect.ports);
    let Some(items) = check.list(fields.get(dialect.ports), &path) else {
        return Some(Ports::Any);
    };
    if items.is_empty() {
        check.wrong(&path, "R54", "must not be empty");
        return Some(Ports::Any);
    }
    at_most(check, &path, items.len(), dialect.most);
    let mut ports = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = item_path(&path, index);
        let fields = check.fields(Some(item), &path, dialect.port_fields);
        let port = fields.and_then(|fields| match exactly_one(&fields, dialect.port_fields) {
            Some(_) => (dialect.port)(check, &fields),
            None => {
                let names = dialect.port_fields.join(", ");
                check.wrong(&path, "R54", format!("must have exactly one of {names}"));
                None
            }
        });
        ports.push(port);
    }
    Some(Ports::Of(ports.into_iter().collect::<Option<_>>()?))
}

/// The one of these fields that is there.
pub(super) fn exactly_one<'a>(fields: &Fields<'_>, names: &[&'a str]) -> Option<&'a str> {
    let mut there = names.iter().filter(|name| fields.get(name).is_some());
    let first = there.next()?;
    there.next().is_none().then_some(*first)
}

/// Only pods have names for their ports.
fn names_fit_peers(
    check: &mut Check<'_>,
    fields: &Fields<'_>,
    peers: Option<&[Peer]>,
    ports: Option<&Ports>,
) {
    let named = match ports {
        Some(Ports::Of(ports)) => ports.iter().any(|port| port.protocol.is_none()),
        Some(Ports::Any) | None => false,
    };
    let nameless = |peer: &Peer| match peer {
        Peer::Nodes(_) | Peer::Networks(_) | Peer::Domains(_) => true,
        Peer::Pods { .. } | Peer::Block { .. } | Peer::OwnNetworkPods { .. } => false,
    };
    if named && peers.unwrap_or_default().iter().any(nameless) {
        check.wrong(
            fields.own_path(),
            "R54",
            "nodes, networks and domain names have no named ports",
        );
    }
}

pub(super) fn at_most(check: &mut Check<'_>, path: &str, found: usize, most: usize) {
    if found > most {
        check.wrong(path, "R46", format!("at most {most}, not {found}"));
    }
}
