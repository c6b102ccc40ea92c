//! What is wrong with the text of a policy, whatever the cluster: N11 to N13, N15, N16, N22.

mod fields;
mod refused;

use serde_json::Value;

use super::path::{at, parent, steps};
use super::policy::{DIRECTIONS, list, peer_field};
use super::world::text_at;
use super::{Check, Finding, ObjectName, Options, Severity};
use crate::k8s::{self, Decode, Rejection, Validation};
use crate::record::Direction;
use fields::Around;

/// Checks one policy as it is written.
pub(super) fn check(source: usize, object: &Value, options: &Options, findings: &mut Vec<Finding>) {
    let place = Written {
        source,
        object,
        name: object_name(object, options),
    };
    place.legality(options, findings);
    place.policy_types(findings);
    for (field, selector) in selectors(object) {
        place.null_labels(&field, selector, findings);
        place.null_values(&field, selector, findings);
    }
}

/// Checks only whether the API server would take an object.
pub(super) fn legality(
    source: usize,
    object: &Value,
    options: &Options,
    findings: &mut Vec<Finding>,
) {
    let mut name = object_name(object, options);
    name.namespace.clear();
    let place = Written {
        source,
        object,
        name,
    };
    place.legality(options, findings);
}

/// What an object is called; its namespace is the default one when it names none.
pub(super) fn object_name(object: &Value, options: &Options) -> ObjectName {
    let text = |path: &[&str]| text_at(object, path).unwrap_or_default().to_owned();
    let namespace = text(&["metadata", "namespace"]);
    ObjectName {
        kind: text(&["kind"]),
        namespace: if namespace.is_empty() {
            options.default_namespace.to_string()
        } else {
            namespace
        },
        name: text(&["metadata", "name"]),
    }
}

struct Written<'a> {
    source: usize,
    object: &'a Value,
    name: ObjectName,
}

