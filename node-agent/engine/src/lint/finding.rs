//! What was found, and where.

use serde::Serialize;

use super::{Check, Severity};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// The object it is in.
    pub object: ObjectName,
    /// The place of that object among those given.
    pub source: usize,
    /// Path of the field, `spec.egress[0].to[0]`; empty for the object as a whole.
    pub field: String,
    /// What is wrong, without a full stop.
    pub wrong: String,
    /// What it does instead of what was meant, without a full stop.
    pub effect: String,
    /// What to write instead; absent when there is more than one way.
    pub fix: Option<String>,
}

/// What names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ObjectName {
    /// Kind.
    pub kind: String,
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Finding {
    /// What is wrong and what it does, as one sentence.
    #[must_use]
    pub fn message(&self) -> String {
        if self.effect.is_empty() {
            return self.wrong.clone();
        }
        format!("{}: {}", self.wrong, self.effect)
    }

    /// A finding in an object, which is named with its place among those given.
    pub(super) fn new(
        check: Check,
        severity: Severity,
        (object, source): (ObjectName, usize),
        field: impl Into<String>,
        wrong: impl Into<String>,
        effect: impl Into<String>,
    ) -> Self {
        Self {
            check,
            severity,
            object,
            source,
            field: field.into(),
            wrong: wrong.into(),
            effect: effect.into(),
            fix: None,
        }
    }

    pub(super) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Where it stands among all findings.
    pub(super) fn place(&self) -> (usize, Check, &str, &str) {
        (self.source, self.check, &self.field, &self.wrong)
    }
}
