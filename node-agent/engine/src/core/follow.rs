//! From what was seen of an attempt to what is claimed.

use std::sync::Arc;

use super::Core;
use crate::Moment;
use crate::aggregate::{Kind, Span};
use crate::counters::{CounterKey, Target};
use crate::input::{Counted, Event, EventKind, Output, Swept};
use crate::judge::{Judge, Judgement};
use crate::outcome::{Said, Surroundings};
use crate::record::Connection;
use crate::waiting::{For, Held};

impl Core {
    pub(super) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            links: &self.links,
            cluster: &self.cluster,
            node: &self.options.node,
            lost_at: self.lost_at,
        }
    }

    pub(super) fn event(&mut self, now: Moment, event: &Event, out: &mut Vec<Output>) {
        let key = CounterKey::of(event);
        let counts = event.total > 0;
        if counts && let Some((to, more)) = self.counters.advance(key, event.total, 1, event.at) {
            self.count(&to, more, Span::at(event.at), out);
        }
        let (to, exemplar) = match self.surroundings().read(event) {
            Said::Nothing => (Target::Nobody, None),
            Said::ClientSaw(saw) => {
                self.client_saw(event, saw);
                (Target::Nobody, None)
            }
            Said::Ending(ending) => {
                self.take_back_earlier(event);
                (Target::Nobody, Some(*ending))
            }
        };
        let counter = counts.then_some(key);
        let to = match exemplar {
            Some(ending) => {
                let span = Span {
                    first: ending.attempt.first,
                    last: ending.attempt.first,
                };
                self.judge(
                    now,
                    Held {
                        waits_for: For::Drop,
                        ending,
                        count: 1,
                        span,
                        counter,
                    },
                    out,
                )
            }
            None => to,
        };
        if counts {
            let before = self.counters.point(key, event.total, to.clone(), event.at);
            self.count(&to, before, Span::at(event.at), out);
        }
    }

    /// An answer after a drop, or the drop behind a rejection, says more than what came before.
    pub(super) fn take_back_earlier(&mut self, event: &Event) {
        if event.attempt.drop.is_some() || event.attempt.rejected.is_some() {
            self.waiting.take_back(event.flow, event.attempt.first);
        }
    }

    pub(super) fn client_saw(&mut self, event: &Event, saw: crate::record::ClientSaw) {
        match self
            .counters
            .target(CounterKey::new(&event.flow, EventKind::Dropped))
        {
            Some(Target::Kind(kind)) => self.aggregate.client_saw(kind, saw),
            Some(Target::Waiting(number)) => self.waiting.client_saw(*number, saw),
            Some(Target::Nobody) | None => {}
        }
    }

    pub(super) fn swept(&mut self, now: Moment, swept: &Swept, out: &mut Vec<Output>) {
        if let Said::Ending(ending) = self.surroundings().read_swept(swept, now) {
            let span = Span::at(ending.attempt.first);
            self.judge(
                now,
                Held {
                    waits_for: For::Drop,
                    ending: *ending,
                    count: 1,
                    span,
                    counter: None,
                },
                out,
            );
        }
    }

    pub(super) fn counted(&mut self, counted: &Counted, out: &mut Vec<Output>) {
        let key = CounterKey::of_counted(counted);
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
        let (due, waits_for) = match self.judging().judge(now, &held) {
            Judgement::Made(connection) => {
                self.note_stopped(&held.ending, &connection, out);
                return self.settle(held, *connection, out);
            }
            Judgement::Wait { until, waits_for } => (until, waits_for),
        };
        held.waits_for = waits_for;
        self.note_passed(&held);
        match self.waiting.hold(due, held) {
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
        Self::note_start_window(&connection, out);
        self.say_counted(connection, held.count, out);
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
            let counter = held.counter;
            let to = self.judge(now, held, out);
            if let Some(counter) = counter {
                self.counters.resolve(counter, number, to);
            }
        }
    }

    pub(super) fn settle_claims(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.wake(now, |held| held.waits_for == For::Claim, out);
        self.write_due(now, false, out);
    }
}
