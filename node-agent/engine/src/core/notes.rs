//! What people wrote on the objects of the cluster: what to write of them, and what they know already.

use super::Core;
use crate::Moment;
use crate::aggregate::Fate;
use crate::annotations;
use crate::assessment::{direction, is_problem};
use crate::delays::pair_of;
use crate::input::Output;
use crate::model::{Delta, Labels, ObjectKey};
use crate::options::Log;
use crate::record::{Acknowledged, AcknowledgedBy, Connection, Endpoint, EndpointKind};
use crate::scan::Fold;
use crate::verdict::{PolicyRef, Side};

/// Policies that say something of a side.
fn speaking(side: &Side) -> impl Iterator<Item = &PolicyRef> {
    let by_rule = side.allowed_by.iter().chain(&side.denied_by);
    side.isolated_by
        .iter()
        .chain(by_rule.map(|rule| &rule.policy))
}

impl Core {
    /// Says what is wrong with an object's annotations, unless it was wrong before.
    pub(super) fn check_annotations(&self, delta: &Delta, out: &mut Vec<Output>) {
        let (object, new, old) = match delta {
            Delta::Namespace(namespace) => (
                format!("Namespace {}", namespace.name),
                &namespace.annotations,
                self.cluster
                    .namespace(&namespace.name)
                    .map(|known| &known.annotations),
            ),
            Delta::Pod(pod) => (
                format!("Pod {}/{}", pod.key.namespace, pod.key.name),
                &pod.annotations,
                self.cluster.pod(&pod.key).map(|known| &known.annotations),
            ),
            Delta::Policy(policy) => (
                format!(
                    "{} {}/{}",
                    policy.key.kind, policy.key.namespace, policy.key.name
                ),
                &policy.annotations,
                self.cluster
                    .policy(&policy.key)
                    .map(|known| &known.annotations),
            ),
            Delta::NamespaceGone(_)
            | Delta::PodGone(_)
            | Delta::Node(_)
            | Delta::NodeGone(_)
            | Delta::Service(_)
            | Delta::ServiceGone(_)
            | Delta::EndpointSlice(_)
            | Delta::EndpointSliceGone(_)
            | Delta::PolicyGone(_) => return,
        };
        if old == Some(new) {
            return;
        }
        for message in annotations::problems(new) {
            let object = object.clone();
            out.push(Output::BadAnnotation { object, message });
        }
    }

    /// What to do with a record that is due.
    pub(super) fn fate(&self, connection: &Connection) -> Fate {
        let logs = self.logs(connection);
        let denied = || direction(&connection.verdict).is_some();
        let is_told = |log: &Log| match log {
            Log::Nothing | Log::Problems => false,
            Log::Denied => denied(),
            Log::All => true,
        };
        if logs.iter().any(is_told) {
            return Fate::Write;
        }
        let is_finding = is_problem(connection.assessment) && connection.acknowledged.is_none();
        if !is_finding || !logs.contains(&Log::Problems) {
            return Fate::Skip;
        }
        let pair = pair_of(connection);
        if self.enforcing.fold(&pair, connection) == Fold::Folded {
            return Fate::Skip;
        }
        match self.scans.fold(&pair) {
            Fold::Alone => Fate::Write,
            Fold::Folded => Fate::Skip,
            Fold::Later(then) => Fate::Later(then),
        }
    }

    /// What is to be written of a connection: what its policies say, else its namespaces, else the flag.
    fn logs(&self, connection: &Connection) -> Vec<Log> {
        let verdict = &connection.verdict;
        let policies = speaking(&verdict.egress).chain(speaking(&verdict.ingress));
        let by_policy: Vec<Log> = policies
            .filter_map(|policy| annotations::log(&self.cluster.policy(&policy.key)?.annotations))
            .collect();
        if !by_policy.is_empty() {
            return by_policy;
        }
        let ends = [&connection.source, &connection.destination];
        let by_namespace: Vec<Log> = ends
            .into_iter()
            .filter_map(|end| annotations::log(self.namespace_notes(end)?))
            .collect();
        if !by_namespace.is_empty() {
            return by_namespace;
        }
        vec![self.options.log]
    }

    fn namespace_notes(&self, end: &Endpoint) -> Option<&Labels> {
        let namespace = self.cluster.namespace(end.namespace.as_deref()?)?;
        Some(&namespace.annotations)
    }

    /// Who has taken note of a finding, of an attempt at that moment.
    pub(super) fn acknowledged(
        &self,
        connection: &Connection,
        attempt: Moment,
    ) -> Option<Acknowledged> {
        if !is_problem(connection.assessment) {
            return None;
        }
        let wall_ns = self.options.clock_base.wall_ns(attempt);
        self.noted(connection).find_map(|(by, annotations)| {
            let taken = annotations::acknowledgement(annotations?)?;
            taken.holds_at(wall_ns).then_some(Acknowledged {
                reason: taken.reason,
                until: taken.until,
                by,
            })
        })
    }

    /// The objects whose annotations speak for a finding: policies, pods, namespaces.
    fn noted<'a>(
        &'a self,
        connection: &'a Connection,
    ) -> impl Iterator<Item = (AcknowledgedBy, Option<&'a Labels>)> {
        let verdict = &connection.verdict;
        let policies = speaking(&verdict.egress).chain(speaking(&verdict.ingress));
        let policies = policies.map(|PolicyRef { key, .. }| {
            let by = AcknowledgedBy {
                kind: key.kind.clone(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
            };
            let policy = self.cluster.policy(key);
            (by, policy.map(|policy| &policy.annotations))
        });
        let ends = || [&connection.source, &connection.destination].into_iter();
        let pods = ends().filter_map(|end| {
            let key = ObjectKey {
                namespace: end.namespace.clone()?,
                name: end.name.clone()?,
            };
            let pod = self
                .cluster
                .recalled(&key)
                .filter(|_| end.kind == EndpointKind::Pod);
            let by = AcknowledgedBy {
                kind: "Pod".into(),
                namespace: key.namespace,
                name: key.name,
            };
            Some((by, pod.map(|pod| &pod.annotations)))
        });
        let namespaces = ends().filter_map(|end| {
            let by = AcknowledgedBy {
                kind: "Namespace".into(),
                namespace: "".into(),
                name: end.namespace.clone()?,
            };
            Some((by, self.namespace_notes(end)))
        });
        policies.chain(pods).chain(namespaces)
    }
}
