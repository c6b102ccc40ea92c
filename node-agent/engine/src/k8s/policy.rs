//! `networking.k8s.io/v1` NetworkPolicy.

use serde_json::Value;

use super::check::{Check, Fields, item_path};
use super::metadata::{Metadata, Scope};
use super::rule::rules;
use super::selector::selector;
use super::{Decode, Rejection};
use crate::model::{NamespaceMatch, Policy, Rule, Selector, Subject, Tier, Unmatched};
use crate::record::Direction;

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
    let scope = Scope::Namespaced(&options.default_namespace);
    let metadata = Metadata::read(&mut check, top.as_ref(), "NetworkPolicy", &scope);
    let spec = top.as_ref().and_then(|top| top.get("spec"));
    let spec = check.fields(
        spec,
        "spec",
        &["podSelector", "ingress", "egress", "policyTypes"],
    );
    let spec = Spec::read(&mut check, spec);
    check.finish(options.validation)?;
    let metadata = metadata.named(name)?;
    Ok(Policy {
        key: metadata.key,
        uid: metadata.uid,
        generation: metadata.generation,
        annotations: metadata.annotations,
        tier: Tier::NetworkPolicy,
        priority: None,
        unmatched: Unmatched::Denied,
        subject: Subject {
            namespaces: NamespaceMatch::Own,
            pods: spec.subject,
        },
        ingress: spec.ingress,
        egress: spec.egress,
    })
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
