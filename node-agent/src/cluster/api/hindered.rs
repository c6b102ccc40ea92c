//! What keeps claims from being confirmed while everything else is told: a kind that may be listed and not read.
//!
//! Watches tell of a server that is away; here is only what they do not notice.

use std::collections::BTreeMap;

use super::confirm::Fresh;
use super::kinds::KINDS;
use super::notice::Notice;
use super::problem::{Concerns, Problem};

/// How many readings in a row fail before that is told: some seconds, as a server that has just begun forbids everything.
const READINGS: u32 = 3;

/// The kinds that the last readings asked for in vain.
#[derive(Default)]
pub(super) struct Hindered(BTreeMap<usize, Trouble>);

struct Trouble {
    problem: Problem,
    readings: u32,
}

impl Hindered {
    /// Takes in a reading, and says what the operator should be told. A kind that was not asked for stays as it is.
    pub(super) fn note(&mut self, fresh: &Fresh) -> Vec<Notice> {
        let kinds = fresh.by_kind().into_iter();
        kinds
            .filter_map(|(kind, problem)| match problem {
                Some(problem) => self.failed(kind, problem),
                None => self.read(kind),
            })
            .collect()
    }

    fn failed(&mut self, kind: usize, problem: &Problem) -> Option<Notice> {
        if problem.concerns() != Concerns::Kind {
            return None;
        }
        let trouble = self.0.entry(kind).or_insert_with(|| Trouble {
            problem: problem.clone(),
            readings: 0,
        });
        if !trouble.problem.is_like(problem) {
            trouble.readings = 0;
        }
        trouble.problem = problem.clone();
        trouble.readings = trouble.readings.saturating_add(1);
        let kind = KINDS.get(kind).filter(|_| trouble.readings == READINGS)?;
        Some(Notice::Unconfirmed {
            kind: kind.resource(),
            problem: problem.to_string(),
            rule: problem.is_forbidden().then(|| kind.rule_in_a_line()),
        })
    }

    fn read(&mut self, kind: usize) -> Option<Notice> {
        let trouble = self.0.remove(&kind)?;
        let kind = KINDS.get(kind).filter(|_| trouble.readings >= READINGS)?;
        Some(Notice::Confirmed {
            kind: kind.resource(),
        })
    }
}
