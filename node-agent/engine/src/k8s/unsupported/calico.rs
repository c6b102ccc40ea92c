//! Calico's selectors, as far as they are a list of conditions on labels that must all hold.

use std::sync::Arc;

use serde_json::Value;

use super::Reach;
use crate::model::{Operator, Requirement, Selector};

/// With one of these a policy is for hosts, and for what they forward: its selectors look at hosts, and pods' traffic
/// passes it whatever their labels are.
const FORWARDED: [&str; 3] = ["applyOnForward", "preDNAT", "doNotTrack"];

/// Whom a policy with this `spec` may apply to. Without `types`, what rules it has say the directions: with none,
/// it is for ingress.
pub(super) fn reach(spec: Option<&Value>) -> Reach {
    let get = |field: &str| spec.and_then(|spec| spec.get(field));
    let is_on = |field: &&str| get(field).and_then(Value::as_bool) == Some(true);
    let is_of_hosts = FORWARDED.iter().any(is_on);
    let text = |field: &str| get(field).and_then(Value::as_str);
    let expression = |field: &str| match text(field).filter(|_| !is_of_hosts) {
        Some(text) => selector(text),
        None => Selector::default(),
    };
    let types = get("types").and_then(Value::as_array);
    let types = types.filter(|types| !types.is_empty());
    let has = |name: &str| types.map(|types| types.iter().any(|wanted| wanted == name));
    let rules = |field: &str| {
        let rules = get(field).and_then(Value::as_array);
        rules.is_some_and(|rules| !rules.is_empty())
    };
    Reach {
        namespaces: expression("namespaceSelector"),
        pods: expression("selector"),
        ingress: has("Ingress").unwrap_or_else(|| rules("ingress") || !rules("egress")),
        egress: has("Egress").unwrap_or_else(|| rules("egress")),
    }
}

/// What an expression demands of labels. What is not understood is left out, and a choice is not understood at all:
/// more is selected then.
fn selector(expression: &str) -> Selector {
    let conditions = expression.split("&&").map(str::trim);
    // A text may hold what looks like an operator.
    let is_cut = |condition: &str| {
        let count = |quote: char| condition.matches(quote).count();
        !count('\'').is_multiple_of(2) || !count('"').is_multiple_of(2)
    };
    // Within parentheses a condition may be denied, with others.
    let is_grouped = expression.replace("has(", "").contains('(');
    let is_choice = expression.contains("||");
    let is_understood = !is_grouped && !is_choice && !conditions.clone().any(is_cut);
    let requirements = match is_understood {
        true => conditions.filter_map(requirement).collect(),
        false => Vec::new(),
    };
    Selector { requirements }
}

fn requirement(condition: &str) -> Option<Requirement> {
    let has = |condition: &str| {
        let inner = condition.strip_prefix("has(")?.strip_suffix(')')?;
        label(inner)
    };
    if let Some(key) = has(condition) {
        let operator = Operator::Exists;
        return Some(Requirement { key, operator });
    }
    if let Some(key) = condition
        .strip_prefix('!')
        .and_then(|rest| has(rest.trim_start()))
    {
        let operator = Operator::DoesNotExist;
        return Some(Requirement { key, operator });
    }
    let (key, rest) = condition.split_at(condition.find([' ', '=', '!'])?);
    let key = label(key)?;
    let rest = rest.trim_start();
    let operator = if let Some(value) = rest.strip_prefix("==") {
        Operator::In(vec![quoted(value)?])
    } else if let Some(value) = rest.strip_prefix("!=") {
        Operator::NotIn(vec![quoted(value)?])
    } else if let Some(values) = rest.strip_prefix("in ") {
        Operator::In(set(values)?)
    } else if let Some(values) = rest.strip_prefix("not in ") {
        Operator::NotIn(set(values)?)
    } else {
        return None;
    };
    Some(Requirement { key, operator })
}

/// A label that objects carry themselves: Calico adds others of its own.
fn label(key: &str) -> Option<Arc<str>> {
    let key = key.trim();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    let is_added = key.starts_with("projectcalico.org/")
        || key.starts_with("pcns.")
        || key.starts_with("pcsa.");
    (!key.is_empty() && key.chars().all(is_plain) && !is_added).then(|| key.into())
}

fn quoted(value: &str) -> Option<Arc<str>> {
    let value = value.trim();
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = inner('\'').or_else(|| inner('"'))?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    value.chars().all(is_plain).then(|| value.into())
}

fn set(values: &str) -> Option<Vec<Arc<str>>> {
    let inner = values.trim().strip_prefix('{')?.strip_suffix('}')?;
    inner.split(',').map(quoted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_narrows_and_what_is_not_does_not() {
        let of = |key: &str, operator: Operator| Requirement {
            key: key.into(),
            operator,
        };
        let values = |values: &[&str]| values.iter().map(|value| Arc::from(*value)).collect();
        for (expression, wanted) in [
            ("", vec![]),
            ("all()", vec![]),
            (
                "app == 'db'",
                vec![of("app", Operator::In(values(&["db"])))],
            ),
            ("app=='db'", vec![of("app", Operator::In(values(&["db"])))]),
            (
                "app != \"db\"",
                vec![of("app", Operator::NotIn(values(&["db"])))],
            ),
            ("has(app)", vec![of("app", Operator::Exists)]),
            ("!has(a.b/c)", vec![of("a.b/c", Operator::DoesNotExist)]),
            (
                "tier in {'a', 'b'} && role not in { 'c' }",
                vec![
                    of("tier", Operator::In(values(&["a", "b"]))),
                    of("role", Operator::NotIn(values(&["c"]))),
                ],
            ),
            (
                "app == 'db' && projectcalico.org/namespace == 'shop'",
                vec![of("app", Operator::In(values(&["db"])))],
            ),
            ("app == 'db' || app == 'web'", vec![]),
            ("(app == 'db')", vec![]),
            ("!(app == 'db')", vec![]),
            ("app starts with 'd'", vec![]),
            (
                "app contains 'd' && has(b)",
                vec![of("b", Operator::Exists)],
            ),
            ("!(has(a) && has(b) && has(c))", vec![]),
            ("has(a) && !(has(b) && has(c))", vec![]),
            ("global()", vec![]),
            ("app != \"x && y == 'z' && w\"", vec![]),
        ] {
            assert_eq!(selector(expression).requirements, wanted, "{expression}");
        }
    }
}
