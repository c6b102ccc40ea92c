//! From what was seen of an attempt to what is claimed.

use std::sync::Arc;

use super::Core;
use super::early::Told;
use crate::Moment;
use crate::aggregate::{Kind, Span};
use crate::counters::{CounterKey, Target};
use crate::input::{Counted, Event, EventKind, Flow, Output, Swept};
use crate::judge::{Judge, Judgement};
use crate::outcome::Surroundings;
use crate::record::{Assessment, Connection};
use crate::waiting::{Confirmation, For, Held};

impl Core {
    pub(super) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            links: &self.links,
            bypass: &self.bypass,
            cluster: &self.cluster,
            node: &self.options.node,
            lost_at: self.lost_at,
            udp_lost_at: self.udp_lost_at,
        }
    }

    pub(super) fn event(&mut self, now: Moment, event: &Event, out: &mut Vec<Output>) {
        self.bypass.hear(&self.links, event);
        match event.kind {
            EventKind::Reset | EventKind::Unreachable | EventKind::Dropped => {
                self.stopped(now, event, out);
            }
            EventKind::Answered
            | EventKind::Refused
            | EventKind::Established
            | EventKind::Superseded
            | EventKind::Denied => self.ended(now, event, out),
        }
    }

    /// An attempt has ended, and others of its conversation with it: what their total grew by counts as this one.
    fn ended(&mut self, now: Moment, event: &Event, out: &mut Vec<Output>) {
        let first = event.attempt.first;
        if event.kind == EventKind::Superseded && self.count_told(event.flow, first, out) {
            return;
        }
        self.early.take(event.flow, first);
        self.waiting.take_back(event.flow, first);
        let counter = (event.total > 0).then(|| CounterKey::of(event));
        if let Some(key) = counter
            && let Some((to, more)) = self.counters.advance(key, event.total, 1, event.at)
        {
            self.count(&to, more, Span::at(event.at), out);
        }
        let to = match self.surroundings().end(event) {
            Some(ending) => self.judge(now, Held::of(ending, counter), out),
            None => Target::Nobody,
        };
        if let Some(key) = counter {
            let before = self.counters.point(key, event.total, to.clone(), event.at);
            self.count(&to, before, Span::at(event.at), out);
        }
    }

    /// Something stopped an attempt. When policy wants it so, that is told at once; it counts at its end.
    fn stopped(&mut self, now: Moment, event: &Event, out: &mut Vec<Output>) {
        let Some(ending) = self.surroundings().stop(event) else {
            return;
        };
        match self.early.get(event.flow, event.attempt.first) {
            // Of one denial the drop and the rejection are one: the later only says what the client saw.
            Some(Told::Kind(kind)) => {
                return self.aggregate.client_saw(kind, ending.client_saw);
            }
            Some(Told::Waits) => self.waiting.take_back(event.flow, event.attempt.first),
            None => {}
        }
        let held = Held {
            is_early: true,
            ..Held::of(ending, None)
        };
        self.judge(now, held, out);
    }

    pub(super) fn swept(&mut self, now: Moment, swept: &Swept, out: &mut Vec<Output>) {
        self.bypass.end(&self.links, swept.flow, &swept.attempt);
        if swept.was_told {
            return self.ended_late(now, swept, out);
        }
        if self.count_told(swept.flow, swept.attempt.first, out) {
            return;
        }
        let ending = self.surroundings().swept(swept, now);
        self.judge(now, Held::of(ending, None), out);
    }

    /// An attempt was answered after its deadline. What waits of it is withdrawn, and it counts as what it came to; where it was
    /// counted it is only told of.
    fn ended_late(&mut self, now: Moment, swept: &Swept, out: &mut Vec<Output>) {
        let count = self.waiting.withdraw(swept.flow, swept.attempt.first);
        let ending = self.surroundings().swept(swept, now);
        let held = Held {
            count,
            ..Held::of(ending, None)
        };
        self.judge(now, held, out);
    }

    /// Counts an attempt that has ended as what was told of it early; false when nothing was.
    fn count_told(&mut self, key: Flow, first: Moment, out: &mut Vec<Output>) -> bool {
        match self.early.take(key, first) {
            Some(Told::Kind(kind)) => {
                if let Some(connection) = self.aggregate.connection(&kind) {
                    self.say_counted(connection, 1, out);
                }
                true
            }
            Some(Told::Waits) => {
                self.waiting.take_back(key, first);
                false
            }
            None => false,
        }
    }

    pub(super) fn counted(&mut self, counted: &Counted, out: &mut Vec<Output>) {
        let key = CounterKey::of_counted(counted);
        self.counters.note_untold(key, counted.last);
        if let Some((to, more)) = self.counters.advance(key, counted.total, 0, counted.last) {
            self.count(&to, more, Span::at(counted.last), out);
        }
    }

    pub(super) fn count(&mut self, to: &Target, count: u64, span: Span, out: &mut Vec<Output>) {
        if count == 0 {
            return;
        }
        match to {
            Target::Nobody => {}
            Target::Lost => self.counters.lose(count),
            Target::Waiting(number) => {
                self.waiting.more(*number, count, span);
            }
            Target::Kind(kind) => {
                if let Some(connection) = self.aggregate.more(kind, count, span) {
                    self.say_counted(connection, count, out);
                }
            }
        }
    }

    pub(super) fn judging(&self) -> Judge<'_> {
        Judge {
            options: &self.options,
            cluster: &self.cluster,
            links: &self.links,
            heard: self.heard,
            lost_at: self.lost_at,
            lost_total: self.lost_total,
        }
    }

    /// Judges an ending as soon as it can be judged.
    pub(super) fn judge(&mut self, now: Moment, mut held: Held, out: &mut Vec<Output>) -> Target {
        let judgement = match self.look_up(now, &mut held, out) {
            Some(until) => Judgement::Wait {
                until,
                waits_for: For::LookUp,
            },
            None => self.judging().judge(now, &held),
        };
        if let Judgement::Made(connection) = &judgement {
            self.note_stopped(&held.ending, connection, out);
        }
        if held.is_early {
            self.judge_early(now, held, judgement, out);
            return Target::Nobody;
        }
        match judgement {
            Judgement::Made(connection) => self.settle(held, *connection, out),
            Judgement::Wait { until, waits_for } => self.hold(until, waits_for, held),
            Judgement::ToldBehind => Target::Nobody,
        }
    }

    fn judge_early(
        &mut self,
        now: Moment,
        held: Held,
        judgement: Judgement,
        out: &mut Vec<Output>,
    ) {
        let ending = held.ending.clone();
        let told = match judgement {
            Judgement::Made(connection) if connection.assessment == Assessment::Blocked => {
                match self.settle(held, *connection, out) {
                    Target::Kind(kind) => Some(Told::Kind(kind)),
                    Target::Waiting(_) | Target::Nobody | Target::Lost => None,
                }
            }
            Judgement::Wait {
                until,
                waits_for: waits_for @ (For::LookUp | For::Drop | For::Identity),
            } => match self.hold(until, waits_for, held) {
                Target::Waiting(_) => Some(Told::Waits),
                Target::Kind(_) | Target::Nobody | Target::Lost => None,
            },
            // Everything else may yet turn out otherwise.
            Judgement::Made(_)
            | Judgement::ToldBehind
            | Judgement::Wait {
                waits_for: For::Claim,
                ..
            } => None,
        };
        self.early.set(now, &ending, told);
    }

    fn hold(&mut self, until: Moment, waits_for: For, mut held: Held) -> Target {
        held.waits_for = waits_for;
        held.confirmation = Confirmation::None;
        self.note_passed(&held);
        match self.waiting.hold(until, held) {
            Some(number) => Target::Waiting(number),
            None => Target::Nobody,
        }
    }

    pub(super) fn settle(
        &mut self,
        held: Held,
        mut connection: Connection,
        out: &mut Vec<Output>,
    ) -> Target {
        connection.acknowledged = self.acknowledged(&connection, held.ending.attempt.first);
        let kind = Kind::of(&connection);
        let connection = Arc::new(connection);
        self.aggregate
            .add(&kind, Arc::clone(&connection), held.count, held.span);
        if let Confirmation::Given(at) = held.confirmation {
            self.aggregate.confirm(&kind, at);
        }
        if held.is_early {
            self.note_together(&connection, 0);
        } else {
            Self::note_start_window(&connection, out);
            self.say_counted(connection, held.count, out);
        }
        Target::Kind(Box::new(kind))
    }

    /// Judges again what waited.
    pub(super) fn wake(
        &mut self,
        now: Moment,
        ready: impl Fn(&Held) -> bool,
        out: &mut Vec<Output>,
    ) {
        while let Some((number, held)) = self.waiting.take_due(now, &ready) {
            self.judge_again(now, number, held, out);
        }
    }

    pub(super) fn judge_again(
        &mut self,
        now: Moment,
        number: u64,
        held: Held,
        out: &mut Vec<Output>,
    ) {
        let counter = held.counter;
        let to = self.judge(now, held, out);
        if let Some(counter) = counter {
            self.counters.resolve(counter, number, to);
        }
    }
}
