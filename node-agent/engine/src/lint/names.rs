//! The names of policies: N35.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde_json::Value;

use super::tiers::SINGLE;
use super::world::kind;
use super::written::object_name;
use super::{Check, Finding, Options, Severity, is_policy};

/// What the name of a policy has to match, anywhere in it unless it is anchored.
#[derive(Clone, Debug)]
pub struct NamePattern(Regex);

impl FromStr for NamePattern {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn check(objects: &[Value], options: &Options, findings: &mut Vec<Finding>) {
    let Some(pattern) = &options.name_pattern else {
        return;
    };
    for (source, object) in objects.iter().enumerate() {
        let name = object_name(object, options);
        if !is_policy(object) || kind(object).1 == SINGLE || pattern.0.is_match(&name.name) {
            continue;
        }
        findings.push(Finding {
            check: Check::N35,
            severity: Severity::Warning,
            source,
            field: "metadata.name".to_owned(),
            wrong: format!("`{}` does not match the pattern `{pattern}`", name.name),
            effect: "who looks for it by name does not find it".to_owned(),
            fix: Some(
                "rename it; a policy under a new name is a new object, so delete the old one"
                    .to_owned(),
            ),
            object: name,
        });
    }
}
