//! Conntrack is asked which backend took a connection, from whom a translated one came, and who opened what may be old.

use super::Core;
use crate::Moment;
use crate::identity::Identity;
use crate::input::{Flow, Output, Tracked};
use crate::outcome::Ending;
use crate::waiting::Held;

/// How long an answer is waited for; whoever asks the kernel has it within the turn.
const ANSWERED_WITHIN_NS: u64 = 200_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Most questions within a second: each costs a system call of some 10 us. What is not asked is judged without.
const MOST_PER_SECOND: u32 = 1_000;

/// The questions of the current second.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    since: Moment,
    asked: u32,
}

impl LookUps {
    /// Takes one; false when there were too many.
    fn take(&mut self, now: Moment) -> bool {
        if now.since(self.since) >= SECOND_NS {
            (self.since, self.asked) = (now, 0);
        }
        let is_left = self.asked < MOST_PER_SECOND;
        self.asked += u32::from(is_left);
        is_left
    }
}

impl Core {
    /// Asks once for what translation did to an ending's addresses, where it may have, and for who opened a conversation of
    /// datagrams that may be older than its interface is watched; gives how long to wait.
    pub(super) fn look_up(
        &mut self,
        now: Moment,
        held: &mut Held,
        out: &mut Vec<Output>,
    ) -> Option<Moment> {
        let ending = &held.ending;
        let is_wanted = || self.may_be_translated(ending) || self.may_be_turned(ending);
        if held.asked.is_some() || !is_wanted() || !self.look_ups.take(now) {
            return None;
        }
        let tuple = held.ending.tuple();
        held.asked = Some(tuple);
        out.push(Output::LookUp(tuple));
        Some(now.plus(ANSWERED_WITHIN_NS))
    }

    /// Whether one of its addresses is not that of a pod whose packets were seen there. A drop behind translation
    /// has told of it; conntrack forgets what was dropped.
    fn may_be_translated(&self, ending: &Ending) -> bool {
        if ending.sent_to.is_some() {
            return false;
        }
        let attempt = &ending.attempt;
        let owner = |ip| self.cluster.lookup(ip, attempt.first);
        match (attempt.source_link, attempt.destination_link) {
            (Some(_), _) => !matches!(owner(ending.key.destination), Identity::Pod(_)),
            // A pod of this node whose packets were not seen when it sent them: they had another destination then.
            (None, Some(_)) => match owner(ending.key.source) {
                Identity::Pod(key) => self.local.contains_key(&key),
                Identity::Node(_)
                | Identity::Service(_)
                | Identity::NodeService(_)
                | Identity::World
                | Identity::Ambiguous
                | Identity::Unknown => true,
            },
            (None, None) => false,
        }
    }

    /// Whether it may go the other way than its first packet that was seen.
    fn may_be_turned(&self, ending: &Ending) -> bool {
        !ending.oriented && self.judging().may_be_old(ending)
    }

    /// Judges what waited for that answer. That conntrack knows nothing proves nothing.
    pub(super) fn looked_up(
        &mut self,
        now: Moment,
        tuple: Flow,
        tracked: Option<&Tracked>,
        out: &mut Vec<Output>,
    ) {
        while let Some((number, mut held)) = self.waiting.take_looked_up(tuple) {
            if let Some(tracked) = tracked {
                let may_be_turned = self.may_be_turned(&held.ending);
                held.ending.translate(tracked);
                if may_be_turned {
                    held.ending.orient(tracked);
                }
            }
            self.judge_again(now, number, held, out);
        }
    }
}
