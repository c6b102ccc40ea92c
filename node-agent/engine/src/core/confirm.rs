//! Claims wait for a fresh reading of what they rest on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use crate::Moment;
use crate::aggregate::Kind;
use crate::cluster::Cluster;
use crate::ends::Ends;
use crate::identity::Identity;
use crate::input::{Ground, Output};
use crate::waiting::{Confirmation, For, Held};

/// Most asked about at a time: a reading must stay cheap for the API server. A claim that rests on more is never
/// confirmed.
const MOST_GROUNDS: usize = 64;

/// Least time between a question that was not fully answered and the next one.
const ASK_AGAIN_NS: u64 = 1_000_000_000;

/// How long a reading stands for a kind of claim, of which others follow: not each of a node's thousand denied conversations
/// is read of in each window.
const STANDS_NS: u64 = 20_000_000_000;

/// How long an answer is waited for: whoever reads gives up sooner.
const UNANSWERED_NS: u64 = 30_000_000_000;

/// When claims were last asked about, and when they may be again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    at: Moment,
    next: Moment,
}

impl Core {
    /// Gives up claims that nothing confirmed for too long, and asks for a reading of what the others rest on that
    /// are due.
    pub(super) fn confirm_claims(&mut self, now: Moment, out: &mut Vec<Output>) {
        let stale_after = self.options.stale_after_ns;
        if now.since(self.heard) > stale_after {
            self.settle_claims(now, |_| true, out);
            return;
        }
        let options = self.options.clone();
        let given_up = |held: &Held| now.since(held.ending.asked_since(&options)) > stale_after;
        self.settle_claims(now, given_up, out);
        if now >= self.asked.next {
            self.repeat_claims(now, out);
            self.ask(now, out);
        }
    }

    /// Only the first of a kind is asked about.
    fn repeat_claims(&mut self, now: Moment, out: &mut Vec<Output>) {
        // Taken out for a moment, since the rest says what a claim would be.
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut is_any = false;
        for held in waiting.claims_due(now) {
            let stands = self.stands_since(now, held);
            held.confirmation = stands.map_or(Confirmation::None, Confirmation::Given);
            is_any |= stands.is_some();
        }
        self.waiting = waiting;
        if is_any {
            self.settle_confirmed(now, out);
        }
    }

    /// When what a claim rests on was read for an earlier one of its kind, if that still stands: not when it has changed since.
    fn stands_since(&self, now: Moment, held: &mut Held) -> Option<Moment> {
        let mut connection = self.judging().claim(now, held)?;
        connection.acknowledged = self.acknowledged(&connection, held.ending.attempt.first);
        let at = self.aggregate.confirmed(&Kind::of(&connection))?;
        let is_same = self.judging().settled(&held.ending) <= at;
        (is_same && now.since(at) < STANDS_NS).then_some(at)
    }

    /// The oldest claims come first, but those that were asked about in vain go behind all others: what can never be
    /// confirmed must leave room. Those for which there is none any more are asked about the next time.
    fn ask(&mut self, now: Moment, out: &mut Vec<Output>) {
        let mut grounds = BTreeSet::new();
        let mut is_asked = false;
        let mut claims: Vec<_> = self.waiting.claims_due(now).collect();
        // Keeps those in order that were asked about together.
        claims.sort_by_key(|held| held.last_asked);
        for held in claims {
            held.confirmation = Confirmation::None;
            if grounds.len() >= MOST_GROUNDS {
                continue;
            }
            let ends = Ends::of(&self.cluster, &self.links, &held.ending);
            let mut more = ends.grounds(&self.cluster);
            more.retain(|ground| !grounds.contains(ground));
            if grounds.len() + more.len() <= MOST_GROUNDS {
                grounds.append(&mut more);
                is_asked = true;
                held.confirmation = Confirmation::Asked;
                held.last_asked = Some(now);
            }
        }
        if is_asked {
            self.asked = Asked {
                at: now,
                next: now.plus(UNANSWERED_NS),
            };
            let grounds = grounds.into_iter().collect();
            out.push(Output::Confirm { grounds });
        }
    }

    /// The whole cluster was read: every claim that is due rests on what is known.
    pub(super) fn all_confirmed(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.heard = now;
        self.asked = Asked::default();
        for held in self.waiting.claims_due(now) {
            held.confirmation = Confirmation::Given(now);
        }
        self.settle_confirmed(now, out);
    }

    /// What was asked about was read, and some of it is as it is known. A claim that came after the question may
    /// rest on the same, but has to be asked about: it must hold until it is due.
    pub(super) fn grounds_confirmed(
        &mut self,
        now: Moment,
        confirmed: &[Ground],
        out: &mut Vec<Output>,
    ) {
        self.asked.next = self.asked.at.plus(ASK_AGAIN_NS);
        let confirmed: BTreeSet<_> = confirmed.iter().collect();
        for held in self.waiting.claims_due(now) {
            if held.confirmation != Confirmation::Asked {
                continue;
            }
            let grounds = Ends::of(&self.cluster, &self.links, &held.ending).grounds(&self.cluster);
            held.confirmation = match grounds.iter().all(|ground| confirmed.contains(ground)) {
                true => Confirmation::Given(now),
                false => Confirmation::None,
            };
        }
        self.settle_confirmed(now, out);
    }

    fn settle_confirmed(&mut self, now: Moment, out: &mut Vec<Output>) {
        let is_given = |held: &Held| matches!(held.confirmation, Confirmation::Given(_));
        self.settle_claims(now, is_given, out);
    }

    fn settle_claims(&mut self, now: Moment, ready: impl Fn(&Held) -> bool, out: &mut Vec<Output>) {
        let is_claim = |held: &Held| held.waits_for == For::Claim && ready(held);
        self.wake(now, is_claim, out);
        self.write_due(now, false, out);
    }
}

impl Ends {
    /// What a claim about them rests on.
    fn grounds(&self, cluster: &Cluster) -> BTreeSet<Ground> {
        let mut grounds = BTreeSet::new();
        let parties = &self.connection;
        for (end, party) in [
            (&self.source, &parties.source),
            (&self.destination, &parties.destination),
        ] {
            match end {
                Identity::Pod(key) => {
                    grounds.insert(Ground::Pod(key.clone()));
                }
                Identity::Service(key) => {
                    grounds.insert(Ground::Service(key.clone()));
                    let pods = cluster.backend_pods(key);
                    grounds.extend(pods.map(Ground::Pod));
                }
                // A pod that was not told of is taken for the world.
                Identity::World => {
                    grounds.extend(party.ip.map(Ground::Stranger));
                }
                Identity::Node(name) if !name.is_empty() => {
                    grounds.insert(Ground::Node(Arc::clone(name)));
                }
                Identity::Node(_)
                | Identity::NodeService(_)
                | Identity::Ambiguous
                | Identity::Unknown => {}
            }
        }
        grounds
    }
}