impl Written<'_> {
    /// N15 and N22: what the API server refuses.
    fn legality(&self, options: &Options, findings: &mut Vec<Finding>) {
        let decode = Decode {
            default_namespace: options.default_namespace.clone(),
            validation: Validation::Strict,
        };
        let Err(rejections) = k8s::decode(self.object, &decode) else {
            return;
        };
        for rejection in rejections {
            if rejection.rule == "V15" {
                findings.push(self.unknown_field(&rejection));
            } else {
                findings.push(self.refused(&rejection));
            }
        }
    }

    fn refused(&self, rejection: &Rejection) -> Finding {
        let Rejection {
            field,
            rule,
            message,
            ..
        } = rejection;
        let finding = self.finding(
            Check::N22,
            field,
            format!("{message} ({rule})"),
            "the API server refuses the whole policy, so nothing of it holds",
        );
        match refused::fix(self.object, rejection) {
            Some(fix) => finding.with_fix(fix),
            None => finding,
        }
    }

    fn unknown_field(&self, rejection: &Rejection) -> Finding {
        let steps = steps(&rejection.field);
        let name = steps.last().copied().unwrap_or_default();
        let around = Around::of(&steps);
        let remains = parent(self.object, &rejection.field)
            .and_then(Value::as_object)
            .is_some_and(|fields| fields.keys().any(|key| around.knows(key)));
        let pruned = around.without(remains);
        let effect = format!("kubectl refuses it; other clients drop the field, and then {pruned}");
        let finding = self.finding(
            Check::N15,
            &rejection.field,
            format!("`{name}`: {}", rejection.message),
            effect,
        );
        match around.fix(name, at(self.object, &rejection.field)) {
            Some(fix) => finding.with_fix(fix),
            None => finding,
        }
    }

    /// N11, N12 and N13: what policyTypes makes of the rules (R3).
    fn policy_types(&self, findings: &mut Vec<Finding>) {
        let spec = |field: &str| self.object.get("spec").and_then(|spec| spec.get(field));
        let items = |field: &str| spec(field).and_then(Value::as_array);
        let count = |field: &str| items(field).map_or(0, Vec::len);
        let types = items("policyTypes").filter(|types| !types.is_empty());
        if let Some(types) = types {
            for direction in DIRECTIONS {
                let (field, kind) = words(direction);
                let is_listed = types.iter().any(|found| found.as_str() == Some(kind));
                if !is_listed && count(field) > 0 {
                    findings.push(
                        self.finding(
                            Check::N11,
                            &format!("spec.{field}"),
                            format!(
                                "there are {field} rules, but policyTypes does not list {kind}"
                            ),
                            format!("they are ignored, and the policy says nothing about {field}"),
                        )
                        .with_fix(format!("add {kind} to policyTypes")),
                    );
                }
            }
            return;
        }
        if count("egress") > 0 && spec("ingress").is_none_or(Value::is_null) {
            findings.push(
                self.finding(
                    Check::N12,
                    "spec.egress",
                    "there are egress rules only, and no policyTypes",
                    "the type Ingress is added all the same, and without a rule for it all ingress is denied",
                )
                .with_fix("write `policyTypes: [Egress]`, or [Ingress, Egress] if that was meant"),
            );
        }
        let is_empty =
            |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if spec("egress").is_some_and(is_empty) {
            let mut finding = self
                .finding(
                    Check::N13,
                    "spec.egress",
                    "an empty egress list without policyTypes",
                    "the policy is for ingress only, and all egress stays allowed",
                )
                .with_fix("write `policyTypes: [Ingress, Egress]`, or [Egress] alone");
            finding.severity = Severity::Warning;
            findings.push(finding);
        }
    }

    /// N16: labels that came to nothing, usually a template's value that is not set.
    fn null_labels(&self, field: &str, selector: &Value, findings: &mut Vec<Finding>) {
        let Some(fields) = selector.as_object() else {
            return;
        };
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        let what = if field.ends_with("namespaceSelector") {
            "every namespace"
        } else {
            "every pod"
        };
        let matches_all = fields.values().all(is_empty);
        for (name, value) in fields
            .iter()
            .filter(|(name, _)| KNOWN.contains(&name.as_str()))
        {
            let (severity, found) = match value {
                Value::Null => (Severity::Error, "null"),
                Value::Object(_) if is_empty(value) && matches_all => (Severity::Error, "empty"),
                value if is_empty(value) && matches_all => (Severity::Warning, "empty"),
                _ => continue,
            };
            let effect = if matches_all {
                format!("the selector matches {what}")
            } else {
                "only the other requirements count".to_owned()
            };
            let mut finding = self
                .finding(
                    Check::N16,
                    &format!("{field}.{name}"),
                    format!("`{name}` is {found}"),
                    effect,
                )
                .with_fix(format!(
                    "write the labels; if {what} is meant, say so with `{{}}`"
                ));
            finding.severity = severity;
            findings.push(finding);
        }
    }

    /// N16: a label that has no value.
    fn null_values(&self, field: &str, selector: &Value, findings: &mut Vec<Finding>) {
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        for (key, _) in labels
            .into_iter()
            .flatten()
            .filter(|(_, value)| value.is_null())
        {
            findings.push(self.finding(
                Check::N16,
                &format!("{field}.matchLabels[{key}]"),
                format!("the value of label `{key}` is null"),
                "that is read as the empty value, which few objects have",
            ));
        }
    }

    fn finding(
        &self,
        check: Check,
        field: &str,
        wrong: impl Into<String>,
        effect: impl Into<String>,
    ) -> Finding {
        let object = (self.name.clone(), self.source);
        Finding::new(check, Severity::Error, object, field, wrong, effect)
    }
}

const KNOWN: [&str; 2] = ["matchLabels", "matchExpressions"];

fn words(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Ingress => ("ingress", "Ingress"),
        Direction::Egress => ("egress", "Egress"),
    }
}

/// Every selector of a policy, with its path.
fn selectors(object: &Value) -> Vec<(String, &Value)> {
    let Some(spec) = object.get("spec") else {
        return Vec::new();
    };
    let mut found: Vec<(String, &Value)> = Vec::new();
    found.extend(
        spec.get("podSelector")
            .map(|selector| ("spec.podSelector".to_owned(), selector)),
    );
    for direction in DIRECTIONS {
        let rules = spec.get(words(direction).0).and_then(Value::as_array);
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            let peers = rule.get(list(direction)).and_then(Value::as_array);
            for (at, peer) in peers.into_iter().flatten().enumerate() {
                let path = peer_field(direction, index, at);
                let selector = |name: &str| {
                    peer.get(name)
                        .map(|selector| (format!("{path}.{name}"), selector))
                };
                found.extend(selector("podSelector"));
                found.extend(selector("namespaceSelector"));
            }
        }
    }
    found
}
