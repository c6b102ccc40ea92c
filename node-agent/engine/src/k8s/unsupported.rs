//! Policies that are not evaluated, most of them of kinds that never are yet: whom they may apply to, and in which
//! direction.
//!
//! A selector that is not understood in full selects more than it does, never less: what such a policy may
//! decide is not claimed, and what it certainly does not is.

use std::sync::Arc;

use serde_json::Value;

use super::{Decode, Rejection, our_annotations};
use crate::model::{
    Labels, NamespaceMatch, Operator, Policy, PolicyKey, Requirement, Selector, Subject, Tier,
    Unmatched,
};

mod calico;

/// A kind of policy that is not evaluated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// What it is called here: other kinds have some of these names too.
    name: &'static str,
    scope: Scope,
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Namespaced,
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Calico,
    Cilium,
}

impl Kind {
    /// The kind of an object, when it is one of these. Staged kinds apply to nobody and are none of them.
    pub(super) fn of(version: &str, kind: &str) -> Option<Self> {
        let (group, _) = version.split_once('/')?;
        let (name, scope, dialect) = match (group, kind) {
            ("crd.projectcalico.org", "NetworkPolicy") => (
                "NetworkPolicy.crd.projectcalico.org",
                Scope::Namespaced,
                Dialect::Calico,
            ),
            ("projectcalico.org", "NetworkPolicy") => (
                "NetworkPolicy.projectcalico.org",
                Scope::Namespaced,
                Dialect::Calico,
            ),
            ("crd.projectcalico.org", "GlobalNetworkPolicy") => (
                "GlobalNetworkPolicy.crd.projectcalico.org",
                Scope::Cluster,
                Dialect::Calico,
            ),
            ("projectcalico.org", "GlobalNetworkPolicy") => (
                "GlobalNetworkPolicy.projectcalico.org",
                Scope::Cluster,
                Dialect::Calico,
            ),
            ("cilium.io", "CiliumNetworkPolicy") => {
                ("CiliumNetworkPolicy", Scope::Namespaced, Dialect::Cilium)
            }
            ("cilium.io", "CiliumClusterwideNetworkPolicy") => (
                "CiliumClusterwideNetworkPolicy",
                Scope::Cluster,
                Dialect::Cilium,
            ),
            _ => return None,
        };
        Some(Self {
            name,
            scope,
            dialect,
        })
    }

    /// Reads whom a policy may apply to; `name` is what it is called in rejections.
    pub(super) fn decode(
        self,
        object: &Value,
        name: &str,
        options: &Decode,
    ) -> Result<Policy, Vec<Rejection>> {
        let metadata = object.get("metadata");
        let text = |field: &str| {
            let text = metadata.and_then(|metadata| metadata.get(field)?.as_str());
            Arc::<str>::from(text.unwrap_or_default())
        };
        let key = PolicyKey {
            kind: self.name.into(),
            namespace: match (self.scope, text("namespace")) {
                (Scope::Cluster, _) => "".into(),
                (Scope::Namespaced, none) if none.is_empty() => options.default_namespace.clone(),
                (Scope::Namespaced, namespace) => namespace,
            },
            name: text("name"),
        };
        if key.name.is_empty() {
            return Err(vec![Rejection {
                object: name.to_owned(),
                field: "metadata.name".to_owned(),
                rule: "V13",
                message: "required".to_owned(),
            }]);
        }
        let reach = match self.dialect {
            Dialect::Calico => calico::reach(object.get("spec")),
            Dialect::Cilium => cilium(object),
        };
        let annotations: Option<Labels> = metadata
            .and_then(|metadata| metadata.get("annotations"))
            .and_then(|annotations| serde_json::from_value(annotations.clone()).ok());
        let generation = metadata.and_then(|metadata| metadata.get("generation")?.as_i64());
        Ok(Policy {
            key,
            uid: text("uid"),
            generation: generation.unwrap_or_default(),
            annotations: our_annotations(annotations),
            tier: Tier::NetworkPolicy,
            priority: None,
            unmatched: Unmatched::Unknown,
            subject: Subject {
                namespaces: match self.scope {
                    Scope::Namespaced => NamespaceMatch::Own,
                    Scope::Cluster => NamespaceMatch::Matching(reach.namespaces),
                },
                pods: reach.pods,
            },
            ingress: reach.ingress.then(Vec::new),
            egress: reach.egress.then(Vec::new),
        })
    }
}

/// A policy of which nothing is known but its name, or not even that: it may apply to everything in its namespace, or
/// in the whole cluster when it has none.
#[must_use]
pub fn unread_policy(key: PolicyKey) -> Policy {
    let namespaces = match key.namespace.is_empty() {
        true => NamespaceMatch::Matching(Selector::default()),
        false => NamespaceMatch::Own,
    };
    Policy {
        key,
        uid: "".into(),
        generation: 0,
        annotations: Labels::default(),
        tier: Tier::NetworkPolicy,
        priority: None,
        unmatched: Unmatched::Unknown,
        subject: Subject {
            namespaces,
            pods: Selector::default(),
        },
        ingress: Some(Vec::new()),
        egress: Some(Vec::new()),
    }
}

/// Whom a policy may apply to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reach {
    /// Looked at only of a policy of the whole cluster.
    namespaces: Selector,
    pods: Selector,
    ingress: bool,
    egress: bool,
}

/// One rule is `spec`, several are `specs`.
fn cilium(object: &Value) -> Reach {
    let several = object.get("specs").and_then(Value::as_array);
    let specs: Vec<_> = object
        .get("spec")
        .filter(|spec| !spec.is_null())
        .into_iter()
        .chain(several.into_iter().flatten())
        .collect();
    let has = |fields: [&str; 2]| {
        let is_there = |spec: &&Value, field| spec.get(field).is_some_and(|rules| !rules.is_null());
        specs
            .iter()
            .any(|spec| fields.iter().any(|field| is_there(spec, field)))
    };
    let pods = match specs.as_slice() {
        [only] => only.get("endpointSelector").map(cilium_selector),
        _ => None,
    };
    Reach {
        namespaces: Selector::default(),
        pods: pods.unwrap_or_default(),
        ingress: has(["ingress", "ingressDeny"]),
        egress: has(["egress", "egressDeny"]),
    }
}

/// Labels may be written with their source before them; those of another source are not a pod's own.
fn cilium_selector(selector: &Value) -> Selector {
    let own = |key: &str| {
        let key = match key.split_once(':') {
            Some(("k8s" | "any", key)) => key,
            Some(_) => return None,
            None => key,
        };
        let is_derived = key.starts_with("io.kubernetes.") || key.starts_with("io.cilium.");
        (!is_derived).then(|| Arc::<str>::from(key))
    };
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten().filter_map(|(key, value)| {
        Some(Requirement {
            key: own(key)?,
            operator: Operator::In(vec![value.as_str()?.into()]),
        })
    });
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let expressions = expressions.into_iter().flatten().filter_map(|expression| {
        Some(Requirement {
            key: own(expression.get("key")?.as_str()?)?,
            operator: operator(expression)?,
        })
    });
    Selector {
        requirements: labels.chain(expressions).collect(),
    }
}

fn operator(expression: &Value) -> Option<Operator> {
    let values = || {
        let values = expression.get("values")?.as_array()?;
        let texts = values.iter().map(|value| value.as_str().map(Arc::from));
        texts.collect::<Option<Vec<_>>>()
    };
    match expression.get("operator")?.as_str()? {
        "In" => Some(Operator::In(values()?)),
        "NotIn" => Some(Operator::NotIn(values()?)),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        _ => None,
    }
}
