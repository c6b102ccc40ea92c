//! Objects as the API server sends them: read straight from their JSON, of which only the fields that are used
//! are ever kept.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::fields::{Metadata, Object, Slice};
use super::{Decode, Problem, Rejection, decode_one, expose, workloads};
use crate::model::{Delta, ObjectKey};

/// An object of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Namespace, empty for a cluster-scoped object, and name.
    pub key: ObjectKey,
    /// `metadata.resourceVersion`: an object that has the same one is the same.
    pub version: Arc<str>,
    /// What it says; nothing for a kind that plays no part.
    pub decoded: Result<Option<Delta>, Vec<Rejection>>,
}

/// Reads an object of a known kind. It need not say of which kind it is: an item of a list does not.
///
/// # Errors
///
/// When it is no JSON, or a field that is used has the wrong type. What is wrong in it beyond that is in
/// [`Sent::decoded`], and so is everything that is wrong in a policy.
pub fn read_sent<'de, D: Deserializer<'de>>(
    (api_version, kind): (&str, &str),
    options: &Decode,
    from: D,
) -> Result<Sent, D::Error> {
    match (api_version, kind) {
        ("v1", "Namespace") => direct(kind, from, |written| {
            workloads::namespace_of(written).map(Delta::Namespace)
        }),
        ("v1", "Pod") => direct(kind, from, |written| {
            workloads::pod_of(written, options).map(Delta::Pod)
        }),
        ("v1", "Node") => direct(kind, from, |written| {
            workloads::node_of(written).map(Delta::Node)
        }),
        ("v1", "Service") => direct(kind, from, |written| {
            expose::service_of(written, options).map(Delta::Service)
        }),
        ("discovery.k8s.io/v1", "EndpointSlice") => direct(kind, from, |written| {
            expose::endpoint_slice_of(written, options).map(Delta::EndpointSlice)
        }),
        _ => Value::deserialize(from).map(|object| whole(api_version, kind, options, object)),
    }
}

/// What knows its metadata.
trait Written {
    fn metadata(&self) -> Option<&Metadata>;
}

impl<Spec, Status> Written for Object<Spec, Status> {
    fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }
}

impl Written for Slice {
    fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }
}

fn direct<'de, W: Written + Deserialize<'de>, D: Deserializer<'de>>(
    kind: &str,
    from: D,
    delta: impl FnOnce(W) -> Result<Delta, Problem>,
) -> Result<Sent, D::Error> {
    let written = W::deserialize(from)?;
    let text = |text: fn(&Metadata) -> &Option<Arc<str>>| {
        let text = written
            .metadata()
            .and_then(|metadata| text(metadata).clone());
        text.unwrap_or_default()
    };
    let key = ObjectKey {
        namespace: text(|metadata| &metadata.namespace),
        name: text(|metadata| &metadata.name),
    };
    let version = text(|metadata| &metadata.resource_version);
    let decoded = delta(written).map(Some).map_err(|problem| {
        vec![Rejection {
            object: format!("{kind} {}/{}", key.namespace, key.name),
            field: problem.field,
            rule: "V14",
            message: problem.message,
        }]
    });
    Ok(Sent {
        key,
        version,
        decoded,
    })
}

/// Reads an object whose fields are all looked at.
fn whole(api_version: &str, kind: &str, options: &Decode, mut object: Value) -> Sent {
    if let Value::Object(fields) = &mut object {
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), kind.into());
    }
    let text = |field: &str| {
        let text = object
            .get("metadata")
            .and_then(|metadata| metadata.get(field));
        Arc::from(text.and_then(Value::as_str).unwrap_or_default())
    };
    Sent {
        key: ObjectKey {
            namespace: text("namespace"),
            name: text("name"),
        },
        version: text("resourceVersion"),
        decoded: decode_one(&object, options),
    }
}
