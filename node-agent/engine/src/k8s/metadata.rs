//! What every policy object has: its name, and who wrote it when.

use std::sync::Arc;

use serde_json::Value;

use super::check::{Check, Fields};
use super::selector::labels;
use super::syntax::{is_dns_label, is_dns_subdomain, is_label_key};
use super::{Rejection, our_annotations};
use crate::model::{Labels, PolicyKey};

const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// What only an API server writes.
const GIVEN_BY_THE_SERVER: [&str; 3] = ["uid", "resourceVersion", "creationTimestamp"];

/// Where objects of a kind live.
pub(super) enum Scope<'a> {
    /// In a namespace; this one when the object names none.
    Namespaced(&'a Arc<str>),
    /// In none; one that is written counts nothing.
    Cluster,
}

/// The metadata of a policy.
pub(super) struct Metadata {
    pub(super) key: PolicyKey,
    pub(super) uid: Arc<str>,
    pub(super) generation: i64,
    pub(super) annotations: Labels,
}

impl Metadata {
    /// Reads it, whatever the kind.
    pub(super) fn read(
        check: &mut Check<'_>,
        top: Option<&Fields<'_>>,
        kind: &str,
        scope: &Scope<'_>,
    ) -> Self {
        let fields = check.fields(
            top.and_then(|top| top.get("metadata")),
            "metadata",
            &METADATA,
        );
        let get = |name: &str| fields.as_ref().and_then(|fields| fields.get(name));
        if GIVEN_BY_THE_SERVER.iter().any(|name| get(name).is_some()) {
            check.is_stored();
        }
        let name = check.text(get("name"), "metadata.name").unwrap_or_default();
        if name.is_empty() {
            check.wrong("metadata.name", "V13", "required");
        } else if !is_dns_subdomain(name) {
            check.wrong(
                "metadata.name",
                "V13",
                format!("`{name}` is no DNS subdomain of at most 253 characters"),
            );
        }
        let namespace = check
            .text(get("namespace"), "metadata.namespace")
            .unwrap_or_default();
        if !namespace.is_empty() && !is_dns_label(namespace) {
            check.wrong(
                "metadata.namespace",
                "V13",
                format!("`{namespace}` is no DNS label"),
            );
        }
        let uid = check.text(get("uid"), "metadata.uid").unwrap_or_default();
        let generation = get("generation")
            .and_then(Value::as_i64)
            .unwrap_or_default();
        labels(check, get("labels"), "metadata.labels");
        let annotations = annotations(check, get("annotations"), "metadata.annotations");
        Self {
            key: PolicyKey {
                kind: kind.into(),
                namespace: match scope {
                    Scope::Namespaced(default) if namespace.is_empty() => Arc::clone(default),
                    Scope::Namespaced(_) => namespace.into(),
                    Scope::Cluster => "".into(),
                },
                name: name.into(),
            },
            uid: uid.into(),
            generation,
            annotations,
        }
    }

    /// Itself when it has a name: without one there is no object, whatever the validation.
    pub(super) fn named(self, object: &str) -> Result<Self, Vec<Rejection>> {
        if !self.key.name.is_empty() {
            return Ok(self);
        }
        Err(vec![Rejection {
            object: object.to_owned(),
            field: "metadata.name".to_owned(),
            rule: "V13",
            message: "required".to_owned(),
        }])
    }
}

fn annotations(check: &mut Check<'_>, value: Option<&Value>, path: &str) -> Labels {
    let mut annotations = Labels::new();
    for (key, value) in check.map(value, path).into_iter().flatten() {
        let place = format!("{path}[{key}]");
        // Keys are compared without regard to case here, unlike those of labels.
        if !is_label_key(&key.to_ascii_lowercase()) {
            check.wrong(&place, "V11", format!("`{key}` is no annotation key"));
        }
        let text = check
            .text(super::check::present(value), &place)
            .unwrap_or_default();
        annotations.insert(key.as_str().into(), text.into());
    }
    our_annotations(Some(annotations))
}
