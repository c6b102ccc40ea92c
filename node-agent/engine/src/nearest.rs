//! The rule that came nearest to allowing a connection.

use std::sync::Arc;

use crate::model::Policy;
use crate::verdict::{Missed, NearestMiss, PolicyRef, RuleRef};
use crate::walk::{Place, Question};

/// The place that misses the fewest conditions; among equals the first policy by key, then the first rule,
/// peer and port. Absent when no isolating policy has a rule with a place.
pub(crate) fn nearest(question: &Question<'_>, policies: &[Arc<Policy>]) -> Option<NearestMiss> {
    let mut nearest: Option<(&Policy, usize, Place, Vec<Missed>)> = None;
    for policy in policies {
        for (index, rule) in policy.rules(question.direction).iter().enumerate() {
            for (place, missed) in question.places(policy, rule) {
                let nearer = nearest
                    .as_ref()
                    .is_none_or(|(.., fewest)| missed.len() < fewest.len());
                if nearer {
                    nearest = Some((policy, index, place, missed));
                }
            }
        }
    }
    let (policy, rule, place, missed) = nearest?;
    let rule = RuleRef {
        policy: PolicyRef::of(policy),
        rule,
        peer: place.peer,
        port: place.port,
    };
    Some(NearestMiss { rule, missed })
}
