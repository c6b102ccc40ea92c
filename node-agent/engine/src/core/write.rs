//! What leaves the core: records, and what was lost.

use std::sync::Arc;

use super::Core;
use crate::Moment;
use crate::aggregate::Span;
use crate::back_off::BackOff;
use crate::counters::Target;
use crate::input::Output;
use crate::model::Stage;
use crate::record::{Body, Lost, NodeNotEnforcing, Record, SCHEMA, Scan};
use crate::render::record_id;
use crate::scan::Scanned;

/// What was lost at a stage.
#[derive(Debug, Default)]
pub(super) struct Losses {
    total: u64,
    /// Not yet said in a record.
    untold: u64,
    said: BackOff,
}

impl Core {
    pub(super) fn lose_here(&mut self, now: Moment, count: u64, out: &mut Vec<Output>) {
        self.lose_more(now, Stage::Core, count, out);
    }

    /// What found no room here, and what only this knows to be lost.
    pub(super) fn tell_own_losses(&mut self, now: Moment, out: &mut Vec<Output>) {
        let lost =
            self.aggregate.take_lost() + self.counters.take_lost() + self.waiting.take_lost();
        if lost > 0 {
            self.lose_here(now, lost, out);
        }
        // The kernel side does not count a lost event whose attempt is in a total.
        let untold = self.counters.take_untold();
        if untold > 0 {
            self.untold += untold;
            self.lose_more(now, Stage::Ring, untold, out);
        }
    }

    fn lose_more(&mut self, now: Moment, stage: Stage, count: u64, out: &mut Vec<Output>) {
        let before = self.lost.get(&stage).map(|losses| losses.total);
        self.lose(now, stage, before.unwrap_or_default() + count, out);
    }

    pub(super) fn lose(&mut self, now: Moment, stage: Stage, total: u64, out: &mut Vec<Output>) {
        let losses = self.lost.entry(stage).or_default();
        let count = total.saturating_sub(losses.total);
        if count == 0 {
            return;
        }
        losses.total = total;
        losses.untold += count;
        match stage {
            // Its conversations are answered or silent all the same; they may be taken for new ones.
            Stage::UdpFlows => self.udp_lost_at = Some(now),
            Stage::Ring
            | Stage::Attempts
            | Stage::Conversations
            | Stage::Decode
            | Stage::Core
            | Stage::Output => self.lost_at = Some(now),
        }
        self.lost_total += count;
        out.push(Output::Lost { stage, count });
        self.write_lost(now, self.has_ended, out);
    }

    /// The first loss at once; what goes on backs off like everything else.
    pub(super) fn write_lost(&mut self, now: Moment, everything: bool, out: &mut Vec<Output>) {
        let window_ns = self.options.window_ns;
        let mut told = Vec::new();
        for (stage, losses) in &mut self.lost {
            if losses.said.is_forgotten(now) {
                losses.said = BackOff::default();
            }
            let is_due = everything || losses.said.due(window_ns) <= now;
            if losses.untold > 0 && is_due {
                losses.said.say(now);
                told.push(Lost {
                    stage: *stage,
                    count: std::mem::take(&mut losses.untold),
                    total: losses.total,
                });
            }
        }
        for lost in told {
            self.write(now, Body::Lost(lost), out);
        }
    }

    pub(super) fn write_due(&mut self, now: Moment, everything: bool, out: &mut Vec<Output>) {
        // Taken out for a moment, since the rest says what is written.
        let mut aggregate = std::mem::take(&mut self.aggregate);
        let due = aggregate.take_due(now, everything, |connection| self.fate(connection));
        self.aggregate = aggregate;
        for due in due {
            let mut connection = Arc::unwrap_or_clone(due.connection);
            connection.count = due.count;
            (connection.first_seen, connection.last_seen) = self.print(due.span);
            self.write(now, Body::Connection(Box::new(connection)), out);
        }
    }

    /// What stands for many findings.
    pub(super) fn write_folded(&mut self, now: Moment, everything: bool, out: &mut Vec<Output>) {
        let window_ns = self.options.window_ns;
        for scanned in self.scans.take_due(now, window_ns, everything) {
            let scan = self.scan(scanned);
            self.write(now, Body::Scan(Box::new(scan)), out);
        }
        if let Some(found) = self.enforcing.take_due(now, window_ns, everything) {
            let (first_seen, last_seen) = self.print(found.span);
            let record = NodeNotEnforcing {
                pairs: found.pairs,
                attempts: found.attempts,
                policies: found.policies,
                first_seen,
                last_seen,
            };
            self.write(now, Body::NodeNotEnforcing(record), out);
        }
    }

    fn scan(&self, scanned: Scanned) -> Scan {
        let Scanned {
            source,
            targets,
            addresses,
            ports,
            attempts,
            assessments,
            span,
        } = scanned;
        let (first_seen, last_seen) = self.print(span);
        Scan {
            source,
            targets,
            addresses,
            ports,
            attempts,
            assessments,
            first_seen,
            last_seen,
        }
    }

    fn print(&self, span: Span) -> (String, String) {
        let base = self.options.clock_base;
        (base.print(span.first), base.print(span.last))
    }

    pub(super) fn write(&mut self, at: Moment, body: Body, out: &mut Vec<Output>) {
        self.records += 1;
        let record = Record {
            schema: SCHEMA.into(),
            id: record_id(
                &self.options.node,
                self.records,
                self.options.clock_base,
                at,
            ),
            time: self.options.clock_base.print(at),
            cluster: Arc::clone(&self.options.cluster_name),
            node: Arc::clone(&self.options.node),
            body,
        };
        out.push(Output::Record(Box::new(record)));
    }

    /// What is held can no longer be confirmed; what is folded is written.
    pub(super) fn end(&mut self, now: Moment, out: &mut Vec<Output>) {
        // Without a picture of the cluster nobody knows whom it was about.
        let unsynced = std::mem::take(&mut self.unsynced);
        if !unsynced.is_empty() {
            self.lose_here(now, unsynced.len() as u64, out);
        }
        let end = Moment(u64::MAX);
        while let Some((number, held)) = self.waiting.take_due(end, |_| true) {
            if held.is_early {
                continue;
            }
            let counter = held.counter;
            let to = match self.judging().judge_at_the_end(&held) {
                Some(connection) => self.settle(held, connection, out),
                None => Target::Nobody,
            };
            if let Some(counter) = counter {
                self.counters.resolve(counter, number, to);
            }
        }
        self.write_due(now, true, out);
        self.write_folded(now, true, out);
        self.tell_own_losses(now, out);
        self.write_lost(now, true, out);
        self.has_ended = true;
    }
}
