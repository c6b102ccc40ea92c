//! Verdict against outcome: the table of what may be claimed.

use crate::outcome::Ending;
use crate::record::{Assessment, Direction, OutcomeKind};
use crate::verdict::{Decision, Kept, Side, UnknownBecause, Verdict};

/// An assessment, and why nothing is claimed when it is unknown.
pub(crate) type Assessed = (Assessment, Option<UnknownBecause>);

/// Which ends are pods of this node: the agent judges their sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) source: bool,
    pub(crate) destination: bool,
}

/// Reads the table.
pub(crate) fn assess(verdict: &Verdict, ending: &Ending) -> Assessed {
    if let Some(because) = ending.doubt {
        return (Assessment::Unknown, Some(because));
    }
    let assessed = match verdict.verdict {
        Decision::Unknown => {
            let because = verdict
                .unknown_because
                .unwrap_or(UnknownBecause::OpenInSpecification);
            (Assessment::Unknown, Some(because))
        }
        Decision::Allowed => allowed(ending.outcome),
        Decision::Denied => denied(ending),
    };
    if verdict.is_a_choice() && !(verdict.is_the_usual_choice() && is_no_problem(assessed.0)) {
        let because = UnknownBecause::OpenInSpecification;
        return (Assessment::Unknown, Some(because));
    }
    assessed
}

fn is_no_problem(assessment: Assessment) -> bool {
    match assessment {
        Assessment::Allowed | Assessment::Refused | Assessment::Unanswered => true,
        Assessment::Blocked
        | Assessment::Unenforced
        | Assessment::UnexpectedDrop
        | Assessment::Unknown => false,
    }
}

fn allowed(outcome: OutcomeKind) -> Assessed {
    match outcome {
        OutcomeKind::Answered | OutcomeKind::Delivered => (Assessment::Allowed, None),
        OutcomeKind::Refused => (Assessment::Refused, None),
        OutcomeKind::Rejected | OutcomeKind::Dropped => (Assessment::UnexpectedDrop, None),
        OutcomeKind::Unanswered => (Assessment::Unanswered, None),
        OutcomeKind::Unknown => (Assessment::Unknown, Some(UnknownBecause::Lost)),
    }
}

fn denied(ending: &Ending) -> Assessed {
    if let Some(because) = ending.doubt_if_denied {
        return (Assessment::Unknown, Some(because));
    }
    match ending.outcome {
        OutcomeKind::Answered | OutcomeKind::Delivered | OutcomeKind::Refused => {
            if ending.may_be_a_reply() || ending.may_be_unanswered() {
                return (Assessment::Unknown, Some(UnknownBecause::Orientation));
            }
            (Assessment::Unenforced, None)
        }
        OutcomeKind::Rejected | OutcomeKind::Dropped => (Assessment::Blocked, None),
        OutcomeKind::Unanswered => (Assessment::Unknown, Some(UnknownBecause::NotSeenStopped)),
        OutcomeKind::Unknown => (Assessment::Unknown, Some(UnknownBecause::Lost)),
    }
}

/// The first side on the path that denies.
pub(crate) fn direction(verdict: &Verdict) -> Option<Direction> {
    match (verdict.egress.verdict, verdict.ingress.verdict) {
        (Decision::Denied, _) => Some(Direction::Egress),
        (_, Decision::Denied) => Some(Direction::Ingress),
        (Decision::Allowed | Decision::Unknown, Decision::Allowed | Decision::Unknown) => None,
    }
}

/// Says of each side that denies whether the network kept it: what passed a side leaked there.
pub(crate) fn keep(verdict: &mut Verdict, assessment: Assessment, ending: &Ending, local: Local) {
    let reached = ending.attempt.destination_link.is_some()
        || ending.drop.as_ref().is_some_and(|drop| drop.at_destination);
    let egress_denies = verdict.egress.verdict == Decision::Denied;
    let came_from_afar = local.destination && !local.source;
    let (egress, ingress) = match assessment {
        Assessment::Unenforced => (Kept::No, Kept::No),
        // Another node may have rejected it, for either side.
        Assessment::Blocked if ending.drop.is_none() && !local.destination && egress_denies => {
            (Kept::Unknown, Kept::Unknown)
        }
        // It was stopped once, on this node: by the source's side, unless it had passed that already.
        Assessment::Blocked if reached || came_from_afar => (Kept::No, Kept::Yes),
        Assessment::Blocked if egress_denies => (Kept::Yes, Kept::Unknown),
        Assessment::Blocked => (Kept::Unknown, Kept::Yes),
        Assessment::Allowed
        | Assessment::UnexpectedDrop
        | Assessment::Refused
        | Assessment::Unanswered
        | Assessment::Unknown => (Kept::Unknown, Kept::Unknown),
    };
    let set =
        |side: &mut Side, kept| side.kept = (side.verdict == Decision::Denied).then_some(kept);
    set(&mut verdict.egress, egress);
    set(&mut verdict.ingress, ingress);
}

/// Whether an assessment is one of the findings that are written without being asked for.
pub(crate) fn is_problem(assessment: Assessment) -> bool {
    match assessment {
        Assessment::Blocked | Assessment::Unenforced | Assessment::UnexpectedDrop => true,
        Assessment::Allowed
        | Assessment::Refused
        | Assessment::Unanswered
        | Assessment::Unknown => false,
    }
}
