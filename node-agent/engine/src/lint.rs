//! Mistakes in policies: what is written, held against what it does and what the cluster has.
//!
//! Each check has the number it is known by (N01 to N35) and a family, one module each. A check claims only
//! what the objects given can carry: that a selector matches no pod is said only of a namespace whose pods are
//! known. It never judges a connection; that is for `evaluate`.

mod blocks;
mod check;
mod dataplane;
mod dns;
mod everything;
mod exposure;
mod finding;
mod names;
mod overlap;
pub mod path;
mod peers;
mod policy;
mod ports;
mod rule;
mod selectors;
mod server;
mod sides;
mod tiers;
mod together;
mod world;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

pub use check::{Check, Severity, UnknownCheck};
pub use finding::{Finding, ObjectName};
pub use names::NamePattern;

use crate::k8s::Rejection;
use policy::NetPol;
use tiers::Tiered;
use world::World;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace of objects that name none.
    pub default_namespace: Arc<str>,
    /// What is not looked for.
    pub disabled: BTreeSet<Check>,
    /// What the name of a policy has to match (N35); anything when absent.
    pub name_pattern: Option<NamePattern>,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// In the order of the objects, of a policy's checks by their number.
    pub findings: Vec<Finding>,
    /// How many policies were looked at.
    pub policies: usize,
    /// What is wrong with objects that are no policies, and are left out for it; by the place of the object.
    pub left_out: Vec<(usize, Rejection)>,
}

/// Looks for mistakes in all policies among these objects; the others are the facts they are held against.
#[must_use]
pub fn lint(objects: &[Value], options: &Options) -> Report {
    let mut findings = Vec::new();
    let (mut policies, mut tiered) = (Vec::new(), Vec::new());
    for (source, object) in objects.iter().enumerate() {
        if policy::is_network_policy(object) {
            written::check(source, object, options, &mut findings);
            policies.extend(NetPol::read(source, object, options));
        } else if tiers::is_cluster_policy(object) {
            written::legality(source, object, options, &mut findings);
            tiered.extend(Tiered::read(source, object, options));
        }
    }
    let (world, left_out) = World::of(objects, options, &policies, &tiered);
    let facts = Facts::new(policies, tiered, world);
    for family in FAMILIES {
        family(&facts, &mut findings);
    }
    names::check(objects, options, &mut findings);
    findings.retain(|finding| !options.disabled.contains(&finding.check));
    findings.sort_by(|a, b| a.place().cmp(&b.place()));
    findings.dedup();
    Report {
        findings,
        policies: objects.iter().filter(|object| is_policy(object)).count(),
        left_out,
    }
}

/// Says whether an object is a policy of one of the kinds that are looked at, of whatever version.
fn is_policy(object: &Value) -> bool {
    policy::is_network_policy(object) || tiers::is_cluster_policy(object)
}

/// What is known: policies that an API server would take, and the cluster around them.
struct Facts<'a> {
    /// In the order of their objects.
    policies: Vec<NetPol<'a>>,
    /// The places of a namespace's policies among them.
    by_namespace: BTreeMap<Arc<str>, Vec<usize>>,
    tiered: Vec<Tiered>,
    world: World,
}

impl<'a> Facts<'a> {
    fn new(policies: Vec<NetPol<'a>>, tiered: Vec<Tiered>, world: World) -> Self {
        let mut by_namespace: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (at, policy) in policies.iter().enumerate() {
            let namespace = Arc::clone(&policy.key.namespace);
            by_namespace.entry(namespace).or_default().push(at);
        }
        Self {
            policies,
            by_namespace,
            tiered,
            world,
        }
    }

    /// The policies of a namespace.
    fn policies_in<'s>(&'s self, namespace: &str) -> impl Iterator<Item = &'s NetPol<'a>> {
        let places = self.by_namespace.get(namespace);
        places
            .into_iter()
            .flatten()
            .filter_map(|at| self.policies.get(*at))
    }
}

type Family = fn(&Facts<'_>, &mut Vec<Finding>);

const FAMILIES: [Family; 12] = [
    selectors::check,
    peers::check,
    everything::check,
    dns::check,
    ports::check,
    blocks::check,
    server::check,
    exposure::check,
    together::check,
    sides::check,
    dataplane::check,
    tiers::check,
];
