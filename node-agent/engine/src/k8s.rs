//! From Kubernetes objects to deltas: the border at which everything is parsed and validated.
//!
//! Policies are held against what the API server refuses (V1 to V15, and what the CRDs of ClusterNetworkPolicy
//! and its forerunners say of R45 to R57), unknown fields included (R43). Other
//! objects are read leniently: only the fields that are used must have the right type. A kind that nobody
//! here uses gives no delta.

mod admin_policy;
mod check;
mod cluster_policy;
mod expose;
mod fields;
mod metadata;
mod policy;
mod rule;
mod selector;
mod sent;
mod syntax;
mod tiered;
mod tiered_peer;
mod unsupported;
mod workloads;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::{Delta, Labels, Policy};

pub use sent::{Sent, read_sent};
pub use unsupported::unread_policy;

/// How objects are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decode {
    /// The namespace of namespaced objects that name none.
    pub default_namespace: Arc<str>,
    /// What happens to policies that the API server would refuse.
    pub validation: Validation,
}

impl Default for Decode {
    fn default() -> Self {
        Self {
            default_namespace: "default".into(),
            validation: Validation::Strict,
        }
    }
}

/// What happens to policies that the API server would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// They are rejected, as new objects are with strict field validation.
    Strict,
    /// They are taken as far as it makes sense: an unknown field is ignored, a part that cannot be right
    /// matches nothing (R8), spellings of old are read. What cannot be read at all (V14) is still rejected.
    /// For objects that an API server already holds.
    Off,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {message} ({rule})")]
pub struct Rejection {
    /// Kind, namespace and name, as far as they can be read: `NetworkPolicy kasm/allow-db`.
    pub object: String,
    /// Path of the field: `spec.ingress[0].from[1].ipBlock.cidr`.
    pub field: String,
    /// The rule it breaks: `V1` to `V15`, `R45` to `R57`.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Decodes one object, or each item of a list.
///
/// # Errors
///
/// Everything that is wrong with it. Of a list with one bad item nothing is taken; whoever wants the good
/// ones goes over [`items`] first.
pub fn decode(object: &Value, options: &Decode) -> Result<Vec<Delta>, Vec<Rejection>> {
    let mut deltas = Vec::new();
    let mut rejections = Vec::new();
    for item in items(object) {
        match decode_one(&item, options) {
            Ok(delta) => deltas.extend(delta),
            Err(wrong) => rejections.extend(wrong),
        }
    }
    if rejections.is_empty() {
        Ok(deltas)
    } else {
        Err(rejections)
    }
}

/// The objects of a `List`, or of a typed list such as `PodList`, lists in it included; any other object is
/// itself its only item. Items of a typed list get the kind that the list names when they have none.
#[must_use]
pub fn items(object: &Value) -> Vec<Cow<'_, Value>> {
    let Some(list) = object
        .get("kind")
        .and_then(Value::as_str)
        .and_then(|kind| kind.strip_suffix("List"))
    else {
        return vec![Cow::Borrowed(object)];
    };
    let items = match object.get("items") {
        Some(Value::Array(items)) => items.as_slice(),
        Some(Value::Null) | None if list.is_empty() => &[],
        Some(_) | None => return vec![Cow::Borrowed(object)],
    };
    items
        .iter()
        .flat_map(|item| item_of(item, list, object.get("apiVersion")))
        .collect()
}

fn item_of<'a>(item: &'a Value, kind: &str, version: Option<&Value>) -> Vec<Cow<'a, Value>> {
    match item {
        Value::Object(fields) if !kind.is_empty() && !fields.contains_key("kind") => {
            let mut typed = fields.clone();
            typed.insert("kind".to_owned(), kind.into());
            if let Some(version) = version {
                typed.entry("apiVersion").or_insert_with(|| version.clone());
            }
            vec![Cow::Owned(Value::Object(typed))]
        }
        Value::Object(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => items(item),
    }
}

