//! The rule that came nearest to allowing a connection.

use std::sync::Arc;

use crate::model::{Policy, Rule};
use crate::verdict::{NearestMiss, PolicyRef, RuleRef};
use crate::walk::{Place, Question};

/// The place that misses the fewest conditions; among equals the first policy by key, then the first rule,
/// peer and port. Absent when no isolating policy has a rule with a place, and when the nearest one may match: it is
/// not known who is at the other end, and nothing is missed. Every place is known to miss `least` conditions, so
/// none is nearer than the first that misses no more.
pub(crate) fn nearest(
    question: &Question<'_>,
    policies: &[Arc<Policy>],
    least: usize,
) -> Option<NearestMiss> {
    let mut nearest: Option<Candidate<'_>> = None;
    'nearer: for policy in policies.iter().filter(|policy| policy.isolates()) {
        for (index, rule) in policy.rules(question.direction).iter().enumerate() {
            let Some((place, missed)) = question.nearest_place(policy, rule) else {
                continue;
            };
            if nearest
                .as_ref()
                .is_none_or(|nearest| missed < nearest.missed)
            {
                nearest = Some(Candidate {
                    policy,
                    index,
                    rule,
                    place,
                    missed,
                });
                if missed <= least {
                    break 'nearer;
                }
            }
        }
    }
    let Candidate {
        policy,
        index,
        rule,
        place,
        ..
    } = nearest?;
    let missed = question.missed_at(policy, rule, place);
    if missed.is_empty() {
        return None;
    }
    let rule = RuleRef {
        policy: PolicyRef::of(policy),
        rule: index,
        peer: place.peer,
        port: place.port,
    };
    Some(NearestMiss { rule, missed })
}

struct Candidate<'a> {
    policy: &'a Policy,
    index: usize,
    rule: &'a Rule,
    place: Place,
    missed: usize,
}
