//! Joins an ending with what policy says of it, or says what it has to wait for.

mod unled;
mod written;

use crate::Moment;
use crate::assessment::{Assessed, assess, is_problem};
use crate::cluster::{Cluster, Throughout};
use crate::connection::{Between, Profile};
use crate::ends::Ends;
use crate::input::{Flow, Link};
use crate::links::Links;
use crate::model::{Pod, Protocol};
use crate::options::Options;
use crate::outcome::{Ending, UDP_REMEMBERED_NS};
use crate::record::{Assessment, Cause, Connection, OutcomeKind};
use crate::verdict::{UnknownBecause, Verdict};
use crate::waiting::{Confirmation, For, Held};

/// How long the drop behind a rejection may take to be told: both are written within one system call of the
/// kernel, and read within one drain of the ring buffer, every 50 ms.
const DROP_FOLLOWS_NS: u64 = 100_000_000;

/// What became of an ending.
pub(crate) enum Judgement {
    /// It is judged.
    Made(Box<Connection>),
    /// It has to wait.
    Wait { until: Moment, waits_for: For },
    /// Its packets were seen again behind translation, and that is what is judged.
    ToldBehind,
}

/// What a judgement rests on.
pub(crate) struct Judge<'a> {
    pub(crate) options: &'a Options,
    pub(crate) cluster: &'a Cluster,
    pub(crate) links: &'a Links,
    /// When the cluster was last heard of.
    pub(crate) heard: Moment,
    /// What was lost at or after a moment.
    pub(crate) lost_at: Option<Moment>,
    pub(crate) lost_total: u64,
}

struct Case {
    ends: Ends,
    verdict: Verdict,
    assessed: Assessed,
    settled: Moment,
    start_window_s: Option<f64>,
    cause: Option<Cause>,
}

impl Case {
    /// What was held for a claim that its verdict bears no more: the verdict changed meanwhile.
    fn drop_claim(&mut self, held: &Held) {
        if held.waits_for == For::Claim && self.assessed.0 != Assessment::Unknown {
            self.assessed = (Assessment::Unknown, Some(UnknownBecause::InFlux));
        }
    }
}

