//! A second evaluator of `networking.k8s.io/v1` and of the policies of the whole cluster, which judges the first.
//!
//! It is written from the rules (R1 to R57) alone: it reads Kubernetes objects as they are written, goes over
//! all of them for every question, keeps nothing, and knows nothing of the engine. It is slow and must stay
//! simple enough to be held against the rules by eye. [`made`] makes clusters and questions out of bytes, for
//! property tests and for fuzzing.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value is indexed by name: what it lacks is null"
)]

mod answer;
pub mod made;
mod matching;
mod owner;
mod tiers;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

pub use answer::{Answer, Says};

/// What a connection is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who opens it.
    pub from: IpAddr,
    /// Whom it is opened to.
    pub to: IpAddr,
    /// `TCP`, `UDP`, `SCTP`, `ICMP` or `ICMPv6`.
    pub protocol: &'static str,
    /// Absent for ICMP.
    pub port: Option<u16>,
    /// The dataplane, which decides what the rules leave open.
    pub dataplane: Dataplane,
}

/// The dataplanes of which something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataplane {
    /// Nothing is known of it.
    Generic,
    /// kube-router.
    KubeRouter,
    /// Calico.
    Calico,
    /// Cilium.
    Cilium,
}

/// What names an object: kind, namespace and name.
pub type Name = (String, String, String);

/// Every object there is, as Kubernetes writes it.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    objects: BTreeMap<Name, Value>,
    names: Option<Names>,
}

/// What DNS has answered.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

impl Objects {
    /// Adds an object, or replaces the one of its name.
    pub fn set(&mut self, object: Value) {
        self.objects.insert(name_of(&object), object);
    }

    /// Takes an object away.
    pub fn remove(&mut self, name: &Name) {
        self.objects.remove(name);
    }

    /// Takes what DNS has answered, in place of what was there.
    pub fn set_names(&mut self, names: Names) {
        self.names = Some(names);
    }

    /// What DNS has answered; absent when nobody has said.
    #[must_use]
    pub fn names(&self) -> Option<&Names> {
        self.names.as_ref()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.objects.values()
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.iter().filter(move |object| object["kind"] == kind)
    }
}

/// The kind, namespace and name of an object.
#[must_use]
pub fn name_of(object: &Value) -> Name {
    (
        text(&object["kind"]).to_owned(),
        namespace_of(object).to_owned(),
        text(&object["metadata"]["name"]).to_owned(),
    )
}

fn namespace_of(object: &Value) -> &str {
    text(&object["metadata"]["namespace"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list; absent and null are empty ones.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
