//! Pods that no policy can tell apart share a class: what holds for one of them is kept and found once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::label_index::LabelIndex;
use super::strings::Strings;
use crate::input::Moment;
use crate::isolation::{Asks, Isolation};
use crate::model::{Labels, NamedPort, Namespace, Pod, Selector, Workload};
use crate::record::Direction;

/// The number of a class. It is used again once no pod is left in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClassId(u32);

impl ClassId {
    /// No class has this number.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// What tells the pods of a namespace apart for policies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Traits {
    pub(crate) labels: Labels,
    pub(crate) ports: Arc<[NamedPort]>,
    /// Pods on their node's network are no subject (R31, R47).
    pub(crate) host_network: bool,
    /// Finished pods own nothing (R33).
    pub(crate) finished: bool,
    /// No policy looks at it; whoever suggests one does.
    pub(crate) workload: Workload,
}

impl Traits {
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            labels: pod.labels.clone(),
            ports: Arc::clone(&pod.ports),
            host_network: pod.host_network,
            finished: pod.finished,
            workload: pod.workload.clone(),
        }
    }
}

impl Traits {
    /// Takes the strings that others have too.
    pub(crate) fn share(&mut self, strings: &mut Strings) {
        self.labels = strings.share_all(&self.labels);
        self.workload = Workload {
            kind: strings.share(&self.workload.kind),
            name: strings.share(&self.workload.name),
        };
        let ports = self.ports.iter().map(|port| NamedPort {
            name: strings.share(&port.name),
            ..*port
        });
        self.ports = ports.collect();
    }
}

/// Pods of one namespace that no policy can tell apart.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) namespace: Arc<str>,
    /// Those of their namespace.
    pub(crate) namespace_labels: Labels,
    pub(crate) traits: Traits,
    pub(crate) isolation: Isolation,
    /// A policy that selects them, or did.
    pub(crate) isolation_changed: Moment,
    pods: usize,
}

/// What is looked at again and again, close together.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// Moves whenever a verdict about these pods may be another; never goes back.
    generation: u32,
    ingress_asks: Asks,
    egress_asks: Asks,
}

/// Every class, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    heads: Vec<Head>,
    classes: Vec<Option<Class>>,
    free: Vec<ClassId>,
}

impl Classes {
    pub(crate) fn get(&self, id: ClassId) -> Option<&Class> {
        self.classes.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn generation(&self, id: ClassId) -> u32 {
        self.heads
            .get(id.0 as usize)
            .map_or(0, |head| head.generation)
    }

    pub(crate) fn asks(&self, id: ClassId, direction: Direction) -> Asks {
        self.heads
            .get(id.0 as usize)
            .map_or_else(Asks::default, |head| match direction {
                Direction::Ingress => head.ingress_asks,
                Direction::Egress => head.egress_asks,
            })
    }

    /// Changes a class; whatever is known of verdicts about its pods is so no longer.
    pub(crate) fn change(&mut self, id: ClassId, change: impl FnOnce(&mut Class)) {
        let index = id.0 as usize;
        let (Some(head), Some(Some(class))) =
            (self.heads.get_mut(index), self.classes.get_mut(index))
        else {
            return;
        };
        change(class);
        *head = Head {
            generation: head.generation + 1,
            ingress_asks: class.isolation.asks(Direction::Ingress),
            egress_asks: class.isolation.asks(Direction::Egress),
        };
    }

    fn add(&mut self, class: Class) -> ClassId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.heads.push(Head::default());
            self.classes.push(None);
            ClassId((self.heads.len() - 1) as u32)
        });
        if let Some(place) = self.classes.get_mut(id.0 as usize) {
            *place = Some(class);
        }
        self.change(id, |_| {});
        id
    }

    fn remove(&mut self, id: ClassId) -> Option<Class> {
        self.change(id, |_| {});
        self.free.push(id);
        self.classes.get_mut(id.0 as usize)?.take()
    }

    /// Counts a pod more or less; how many there are changes no verdict.
    fn pods_mut(&mut self, id: ClassId) -> Option<&mut usize> {
        let class = self.classes.get_mut(id.0 as usize)?.as_mut()?;
        Some(&mut class.pods)
    }
}

/// The classes of a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassesHere {
    by_traits: BTreeMap<Traits, ClassId>,
    by_label: LabelIndex<ClassId>,
}

impl ClassesHere {
    /// Every class, in the order of their traits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ClassId> {
        self.by_traits.values().copied()
    }

    /// The classes that a selector may match: all that it matches are among them.
    pub(crate) fn candidates(&self, selector: &Selector) -> Vec<ClassId> {
        match self.by_label.candidates(selector) {
            Some(some) => some,
            None => self.iter().collect(),
        }
    }

    /// Puts a pod into its class; `make` is asked for what the class needs when it is the first of it.
    pub(crate) fn join<'a>(
        &mut self,
        classes: &mut Classes,
        pod: &Pod,
        make: impl FnOnce(Traits) -> (Traits, &'a Namespace, Isolation),
    ) -> ClassId {
        let traits = Traits::of(pod);
        if let Some(id) = self.by_traits.get(&traits).copied() {
            if let Some(pods) = classes.pods_mut(id) {
                *pods += 1;
            }
            return id;
        }
        let (traits, namespace, isolation) = make(traits);
        let id = classes.add(Class {
            namespace: Arc::clone(&namespace.name),
            namespace_labels: namespace.labels.clone(),
            isolation,
            traits: traits.clone(),
            isolation_changed: Moment::default(),
            pods: 1,
        });
        self.by_label.add(&traits.labels, id);
        self.by_traits.insert(traits, id);
        id
    }

    /// Takes a pod out of its class, and the class away with its last pod.
    pub(crate) fn leave(&mut self, classes: &mut Classes, id: ClassId) {
        let Some(pods) = classes.pods_mut(id) else {
            return;
        };
        *pods -= 1;
        if *pods > 0 {
            return;
        }
        if let Some(Class { traits, .. }) = classes.remove(id) {
            self.by_label.remove(&traits.labels, id);
            self.by_traits.remove(&traits);
        }
    }
}
