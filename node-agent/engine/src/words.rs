//! Answers in words, short enough for a cell of a table.

use std::fmt;

use crate::verdict::{PolicyRef, Reason, RuleRef, Side};

impl Side {
    /// Why this side says what it says, in a few words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let isolated_by = self.isolated_by.len();
        match (self.reason, &self.allowed_by, &self.nearest) {
            (Reason::Rule, Some(rule), _) => rule.to_string(),
            (Reason::Rule, None, _) => "a rule".to_owned(),
            (Reason::NoRuleMatched, _, Some(nearest)) => {
                format!("no rule, nearest {}", nearest.rule)
            }
            (Reason::NoRuleMatched, _, None) => match self.isolated_by.as_slice() {
                [policy] => format!("no rule, isolated by {policy}"),
                _ => format!("no rule, isolated by {isolated_by} policies"),
            },
            (Reason::RuleDenied, ..) => "a rule denies".to_owned(),
            (Reason::NotIsolated, ..) => "not isolated".to_owned(),
            (Reason::NotSubject, ..) => "no subject of policy".to_owned(),
            (Reason::OwnNode, ..) => "own node".to_owned(),
            (Reason::Itself, ..) => "itself".to_owned(),
            (Reason::Established, ..) => "established".to_owned(),
        }
    }
}

/// `shop/allow-db`; the kind is said unless it is NetworkPolicy.
impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if &*self.key.kind != "NetworkPolicy" {
            write!(f, "{} ", self.key.kind)?;
        }
        if !self.key.namespace.is_empty() {
            write!(f, "{}/", self.key.namespace)?;
        }
        f.write_str(&self.key.name)
    }
}

/// `shop/allow-db rule 0`.
impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.policy, self.rule)
    }
}
