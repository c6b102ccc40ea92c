//! Labels of the families that grow with the cluster. None is an address, a pod's name or free text; external
//! peers are one class.

use node_agent_engine::input::{Port, Subject};
use node_agent_engine::record::{Connection, Direction, Endpoint, EndpointKind};
use node_agent_engine::verdict::{Decision, PolicyRef, Reason, RuleRef, Side, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use serde::Serialize;

use super::ports::is_port_named;
use super::series::{Fold, OTHER};
use crate::shown;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConnectionLabels {
    assessment: String,
    allowed_by: &'static str,
    start_window: &'static str,
    direction: String,
    reporter: String,
    protocol: String,
    source_namespace: String,
    source_workload: String,
    destination_namespace: String,
    destination_workload: String,
    destination_port: String,
}

impl ConnectionLabels {
    pub(super) fn of(connection: &Connection, port: Port) -> Self {
        let (source_namespace, source_workload) = party(&connection.source);
        let (destination_namespace, destination_workload) = party(&connection.destination);
        Self {
            // Nobody is paged for what somebody has taken note of.
            assessment: match connection.acknowledged {
                Some(_) => "acknowledged".to_owned(),
                None => token(&connection.assessment),
            },
            allowed_by: allowed_by(connection),
            start_window: match connection.start_window_s {
                Some(_) => "true",
                None => "false",
            },
            direction: connection.direction.as_ref().map(token).unwrap_or_default(),
            reporter: token(&connection.reporter),
            protocol: token(&connection.protocol),
            source_namespace,
            source_workload,
            destination_namespace,
            destination_workload,
            destination_port: if is_port_named(connection, port) {
                connection.destination.port.to_string()
            } else {
                "other".to_owned()
            },
        }
    }
}

impl Fold for ConnectionLabels {
    fn folded(&self) -> Self {
        Self {
            source_namespace: OTHER.to_owned(),
            source_workload: OTHER.to_owned(),
            destination_namespace: OTHER.to_owned(),
            destination_workload: OTHER.to_owned(),
            destination_port: OTHER.to_owned(),
            ..self.clone()
        }
    }

    fn is_about(&self, subject: &Subject) -> bool {
        let Subject::Workload(key) = subject else {
            return false;
        };
        let (gone_namespace, gone_workload) = (label(&key.namespace), label(&key.name));
        let is = |namespace: &str, workload: &str| {
            namespace == gone_namespace && workload == gone_workload
        };
        is(&self.source_namespace, &self.source_workload)
            || is(&self.destination_namespace, &self.destination_workload)
    }
}

/// A policy that denied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DenialLabels {
    policy_namespace: String,
    policy: String,
    direction: String,
}

impl DenialLabels {
    /// The policies of every side that denies: the one whose rule does, else all that isolate it.
    pub(super) fn of(verdict: &Verdict) -> impl Iterator<Item = Self> {
        sides(verdict)
            .filter(|(side, _)| side.verdict == Decision::Denied)
            .flat_map(|(side, direction)| {
                let new = move |policy| Self::new(policy, direction);
                let by_rule = side.denied_by.iter().map(|rule| &rule.policy);
                let isolating = match side.denied_by {
                    Some(_) => &[][..],
                    None => side.isolated_by.as_slice(),
                };
                by_rule.chain(isolating).map(new)
            })
    }

    fn new(policy: &PolicyRef, direction: Direction) -> Self {
        Self {
            policy_namespace: label(&policy.key.namespace),
            policy: label(&policy.key.name),
            direction: token(&direction),
        }
    }
}

impl Fold for DenialLabels {
    fn folded(&self) -> Self {
        Self {
            policy_namespace: OTHER.to_owned(),
            policy: OTHER.to_owned(),
            ..self.clone()
        }
    }

    fn is_about(&self, subject: &Subject) -> bool {
        is_policy(subject, &self.policy_namespace, &self.policy)
    }
}

/// A rule that allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RuleLabels {
    policy_namespace: String,
    policy: String,
    direction: String,
    rule: String,
}

impl RuleLabels {
    /// The rule of every side that allows by one.
    pub(super) fn of(verdict: &Verdict) -> impl Iterator<Item = Self> {
        sides(verdict).filter_map(|(side, direction)| {
            let RuleRef { policy, rule, .. } = side.allowed_by.as_ref()?;
            Some(Self {
                policy_namespace: label(&policy.key.namespace),
                policy: label(&policy.key.name),
                direction: token(&direction),
                rule: rule.to_string(),
            })
        })
    }
}

impl Fold for RuleLabels {
    fn folded(&self) -> Self {
        Self {
            policy_namespace: OTHER.to_owned(),
            policy: OTHER.to_owned(),
            rule: OTHER.to_owned(),
            ..self.clone()
        }
    }

    fn is_about(&self, subject: &Subject) -> bool {
        is_policy(subject, &self.policy_namespace, &self.policy)
    }
}

fn is_policy(subject: &Subject, namespace: &str, name: &str) -> bool {
    match subject {
        Subject::Workload(_) => false,
        Subject::Policy(key) => namespace == label(&key.namespace) && name == label(&key.name),
    }
}

fn sides(verdict: &Verdict) -> impl Iterator<Item = (&Side, Direction)> {
    [
        (&verdict.egress, Direction::Egress),
        (&verdict.ingress, Direction::Ingress),
    ]
    .into_iter()
}

/// Namespace and workload; what is no pod is one class of its kind, without a namespace.
fn party(endpoint: &Endpoint) -> (String, String) {
    let namespace = label(endpoint.namespace.as_deref().unwrap_or_default());
    match endpoint.kind {
        EndpointKind::Pod => {
            let workload = endpoint.workload.as_ref();
            let name = workload.map_or("", |workload| &*workload.name);
            (namespace, label(name))
        }
        EndpointKind::Service => {
            let name = endpoint.name.as_deref().unwrap_or_default();
            (namespace, label(name))
        }
        EndpointKind::Node | EndpointKind::World | EndpointKind::Unknown => {
            (String::new(), token(&endpoint.kind))
        }
    }
}

fn allowed_by(connection: &Connection) -> &'static str {
    let verdict = &connection.verdict;
    let is = |reason| verdict.egress.reason == reason || verdict.ingress.reason == reason;
    match verdict.verdict {
        Decision::Denied | Decision::Unknown => "",
        Decision::Allowed if is(Reason::Rule) => "rule",
        Decision::Allowed if is(Reason::NotIsolated) => "not_isolated",
        Decision::Allowed => "",
    }
}

/// The word for a value of a closed list, as in the record.
pub(super) fn token<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(token)) => token,
        Ok(_) | Err(_) => String::new(),
    }
}

/// A label's value: it may come from others.
pub(super) fn label(value: &str) -> String {
    shown::text(value).into_owned()
}
