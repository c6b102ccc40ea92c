//! Label selectors as they are written.

use std::sync::Arc;

use serde_json::Value;

use super::check::{Check, Fields, item_path, present};
use super::syntax::{is_label_key, is_label_value};
use crate::model::{Operator, Requirement, Selector};

/// A selector; none when it is absent. A requirement that cannot be right matches nothing (R8).
pub(super) fn selector(
    check: &mut Check<'_>,
    value: Option<&Value>,
    path: &str,
) -> Option<Selector> {
    let fields = check.fields(value, path, &["matchLabels", "matchExpressions"])?;
    let mut requirements = match_labels(
        check,
        fields.get("matchLabels"),
        &fields.path("matchLabels"),
    );
    let path = fields.path("matchExpressions");
    let expressions = check
        .list(fields.get("matchExpressions"), &path)
        .unwrap_or_default();
    for (index, expression) in expressions.iter().enumerate() {
        requirements.push(requirement(check, expression, &item_path(&path, index)));
    }
    Some(Selector { requirements })
}

/// An operator that holds for nothing (R8).
const IMPOSSIBLE: Operator = Operator::In(Vec::new());

/// A selector that matches nothing.
pub(super) fn nothing() -> Selector {
    Selector {
        requirements: vec![Requirement {
            key: "".into(),
            operator: IMPOSSIBLE,
        }],
    }
}

fn match_labels(check: &mut Check<'_>, value: Option<&Value>, path: &str) -> Vec<Requirement> {
    let labels = labels(check, value, path);
    let requirement = |(key, value): (Arc<str>, Arc<str>)| Requirement {
        key,
        operator: Operator::In(vec![value]),
    };
    labels.into_iter().map(requirement).collect()
}

/// Labels in the order of their keys; a value that is `null` is the empty one, as the API server reads it.
pub(super) fn labels(
    check: &mut Check<'_>,
    value: Option<&Value>,
    path: &str,
) -> Vec<(Arc<str>, Arc<str>)> {
    let mut labels = Vec::new();
    for (key, value) in check.map(value, path).into_iter().flatten() {
        let place = format!("{path}[{key}]");
        let value = check.text(present(value), &place).unwrap_or_default();
        key_is_legal(check, key, &place);
        value_is_legal(check, value, &place);
        labels.push((Arc::from(key.as_str()), Arc::from(value)));
    }
    labels.sort_unstable();
    labels
}

fn requirement(check: &mut Check<'_>, value: &Value, path: &str) -> Requirement {
    let Some(fields) = check.fields(present(value), path, &["key", "operator", "values"]) else {
        check.wrong(&format!("{path}.key"), "V11", "required");
        return Requirement {
            key: "".into(),
            operator: IMPOSSIBLE,
        };
    };
    let key = required(check, &fields, "key");
    if let Some(key) = key {
        key_is_legal(check, key, &fields.path("key"));
    }
    let operator = required(check, &fields, "operator");
    Requirement {
        key: key.unwrap_or_default().into(),
        operator: operator_of(check, &fields, operator),
    }
}

fn required<'v>(check: &mut Check<'_>, fields: &Fields<'v>, name: &str) -> Option<&'v str> {
    let (value, path) = (fields.get(name), fields.path(name));
    if value.is_none() {
        check.wrong(&path, "V11", "required");
    }
    check.text(value, &path)
}

fn operator_of(check: &mut Check<'_>, fields: &Fields<'_>, operator: Option<&str>) -> Operator {
    let path = fields.path("values");
    let values: Vec<Arc<str>> = check
        .texts(fields.get("values"), &path)
        .into_iter()
        .map(Arc::from)
        .collect();
    for (index, value) in values.iter().enumerate() {
        value_is_legal(check, value, &item_path(&path, index));
    }
    let Some(operator) = operator else {
        return IMPOSSIBLE;
    };
    match (operator, values.is_empty()) {
        ("In", false) => Operator::In(values),
        ("NotIn", false) => Operator::NotIn(values),
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::DoesNotExist,
        ("In" | "NotIn", true) => {
            check.wrong_selector(
                &path,
                format!("must be given when the operator is `{operator}`"),
            );
            IMPOSSIBLE
        }
        ("Exists" | "DoesNotExist", false) => {
            check.wrong_selector(
                &path,
                format!("must not be given when the operator is `{operator}`"),
            );
            IMPOSSIBLE
        }
        (other, _) => {
            check.wrong_selector(
                &fields.path("operator"),
                format!("`{other}` is no operator: In, NotIn, Exists, DoesNotExist"),
            );
            IMPOSSIBLE
        }
    }
}

fn key_is_legal(check: &mut Check<'_>, key: &str, path: &str) {
    if !is_label_key(key) {
        check.wrong_selector(path, format!("`{key}` is no label key"));
    }
}

fn value_is_legal(check: &mut Check<'_>, value: &str, path: &str) {
    if !is_label_value(value) {
        check.wrong_selector(path, format!("`{value}` is no label value"));
    }
}
