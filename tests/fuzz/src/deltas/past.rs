//! The past against the states that there were.

use naive::{Answer, Question};
use node_agent_engine::{Brief, Moment, Throughout};

use super::{Lived, SECOND_NS, between, connection, says};

/// How many of the latest states are asked about.
const MOST_BACK: usize = 4;

/// In each of the latest states the engine says what the rules say of it, and it knows whether all since then say
/// the same.
pub(super) fn check(lived: &Lived, question: &Question) {
    let (connection, profile) = connection(&lived.cluster, question, lived.now);
    let between = between(question, &connection);
    let mut since: Vec<Answer> = Vec::new();
    let mut later = None;
    for (back, (at, objects)) in lived.states.iter().rev().take(MOST_BACK).enumerate() {
        let answer = objects.answer(question);
        since.push(answer);
        // Of several states at one moment the last one is the state then.
        if later.replace(*at) == Some(*at) {
            continue;
        }
        let within = match back % 2 {
            0 => *at,
            _ => at.plus(SECOND_NS / 2),
        };
        let then = lived.cluster.as_of(within, &[question.from, question.to]);
        let brief = then.map(|then| then.decide_anew(&between, profile));
        if brief.is_none_or(|brief| !is(&brief, answer)) {
            lived.show();
            panic!("{question:?} as of {within:?}: {brief:?}, by the rules {answer:?}");
        }
        let said = lived
            .cluster
            .throughout(&between, profile, *at, Moment(u64::MAX));
        let is_right = match said {
            Throughout::Same(brief) => since.iter().all(|answer| is(&brief, *answer)),
            Throughout::Differs => since.iter().any(|other| *other != answer),
            Throughout::NotKept => false,
        };
        if !is_right {
            lived.show();
            panic!("{question:?} since {at:?}: {said:?}, by the rules, latest first, {since:?}");
        }
    }
}

fn is(brief: &Brief, answer: Answer) -> bool {
    let said = (says(brief.verdict), says(brief.egress), says(brief.ingress));
    said == (answer.verdict(), answer.egress, answer.ingress)
}
