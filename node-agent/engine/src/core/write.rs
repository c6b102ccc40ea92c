//! What leaves the core: records, and what was lost.

use std::sync::Arc;

use super::Core;
use crate::Moment;
use crate::input::Output;
use crate::model::Stage;
use crate::options::Log;
use crate::record::{Body, Connection, Lost, Record, SCHEMA};
use crate::render::record_id;

impl Core {
    pub(super) fn lose_here(&mut self, now: Moment, count: u64, out: &mut Vec<Output>) {
        let total = self.lost.get(&Stage::Core).copied().unwrap_or_default() + count;
        self.lose(now, Stage::Core, total, out);
    }

    pub(super) fn lose(&mut self, now: Moment, stage: Stage, total: u64, out: &mut Vec<Output>) {
        let before = self.lost.insert(stage, total).unwrap_or_default();
        let count = total.saturating_sub(before);
        if count > 0 {
            self.lost_at = Some(now);
            self.lost_total += count;
            out.push(Output::Lost { stage, count });
            let record = self.record(now, Body::Lost(Lost { stage, count }));
            out.push(Output::Record(Box::new(record)));
        }
    }

    pub(super) fn write_due(&mut self, now: Moment, everything: bool, out: &mut Vec<Output>) {
        for due in self.aggregate.take_due(now, everything) {
            if !self.is_written(&due.connection) {
                continue;
            }
            let mut connection = Arc::unwrap_or_clone(due.connection);
            connection.count = due.count;
            connection.first_seen = self.options.clock_base.print(due.span.first);
            connection.last_seen = self.options.clock_base.print(due.span.last);
            let record = self.record(now, Body::Connection(Box::new(connection)));
            out.push(Output::Record(Box::new(record)));
        }
    }

    pub(super) fn is_written(&self, connection: &Connection) -> bool {
        match self.options.log {
            Log::All => true,
            Log::Denied => crate::assessment::direction(&connection.verdict).is_some(),
            Log::Problems => crate::assessment::is_problem(connection.assessment),
        }
    }

    pub(super) fn record(&mut self, at: Moment, body: Body) -> Record {
        self.records += 1;
        Record {
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
        }
    }

    /// What is held can no longer be confirmed; what is folded is written.
    pub(super) fn end(&mut self, now: Moment, out: &mut Vec<Output>) {
        let end = Moment(u64::MAX);
        while let Some((number, held)) = self.waiting.take_due(end, |_| true) {
            let counter = held.counter;
            let connection = self.judging().judge_at_the_end(&held);
            let to = self.settle(held, connection, out);
            if let Some(counter) = counter {
                self.counters.resolve(counter, number, to);
            }
        }
        self.write_due(now, true, out);
    }
}
