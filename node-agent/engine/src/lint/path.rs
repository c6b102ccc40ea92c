//! Paths of fields, `spec.ingress[0].from[1].podSelector.matchLabels[app]`.

use serde_json::Value;

/// The steps of a path: names of fields and, from brackets, numbers of items or keys of a map.
///
/// A key in brackets may hold dots.
#[must_use]
pub fn steps(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (step, after) = bracket.split_once(']').unwrap_or((bracket, ""));
            steps.push(step);
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (step, after) = rest.split_at(end);
            if !step.is_empty() {
                steps.push(step);
            }
            if after.len() == rest.len() && step.is_empty() && !after.starts_with(['[', '.']) {
                break;
            }
            rest = after;
        }
    }
    steps
}

/// What stands at a path.
pub(super) fn at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    steps(path).into_iter().try_fold(object, step)
}

/// What stands around a path.
pub(super) fn parent<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    let steps = steps(path);
    let (_, around) = steps.split_last()?;
    around.iter().copied().try_fold(object, step)
}

fn step<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(step),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_falls_into_its_steps() {
        let table: [(&str, &[&str]); 6] = [
            ("", &[]),
            ("spec", &["spec"]),
            (
                "spec.ingress[0].from[12]",
                &["spec", "ingress", "0", "from", "12"],
            ),
            (
                "a.matchLabels[app.kubernetes.io/name]",
                &["a", "matchLabels", "app.kubernetes.io/name"],
            ),
            ("a..b", &["a", "b"]),
            ("a[", &["a", ""]),
        ];
        for (path, expected) in table {
            assert_eq!(steps(path), expected, "{path}");
        }
    }
}