impl Judge<'_> {
    /// Judges an ending, unless it has to wait.
    pub(crate) fn judge(&self, now: Moment, held: &Held) -> Judgement {
        let ending = &held.ending;
        if self.is_told_behind(ending) {
            return Judgement::ToldBehind;
        }
        let follows = ending.at.plus(DROP_FOLLOWS_NS);
        if held.is_early && ending.drop_may_follow() && now < follows {
            return Judgement::Wait {
                until: follows,
                waits_for: For::Drop,
            };
        }
        let mut case = self.case(ending);
        let known_by = ending.at.plus(self.options.grace_ns);
        let ends = &case.ends;
        let is_known = !ends.unsure && !ends.may_be_taken_over && !ends.may_become_known;
        if !is_known && now < known_by {
            return Judgement::Wait {
                until: known_by,
                waits_for: For::Identity,
            };
        }
        if needs_confirmation(case.assessed.0) {
            let due = ending.attempt.first.plus(self.options.confirm_ns);
            let too_long = |since: Moment| now.since(since) > self.options.stale_after_ns;
            let is_given = matches!(held.confirmation, Confirmation::Given(_));
            let confirmed = now >= due && is_given;
            let asked_since = ending.asked_since(self.options);
            let stale = too_long(self.heard) || (!confirmed && too_long(asked_since));
            if !stale && !confirmed {
                return Judgement::Wait {
                    until: due,
                    waits_for: For::Claim,
                };
            }
            self.hold_up(&mut case, ending, stale);
        } else {
            case.drop_claim(held);
            self.drop_younger_denial(&mut case, ending);
        }
        Judgement::Made(Box::new(self.write(case, ending)))
    }

    /// What a claim that is due would be if what it rests on were read afresh now.
    pub(crate) fn claim(&self, now: Moment, held: &mut Held) -> Option<Box<Connection>> {
        held.confirmation = Confirmation::Given(now);
        let judgement = self.judge(now, held);
        held.confirmation = Confirmation::None;
        match judgement {
            Judgement::Made(connection) => Some(connection),
            Judgement::Wait { .. } | Judgement::ToldBehind => None,
        }
    }

    /// When what the verdict on an ending rests on last changed.
    pub(crate) fn settled(&self, ending: &Ending) -> Moment {
        Ends::of(self.cluster, self.links, ending).settled_since(self.cluster)
    }

    /// Judges an ending that can wait no longer: no claim that needs confirmation is made. `None` for one that is
    /// told of behind translation.
    pub(crate) fn judge_at_the_end(&self, held: &Held) -> Option<Connection> {
        if self.is_told_behind(&held.ending) {
            return None;
        }
        let mut case = self.case(&held.ending);
        if needs_confirmation(case.assessed.0) {
            case.assessed = (Assessment::Unknown, Some(UnknownBecause::Stale));
        } else {
            case.drop_claim(held);
        }
        Some(self.write(case, &held.ending))
    }

    /// Whether it is an attempt of its own at the interface of a pod of this node: with another source nothing there
    /// tells that the two are one.
    fn is_told_behind(&self, ending: &Ending) -> bool {
        let Flow {
            source,
            destination,
            ..
        } = ending.flow;
        ending.attempt.source_link.is_some()
            && ending.seen_from.is_some()
            && (destination == source || self.links.lead_to(destination))
    }

    fn case(&self, ending: &Ending) -> Case {
        let ends = Ends::of(self.cluster, self.links, ending);
        let verdict = ends.verdict(self.cluster, self.options.profile);
        let mut cause = ending.cause;
        let mut assessed = assess(&verdict, ending);
        if let Some(because) = self.doubt(&ends, ending) {
            assessed = (Assessment::Unknown, Some(because));
        } else if self.is_too_old_for(assessed.0, &ends, ending) {
            assessed = (Assessment::Unknown, Some(UnknownBecause::Orientation));
        } else if self.has_no_backend(&ends, ending) {
            cause = Some(Cause::NoEndpoints);
            assessed = (Assessment::Refused, None);
        } else if is_problem(assessed.0) && self.may_be_shut_out(&ends, ending) {
            assessed = (Assessment::Unknown, Some(UnknownBecause::Backend));
        }
        if assessed == (Assessment::Unknown, Some(UnknownBecause::NotSeenStopped))
            && ending.outcome == OutcomeKind::Unanswered
            && ends.leads_to_other_node(self.cluster, &self.options.node)
        {
            assessed.1 = Some(UnknownBecause::LeftNode);
        }
        // With Cilium a node's end of a tunnel, which no object names, is a node, and no block of addresses holds it.
        let may_be_cilium = match self.options.profile {
            Profile::Cilium | Profile::Disputed => true,
            Profile::Generic | Profile::KubeRouter | Profile::Calico => false,
        };
        let may_be_a_node = ends.may_be_of_cluster && may_be_cilium;
        if may_be_a_node && needs_confirmation(assessed.0) {
            assessed = (Assessment::Unknown, Some(UnknownBecause::Identity));
        }
        if assessed.0 == Assessment::Unenforced
            && ends.are_answered_for(self.cluster, &self.options.node, ending)
        {
            assessed = (Assessment::Unknown, Some(UnknownBecause::SourceMismatch));
        }
        let settled = ends.settled_since(self.cluster);
        Case {
            ends,
            verdict,
            assessed,
            settled,
            start_window_s: None,
            cause,
        }
    }

    /// What forbids every claim, whatever policy says.
    fn doubt(&self, ends: &Ends, ending: &Ending) -> Option<UnknownBecause> {
        if self.comes_from_elsewhere(ending) || self.is_taken(ends, ending) {
            return Some(UnknownBecause::SourceMismatch);
        }
        ends.unsure
            .then(|| ends.doubt(self.cluster, self.links, ending))
    }

    /// Whether a claim would say more of a UDP conversation than is known when it may be an older one.
    fn is_too_old_for(&self, claim: Assessment, ends: &Ends, ending: &Ending) -> bool {
        if claim == Assessment::Unenforced && ending.attempt.continues {
            return true;
        }
        if !self.may_be_old(ending) {
            return false;
        }
        match claim {
            // Whoever opened it, policy may have allowed it then (R40).
            Assessment::Unenforced => true,
            Assessment::Allowed => {
                !ending.oriented && !ends.are_free_both_ways(self.cluster, self.options, ending)
            }
            Assessment::Blocked
            | Assessment::UnexpectedDrop
            | Assessment::Refused
            | Assessment::Unanswered
            | Assessment::Unknown => !ending.oriented,
        }
    }

    /// Whether the source address is known to lie behind another interface than the one that let the attempt in. One that came
    /// later says nothing of it: addresses are given out again.
    fn comes_from_elsewhere(&self, ending: &Ending) -> bool {
        let Some(source_link) = ending.attempt.source_link else {
            return false;
        };
        let source = ending.flow.source;
        let has_it = |other: &Link| {
            other.index != source_link
                && other.watched_since <= ending.attempt.first
                && other.addresses.contains(&source)
        };
        let link = self.links.get(source_link);
        link.is_some_and(|link| link.denies(source)) || self.links.iter().any(has_it)
    }

    /// Whether somebody on this node has the address of another node's pod: a pod may give itself any.
    fn is_taken(&self, ends: &Ends, ending: &Ending) -> bool {
        let flow = ending.flow;
        let is_others = |pod: Option<&Pod>| {
            pod.is_some_and(|pod| !pod.node.is_empty() && *pod.node != *self.options.node)
        };
        let is_here = |ip| self.links.lead_to(ip);
        let speaks_here = || ending.attempt.source_link.is_some() || is_here(flow.source);
        is_others(ends.source_pod(self.cluster)) && speaks_here()
            || is_others(ends.destination_pod(self.cluster)) && is_here(flow.destination)
    }

    /// Whether a UDP conversation may have begun before its interface was watched.
    pub(crate) fn may_be_old(&self, ending: &Ending) -> bool {
        if ending.flow.protocol != Protocol::Udp {
            return false;
        }
        let attempt = &ending.attempt;
        let first = attempt.source_link.or(attempt.destination_link);
        let seen = first.and_then(|index| self.links.get(index));
        // What was dropped before it came to an interface: an older conversation would have come there, unless a
        // program hands packets past it.
        let flow = ending.flow;
        let would_have = || {
            self.links.iter().find(|link| {
                let is_end = |address| link.addresses.contains(&address);
                link.foreign_program == Some(false)
                    && (is_end(flow.source) || is_end(flow.destination))
            })
        };
        match seen.or_else(would_have) {
            Some(link) => {
                // It may have begun before the interface was watched, and been silent for as long as it is remembered.
                !link.from_birth
                    && ending.attempt.first.since(link.watched_since) < UDP_REMEMBERED_NS
            }
            None => true,
        }
    }

    /// A claim must hold under every state of the cluster from the settle time before the attempt on; that of a
    /// young pod since its interface appeared: what passes then is measured, not in doubt.
    fn hold_up(&self, case: &mut Case, ending: &Ending, stale: bool) {
        if stale {
            case.assessed = (Assessment::Unknown, Some(UnknownBecause::Stale));
            return;
        }
        let first = ending.attempt.first;
        let begin = first.minus(self.options.settle_ns);
        let is_settled = case.settled <= begin;
        let started = case.ends.started(self.cluster, self.links, ending, begin);
        match started {
            Some(started)
                if case.assessed.0 == Assessment::Unenforced
                    && (is_settled || case.ends.are_young(self.cluster, started, case.settled)) =>
            {
                let age_ns = first.since(started.interface);
                case.start_window_s = Some((age_ns / 1_000_000) as f64 / 1000.0);
            }
            Some(_) | None if is_settled || self.is_unmoved(case, begin) => {}
            Some(_) | None => case.assessed = (Assessment::Unknown, Some(UnknownBecause::InFlux)),
        }
    }

    /// Whether whatever changed since left both ends who they are, and policy said the same in every state.
    fn is_unmoved(&self, case: &Case, since: Moment) -> bool {
        let between = case.ends.between(self.cluster, since);
        between.is_some_and(|between| self.is_same(case, &between, since, Moment(u64::MAX)))
    }

    /// The same until one of the two ended, as pods do that are refused: that is no change of policy.
    fn was_unmoved(&self, case: &Case, since: Moment) -> bool {
        let between = case.ends.between_until(self.cluster, since);
        between.is_some_and(|(between, ended)| self.is_same(case, &between, since, ended.minus(1)))
    }

    /// Whether policy said in every state between two moments what it says of the case.
    fn is_same(&self, case: &Case, between: &Between, since: Moment, until: Moment) -> bool {
        let profile = self.options.profile;
        let said = self.cluster.throughout(between, profile, since, until);
        matches!(said, Throughout::Same(brief) if brief.decides_as(&case.verdict))
    }

    /// What stopped an attempt before policy wanted it did not do so because of policy. A pod that was heard of after
    /// its first packet changes nothing: its policies were there.
    fn drop_younger_denial(&self, case: &mut Case, ending: &Ending) {
        let first = ending.attempt.first;
        let heard = case.ends.heard_of(self.cluster);
        let is_younger = || {
            case.settled > first
                && heard != Some(case.settled)
                && !self.is_unmoved(case, first)
                && !self.was_unmoved(case, first.max(heard.unwrap_or(first)))
        };
        if case.assessed.0 == Assessment::Blocked && is_younger() {
            case.assessed = (Assessment::Unknown, Some(UnknownBecause::InFlux));
        }
    }
}

fn needs_confirmation(assessment: Assessment) -> bool {
    match assessment {
        Assessment::Unenforced | Assessment::UnexpectedDrop => true,
        Assessment::Allowed
        | Assessment::Blocked
        | Assessment::Refused
        | Assessment::Unanswered
        | Assessment::Unknown => false,
    }
}
