//! What metrics are labelled with, and when it is gone for good.

use std::collections::{BTreeMap, VecDeque};

use crate::Moment;
use crate::cluster::Cluster;
use crate::input::Subject;
use crate::model::{Delta, ObjectKey};

/// How long what is gone may come back under its name: a rollout or a restart ends no series.
const MOURN_NS: u64 = 60_000_000_000;

/// How many objects stand behind each subject.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    there: BTreeMap<Subject, usize>,
    gone: BTreeMap<Subject, Moment>,
    order: VecDeque<(Moment, Subject)>,
}

impl Presence {
    /// The subject of the object that a delta is about, as the cluster has it now.
    pub(crate) fn subject(cluster: &Cluster, delta: &Delta) -> Option<Subject> {
        match delta {
            Delta::Pod(pod) => Self::pod(cluster, &pod.key),
            Delta::PodGone(key) => Self::pod(cluster, key),
            Delta::Service(service) => Self::service(cluster, &service.key),
            Delta::ServiceGone(key) => Self::service(cluster, key),
            Delta::Policy(policy) => cluster
                .policy(&policy.key)
                .map(|policy| Subject::Policy(policy.key.clone())),
            Delta::PolicyGone(key) => cluster
                .policy(key)
                .map(|policy| Subject::Policy(policy.key.clone())),
            Delta::Namespace(_)
            | Delta::NamespaceGone(_)
            | Delta::Node(_)
            | Delta::NodeGone(_)
            | Delta::EndpointSlice(_)
            | Delta::EndpointSliceGone(_) => None,
        }
    }

    fn pod(cluster: &Cluster, key: &ObjectKey) -> Option<Subject> {
        let pod = cluster.pod(key).filter(|pod| !pod.finished)?;
        Some(Subject::Workload(ObjectKey {
            namespace: pod.key.namespace.clone(),
            name: pod.workload.name.clone(),
        }))
    }

    fn service(cluster: &Cluster, key: &ObjectKey) -> Option<Subject> {
        let service = cluster.service(key)?;
        Some(Subject::Workload(service.key.clone()))
    }

    /// An object stood for one subject before a delta, and stands for another after it.
    pub(crate) fn moved(&mut self, before: Option<Subject>, after: Option<Subject>, now: Moment) {
        if before == after {
            return;
        }
        if let Some(subject) = after {
            self.gone.remove(&subject);
            *self.there.entry(subject).or_default() += 1;
        }
        let Some(subject) = before else {
            return;
        };
        let left = self.there.get(&subject).copied().unwrap_or_default();
        if left > 1 {
            self.there.insert(subject, left - 1);
            return;
        }
        self.there.remove(&subject);
        self.gone.insert(subject.clone(), now);
        self.order.push_back((now, subject));
    }

    /// What is gone since so long that it will not come back.
    pub(crate) fn take_gone(&mut self, now: Moment) -> Vec<Subject> {
        let mut gone = Vec::new();
        while self
            .order
            .front()
            .is_some_and(|(since, _)| now.since(*since) >= MOURN_NS)
        {
            let Some((since, subject)) = self.order.pop_front() else {
                break;
            };
            // Unless it came back, and perhaps went again.
            if self.gone.get(&subject) == Some(&since) {
                self.gone.remove(&subject);
                gone.push(subject);
            }
        }
        gone
    }
}
