//! Label selectors: whether they match, and how they are written.
//!
//! Selectors are validated at the border (`k8s`); one that cannot match, such as `in ()`, matches nothing (R8).

use std::fmt;
use std::sync::Arc;

use crate::model::{Labels, Operator, Requirement, Selector};

impl Selector {
    /// Whether every requirement holds; an empty selector matches everything (R5).
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels))
    }

    /// A selector for exactly these labels, as `matchLabels` has it.
    pub fn equal_to<K, V>(labels: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.into(),
                operator: Operator::In(vec![value.into()]),
            })
            .collect();
        Self { requirements }
    }
}

impl Requirement {
    /// Whether it holds for these labels. Keys and values are compared byte by byte, `""` is a value (R6).
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.of(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    /// What these labels have where this requirement looks, as `key=value`.
    #[must_use]
    pub fn found_in(&self, labels: &Labels) -> String {
        match labels.get(&self.key) {
            Some(value) => format!("{}={value}", self.key),
            None => format!("no label {}", self.key),
        }
    }
}

/// As kubectl writes it: `app=web,tier in (a,b),!legacy`; `<everything>` when it is empty.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("<everything>");
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

/// As kubectl writes it; `in` with one value is written `key=value`, because `matchLabels` is kept that way.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::In(values) => match values.as_slice() {
                [value] => write!(f, "{key}={value}"),
                several => write!(f, "{key} in ({})", joined(several)),
            },
            Operator::NotIn(values) => write!(f, "{key} notin ({})", joined(values)),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

fn joined(values: &[Arc<str>]) -> String {
    let mut sorted: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    sorted.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| (Arc::from(*key), Arc::from(*value)))
            .collect()
    }

    fn one(key: &str, operator: Operator) -> Selector {
        Selector {
            requirements: vec![Requirement {
                key: key.into(),
                operator,
            }],
        }
    }

    fn values(list: &[&str]) -> Vec<Arc<str>> {
        list.iter().map(|value| Arc::from(*value)).collect()
    }

    #[test]
    fn selectors_match() {
        let web = labels(&[("app", "web"), ("empty", "")]);
        let table = [
            ("everything", Selector::default(), true),
            ("equal", Selector::equal_to([("app", "web")]), true),
            ("case counts", Selector::equal_to([("app", "Web")]), false),
            (
                "empty value present",
                Selector::equal_to([("empty", "")]),
                true,
            ),
            (
                "empty value absent",
                Selector::equal_to([("gone", "")]),
                false,
            ),
            ("in", one("app", Operator::In(values(&["db", "web"]))), true),
            ("in nothing", one("app", Operator::In(vec![])), false),
            (
                "notin present",
                one("app", Operator::NotIn(values(&["web"]))),
                false,
            ),
            (
                "notin absent",
                one("gone", Operator::NotIn(values(&["web"]))),
                true,
            ),
            ("exists empty", one("empty", Operator::Exists), true),
            ("exists absent", one("gone", Operator::Exists), false),
            ("does not exist", one("gone", Operator::DoesNotExist), true),
            (
                "does not exist but empty",
                one("empty", Operator::DoesNotExist),
                false,
            ),
        ];
        for (name, selector, expected) in table {
            assert_eq!(selector.matches(&web), expected, "{name}");
        }
    }

    #[test]
    fn selectors_read_as_kubectl_writes_them() {
        let table = [
            (Selector::default(), "<everything>"),
            (
                Selector::equal_to([("app", "web"), ("tier", "a")]),
                "app=web,tier=a",
            ),
            (one("a", Operator::In(values(&["z", "b"]))), "a in (b,z)"),
            (one("a", Operator::NotIn(values(&["z"]))), "a notin (z)"),
            (one("a", Operator::Exists), "a"),
            (one("a", Operator::DoesNotExist), "!a"),
        ];
        for (selector, expected) in table {
            assert_eq!(selector.to_string(), expected);
        }
    }
}
