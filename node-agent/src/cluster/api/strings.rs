//! Names, labels and owners are the same in thousands of objects: each text is kept once.

use std::collections::HashSet;
use std::sync::Arc;

use node_agent_engine::model::{Delta, Labels, ObjectKey};

/// Texts are given up when nobody else holds them, as soon as there are twice as many as after the last time.
const LEAST: usize = 1024;

/// Texts that others hold too.
#[derive(Default)]
pub(super) struct Strings {
    texts: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Strings {
    /// Lets an object's texts be those of others.
    pub(super) fn share(&mut self, delta: &mut Delta) {
        match delta {
            Delta::Namespace(namespace) => {
                self.one(&mut namespace.name);
                self.labels(&mut namespace.labels);
            }
            Delta::Pod(pod) => {
                self.share_key(&mut pod.key);
                self.labels(&mut pod.labels);
                self.one(&mut pod.node);
                self.one(&mut pod.service_account);
                self.one(&mut pod.workload.kind);
                self.one(&mut pod.workload.name);
                for port in Arc::get_mut(&mut pod.ports).into_iter().flatten() {
                    self.one(&mut port.name);
                }
            }
            Delta::Service(service) => self.share_key(&mut service.key),
            Delta::EndpointSlice(slice) => {
                self.share_key(&mut slice.key);
                self.one(&mut slice.service);
            }
            Delta::Policy(policy) => {
                self.one(&mut policy.key.kind);
                self.one(&mut policy.key.namespace);
            }
            Delta::Node(_)
            | Delta::NamespaceGone(_)
            | Delta::PodGone(_)
            | Delta::NodeGone(_)
            | Delta::ServiceGone(_)
            | Delta::EndpointSliceGone(_)
            | Delta::PolicyGone(_) => {}
        }
    }

    /// The same for a name.
    pub(super) fn share_key(&mut self, key: &mut ObjectKey) {
        self.one(&mut key.namespace);
        self.one(&mut key.name);
    }

    fn labels(&mut self, labels: &mut Labels) {
        let shared = std::mem::take(labels).into_iter();
        *labels = shared
            .map(|(mut key, mut value)| {
                self.one(&mut key);
                self.one(&mut value);
                (key, value)
            })
            .collect();
    }

    fn one(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.texts.get(text) {
            *text = Arc::clone(known);
            return;
        }
        if self.texts.len() >= self.sweep_at.max(LEAST) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = self.texts.len() * 2;
        }
        self.texts.insert(Arc::clone(text));
    }
}
