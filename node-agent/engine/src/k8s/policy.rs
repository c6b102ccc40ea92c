//! `networking.k8s.io/v1` NetworkPolicy.

use std::sync::Arc;

use serde_json::Value;

use super::check::{Check, Fields, item_path};
use super::rule::rules;
use super::selector::{labels, selector};
use super::syntax::{is_dns_label, is_dns_subdomain, is_label_key};
use super::{Decode, Rejection, our_annotations};
use crate::model::{Labels, Policy, PolicyKey, Rule, Selector};
use crate::record::Direction;

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

/// Decodes and validates a policy; `name` is what it is called in rejections.
pub(super) fn decode(
    object: &Value,
    name: &str,
    options: &Decode,
) -> Result<Policy, Vec<Rejection>> {
    let mut check = Check::new(name);
    // Servers from 1.24 to 1.27 wrote an empty status.
    let top = check.fields(
        Some(object),
        "",
        &["apiVersion", "kind", "metadata", "spec", "status"],
    );
    let metadata = metadata(&mut check, top.as_ref(), options);
    let spec = top.as_ref().and_then(|top| top.get("spec"));
    let spec = check.fields(
        spec,
        "spec",
        &["podSelector", "ingress", "egress", "policyTypes"],
    );
    let spec = Spec::read(&mut check, spec);
    // Without a name there is no object, whatever the validation.
    let unnamed = metadata.key.name.is_empty();
    check.finish(options.validation)?;
    if unnamed {
        let rejection = Rejection {
            object: name.to_owned(),
            field: "metadata.name".to_owned(),
            rule: "V13",
            message: "required".to_owned(),
        };
        return Err(vec![rejection]);
    }
    Ok(Policy {
        key: metadata.key,
        uid: metadata.uid,
        generation: metadata.generation,
        annotations: metadata.annotations,
        subject: spec.subject,
        ingress: spec.ingress,
        egress: spec.egress,
    })
}

struct Metadata {
    key: PolicyKey,
    uid: Arc<str>,
    generation: i64,
    annotations: Labels,
}

fn metadata(check: &mut Check<'_>, top: Option<&Fields<'_>>, options: &Decode) -> Metadata {
    let fields = check.fields(
        top.and_then(|top| top.get("metadata")),
        "metadata",
        &METADATA,
    );
    let get = |name: &str| fields.as_ref().and_then(|fields| fields.get(name));
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
    Metadata {
        key: PolicyKey {
            kind: "NetworkPolicy".into(),
            namespace: if namespace.is_empty() {
                Arc::clone(&options.default_namespace)
            } else {
                namespace.into()
            },
            name: name.into(),
        },
        uid: uid.into(),
        generation,
        annotations,
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

#[derive(Default)]
struct Spec {
    subject: Selector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

impl Spec {
    fn read(check: &mut Check<'_>, fields: Option<Fields<'_>>) -> Self {
        let get = |name: &str| fields.as_ref().and_then(|fields| fields.get(name));
        let subject = selector(check, get("podSelector"), "spec.podSelector").unwrap_or_default();
        let ingress = rules(check, get("ingress"), Direction::Ingress);
        let egress = rules(check, get("egress"), Direction::Egress);
        let written = check.texts(get("policyTypes"), "spec.policyTypes");
        types_are_legal(check, &written);
        let types = Types::of(&written, &egress);
        Self {
            subject,
            ingress: types.ingress.then_some(ingress),
            egress: types.egress.then_some(egress),
        }
    }
}

fn types_are_legal(check: &mut Check<'_>, written: &[&str]) {
    if written.len() > 2 {
        check.wrong("spec.policyTypes", "V12", "at most two");
        return;
    }
    for (index, found) in written.iter().enumerate() {
        if !matches!(*found, "Ingress" | "Egress") {
            check.wrong(
                &item_path("spec.policyTypes", index),
                "V12",
                format!("`{found}` is neither Ingress nor Egress"),
            );
        }
    }
}

/// In which directions a policy isolates.
struct Types {
    ingress: bool,
    egress: bool,
}

impl Types {
    /// When nothing is written: ingress always, egress when it has a rule (R3).
    fn of(written: &[&str], egress: &[Rule]) -> Self {
        if written.is_empty() {
            return Self {
                ingress: true,
                egress: !egress.is_empty(),
            };
        }
        Self {
            ingress: written.contains(&"Ingress"),
            egress: written.contains(&"Egress"),
        }
    }
}