fn decode_one(object: &Value, options: &Decode) -> Result<Option<Delta>, Vec<Rejection>> {
    let name = display_name(object);
    let wrong = |field: &str, message: &str| {
        vec![Rejection {
            object: name.clone(),
            field: field.to_owned(),
            rule: "V14",
            message: message.to_owned(),
        }]
    };
    let Value::Object(fields) = object else {
        return Err(wrong("", "not a Kubernetes object"));
    };
    let text = |field: &str| {
        fields
            .get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let kind = text("kind").ok_or_else(|| wrong("kind", "every Kubernetes object has a kind"))?;
    let version = text("apiVersion")
        .ok_or_else(|| wrong("apiVersion", "every Kubernetes object has an apiVersion"))?;
    let decoded = match (version, kind) {
        ("v1", "Namespace") => workloads::namespace(object).map(Delta::Namespace),
        ("v1", "Pod") => workloads::pod(object, options).map(Delta::Pod),
        ("v1", "Node") => workloads::node(object).map(Delta::Node),
        ("v1", "Service") => expose::service(object, options).map(Delta::Service),
        ("discovery.k8s.io/v1" | "discovery.k8s.io/v1beta1", "EndpointSlice") => {
            expose::endpoint_slice(object, options).map(Delta::EndpointSlice)
        }
        (version, kind) if unsupported::Kind::of(version, kind).is_some() => {
            let kind = unsupported::Kind::of(version, kind);
            let policy = kind.map(|kind| kind.decode(object, &name, options));
            return Ok(policy.transpose()?.map(Delta::Policy));
        }
        (version, kind) => match dialect(version, kind) {
            Ok(Some(decode)) => {
                return decode(object, &name, options).map(|policy| Some(Delta::Policy(policy)));
            }
            Ok(None) => return Ok(None),
            Err(message) => return Err(wrong("apiVersion", &message)),
        },
    };
    decoded
        .map(Some)
        .map_err(|problem| wrong(&problem.field, &problem.message))
}

type Dialect = fn(&Value, &str, &Decode) -> Result<Policy, Vec<Rejection>>;

/// What decodes policies of a kind; none for what is no policy, or somebody else's: others have kinds of these
/// names too. An error when it can only be meant as one of these, in a version that no server has.
fn dialect(version: &str, kind: &str) -> Result<Option<Dialect>, String> {
    const POLICY_API: &str = "policy.networking.k8s.io";
    let (ours, groups, decode): (&str, &[&str], Dialect) = match kind {
        "NetworkPolicy" => (
            "networking.k8s.io/v1",
            &["networking.k8s.io", "extensions"],
            policy::decode,
        ),
        "ClusterNetworkPolicy" => (
            "policy.networking.k8s.io/v1alpha2",
            &[POLICY_API],
            cluster_policy::decode,
        ),
        "AdminNetworkPolicy" => (
            "policy.networking.k8s.io/v1alpha1",
            &[POLICY_API],
            admin_policy::decode,
        ),
        "BaselineAdminNetworkPolicy" => (
            "policy.networking.k8s.io/v1alpha1",
            &[POLICY_API],
            admin_policy::decode_baseline,
        ),
        _ => return Ok(None),
    };
    if version == ours {
        return Ok(Some(decode));
    }
    match version.split_once('/') {
        Some((group, _)) if !groups.contains(&group) => Ok(None),
        Some(_) | None => Err(format!(
            "no server has a {kind} of `{version}`, it is `{ours}`"
        )),
    }
}

fn display_name(object: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text(object.get("kind"));
    let metadata = object.get("metadata");
    let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
    let name = text(metadata.and_then(|metadata| metadata.get("name")));
    let kind = if kind.is_empty() {
        "object"
    } else {
        kind.as_str()
    };
    match (namespace.is_empty(), name.is_empty()) {
        (_, true) => format!("{kind} without a name"),
        (true, false) => format!("{kind} {name}"),
        (false, false) => format!("{kind} {namespace}/{name}"),
    }
}

/// What is wrong with an object that is read leniently.
#[derive(Debug)]
struct Problem {
    field: String,
    message: String,
}

impl Problem {
    fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

/// Reads the fields that are used.
fn read<T: DeserializeOwned>(object: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(object).map_err(|error| Problem {
        field: error.path().to_string(),
        message: error.inner().to_string(),
    })
}

/// The annotations that mean something to netverdict.
fn our_annotations(annotations: Option<Labels>) -> Labels {
    let ours =
        |key: &str| key.starts_with("netverdict.io/") || key == "projectcalico.org/policy-action";
    annotations
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, _)| ours(key))
        .collect()
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}
