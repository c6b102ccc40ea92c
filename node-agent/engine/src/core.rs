//! The line, single-threaded: one input enum in, outputs out, time as a parameter.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Moment;
use crate::aggregate::{Aggregate, Kind, Span};
use crate::assessment::is_local;
use crate::cluster::{Change, Cluster};
use crate::counters::{CounterKey, Counters, Target};
use crate::evaluate::Profile;
use crate::input::{Counted, Event, EventKind, Input, Link, Output, Stage, Swept};
use crate::judge::{Judge, Judgement};
use crate::model::{Delta, ObjectKey, Pod, PolicyKey};
use crate::outcome::{Ending, Said, Surroundings};
use crate::record::{Body, Connection, Lost, PolicyChange, Record, SCHEMA};
use crate::render::{ClockBase, record_id};
use crate::verdict::PolicyRef;
use crate::waiting::{For, Held, Waiting};

/// How long the drop behind a rejection may take to be told: both are written within one system call of the
/// kernel, and read within one drain of the ring buffer, every 50 ms.
const DROP_FOLLOWS_NS: u64 = 100_000_000;

/// Least time between two moves of the epoch.
const EPOCH_LEAST_NS: u64 = 250_000_000;

/// Most inputs held before the first picture of the cluster.
const MOST_EARLY: usize = 65_536;

/// How often what is long past is forgotten.
const FORGET_EVERY_NS: u64 = 30_000_000_000;

/// What the core has to know from the start. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The node's name.
    pub node: Arc<str>,
    /// `--cluster-name`; empty without one.
    pub cluster_name: Arc<str>,
    /// Wall-clock time of the monotonic clock's beginning.
    pub clock_base: ClockBase,
    /// How records fold, and how often known conversations speak again.
    pub window_ns: u64,
    /// How long before an attempt nothing it rests on may have changed.
    pub settle_ns: u64,
    /// How long after an attempt's outcome a claim must hold.
    pub confirm_ns: u64,
    /// How long an unknown address may take to become known.
    pub grace_ns: u64,
    /// After how long without news of the cluster nothing is claimed.
    pub stale_after_ns: u64,
    /// Which records are written.
    pub log: Log,
    /// What the dataplane does where the specification is open.
    pub profile: Profile,
}

/// Which records are written; all are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// `blocked`, `unenforced`, `unexpected_drop`.
    Problems,
    /// All that policy denies.
    Denied,
    /// All.
    All,
}

/// Every decision, and the state it needs.
#[derive(Debug)]
pub struct Core {
    options: Options,
    cluster: Cluster,
    links: BTreeMap<u32, Link>,
    counters: Counters,
    waiting: Waiting,
    aggregate: Aggregate,
    early: VecDeque<Input>,
    synced: bool,
    heard: Moment,
    lost: BTreeMap<Stage, u64>,
    lost_at: Option<Moment>,
    lost_total: u64,
    epoch: u32,
    epoch_moved: Moment,
    epoch_wanted: bool,
    confirm_asked: bool,
    forgot: Moment,
    /// Addresses of this node's pods.
    local: BTreeMap<ObjectKey, Vec<IpAddr>>,
    pod_addresses: Vec<(IpAddr, Option<u32>)>,
    records: u64,
}

impl Core {
    /// Makes a core that knows nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            cluster: Cluster::new(),
            aggregate: Aggregate::new(options.window_ns),
            options,
            links: BTreeMap::new(),
            counters: Counters::default(),
            waiting: Waiting::default(),
            early: VecDeque::new(),
            synced: false,
            heard: Moment::default(),
            lost: BTreeMap::new(),
            lost_at: None,
            lost_total: 0,
            epoch: 1,
            epoch_moved: Moment::default(),
            epoch_wanted: false,
            confirm_asked: false,
            forgot: Moment::default(),
            local: BTreeMap::new(),
            pod_addresses: Vec::new(),
            records: 0,
        }
    }

    /// Consumes one input. `now` never goes back.
    pub fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Event(_) | Input::Swept(_) | Input::Counted(_) if !self.synced => {
                self.hold_early(now, input, out)
            }
            Input::Event(event) => self.event(now, &event, out),
            Input::Swept(swept) => self.swept(now, &swept, out),
            Input::Counted(counted) => self.counted(&counted, out),
            Input::Lost { stage, total } => self.lose(now, stage, total, out),
            Input::Link(link) => {
                self.links.insert(link.index, link);
                self.tell_addresses(out);
            }
            Input::LinkGone(index) => {
                self.links.remove(&index);
                self.tell_addresses(out);
            }
            Input::NodeAddresses(addresses) => {
                self.cluster
                    .set_own_node(&self.options.node, &addresses, now);
            }
            Input::Delta(delta) => self.delta(now, &delta, out),
            Input::Synced => self.sync(now, out),
            Input::Confirmed => {
                self.heard = now;
                self.confirm_asked = false;
                self.settle_claims(now, out);
            }
            Input::Tick => self.tick(now, out),
            Input::Ended => self.end(now, out),
        }
    }

    fn hold_early(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        if self.early.len() < MOST_EARLY {
            self.early.push_back(input);
        } else {
            self.lose_here(now, 1, out);
        }
    }

    fn sync(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.synced = true;
        self.heard = now;
        for input in std::mem::take(&mut self.early) {
            self.handle(now, input, out);
        }
    }

    fn delta(&mut self, now: Moment, delta: &Delta, out: &mut Vec<Output>) {
        self.heard = now;
        match self.cluster.apply(delta, now) {
            Change::None => return,
            Change::Verdicts => {}
            Change::Policy { key, change } => {
                if self.synced {
                    self.policy_changed(now, key, change, out);
                }
            }
        }
        self.epoch_wanted = true;
        self.note_local(delta);
        self.tell_addresses(out);
    }

    fn policy_changed(
        &mut self,
        now: Moment,
        key: PolicyKey,
        change: crate::record::Change,
        out: &mut Vec<Output>,
    ) {
        let policy = self.cluster.policy(&key);
        let policy = PolicyRef {
            uid: policy
                .map(|policy| Arc::clone(&policy.uid))
                .unwrap_or_default(),
            generation: policy.map_or(0, |policy| policy.generation),
            key,
        };
        let record = self.record(now, Body::PolicyChange(PolicyChange { change, policy }));
        out.push(Output::Record(Box::new(record)));
    }

    fn note_local(&mut self, delta: &Delta) {
        match delta {
            Delta::Pod(pod) if is_local(Some(pod), &self.options.node) && !pod.finished => {
                self.local.insert(pod.key.clone(), pod.ips.clone());
            }
            Delta::Pod(Pod { key, .. }) | Delta::PodGone(key) => {
                self.local.remove(key);
            }
            Delta::Namespace(_)
            | Delta::NamespaceGone(_)
            | Delta::Node(_)
            | Delta::NodeGone(_)
            | Delta::Service(_)
            | Delta::ServiceGone(_)
            | Delta::EndpointSlice(_)
            | Delta::EndpointSliceGone(_)
            | Delta::Policy(_)
            | Delta::PolicyGone(_) => {}
        }
    }

    /// The kernel side keeps drops whose one end is a pod of this node.
    fn tell_addresses(&mut self, out: &mut Vec<Output>) {
        let behind = |ip: IpAddr| {
            self.links
                .values()
                .find(|link| link.addresses.contains(&ip))
                .map(|link| link.index)
        };
        let addresses: Vec<_> = self
            .local
            .values()
            .flatten()
            .map(|ip| (*ip, behind(*ip)))
            .collect();
        if addresses != self.pod_addresses {
            self.pod_addresses.clone_from(&addresses);
            out.push(Output::PodAddresses(addresses));
        }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            links: &self.links,
            cluster: &self.cluster,
            node: &self.options.node,
            lost_at: self.lost_at,
        }
    }

    fn event(&mut self, now: Moment, event: &Event, out: &mut Vec<Output>) {
        if event.kind == EventKind::Attempted {
            return;
        }
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
    fn take_back_earlier(&mut self, event: &Event) {
        if event.attempt.drop.is_some() || event.attempt.rejected.is_some() {
            self.waiting.take_back(event.flow, event.attempt.first);
        }
    }

    fn client_saw(&mut self, event: &Event, saw: crate::record::ClientSaw) {
        match self
            .counters
            .target(CounterKey::new(&event.flow, EventKind::Dropped))
        {
            Some(Target::Kind(kind)) => self.aggregate.client_saw(kind, saw),
            Some(Target::Waiting(number)) => self.waiting.client_saw(*number, saw),
            Some(Target::Nobody) | None => {}
        }
    }

    fn swept(&mut self, now: Moment, swept: &Swept, out: &mut Vec<Output>) {
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

    fn counted(&mut self, counted: &Counted, out: &mut Vec<Output>) {
        let key = CounterKey::of_counted(counted);
        if let Some((to, more)) = self.counters.advance(key, counted.total, 0, counted.last) {
            self.count(&to, more, Span::at(counted.last), out);
        }
    }

    fn count(&mut self, to: &Target, count: u64, span: Span, out: &mut Vec<Output>) {
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
                    out.push(Output::Counted { connection, count });
                }
            }
        }
    }

    fn judging(&self) -> Judge<'_> {
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
    fn judge(&mut self, now: Moment, mut held: Held, out: &mut Vec<Output>) -> Target {
        let (due, waits_for) = match self.judging().judge(now, &held) {
            Judgement::Made(connection) => return self.settle(held, *connection, out),
            Judgement::Wait { until, waits_for } => (until, waits_for),
        };
        held.waits_for = waits_for;
        match self.waiting.hold(due, held) {
            Some(number) => Target::Waiting(number),
            None => Target::Nobody,
        }
    }

    fn settle(&mut self, held: Held, connection: Connection, out: &mut Vec<Output>) -> Target {
        let kind = Kind::of(&connection);
        let connection = Arc::new(connection);
        self.aggregate
            .add(&kind, Arc::clone(&connection), held.count, held.span);
        out.push(Output::Counted {
            connection,
            count: held.count,
        });
        Target::Kind(Box::new(kind))
    }

    /// Judges again what waited.
    fn wake(&mut self, now: Moment, ready: impl Fn(&Held) -> bool, out: &mut Vec<Output>) {
        while let Some((number, held)) = self.waiting.take_due(now, &ready) {
            let counter = held.counter;
            let to = self.judge(now, held, out);
            if let Some(counter) = counter {
                self.counters.resolve(counter, number, to);
            }
        }
    }

    fn settle_claims(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.wake(now, |held| held.waits_for == For::Claim, out);
        self.write_due(now, false, out);
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        if !self.synced {
            return;
        }
        self.wake(now, |held| held.waits_for != For::Claim, out);
        let stale = now.since(self.heard) > self.options.stale_after_ns;
        if stale {
            self.settle_claims(now, out);
        } else if self.waiting.claim_is_due(now) && !self.confirm_asked {
            self.confirm_asked = true;
            out.push(Output::Confirm);
        }
        self.move_epoch(now, out);
        self.write_due(now, false, out);
        let lost =
            self.aggregate.take_lost() + self.counters.take_lost() + self.waiting.take_lost();
        if lost > 0 {
            self.lose_here(now, lost, out);
        }
        if now.since(self.forgot) > FORGET_EVERY_NS {
            self.forgot = now;
            self.aggregate.forget(now);
            self.counters.forget(now);
        }
    }

    fn move_epoch(&mut self, now: Moment, out: &mut Vec<Output>) {
        let since = now.since(self.epoch_moved);
        if since >= self.options.window_ns || (self.epoch_wanted && since >= EPOCH_LEAST_NS) {
            self.epoch += 1;
            self.epoch_moved = now;
            self.epoch_wanted = false;
            out.push(Output::Epoch(self.epoch));
        }
    }

    fn lose_here(&mut self, now: Moment, count: u64, out: &mut Vec<Output>) {
        let total = self.lost.get(&Stage::Core).copied().unwrap_or_default() + count;
        self.lose(now, Stage::Core, total, out);
    }

    fn lose(&mut self, now: Moment, stage: Stage, total: u64, out: &mut Vec<Output>) {
        let before = self.lost.insert(stage, total).unwrap_or_default();
        let count = total.saturating_sub(before);
        if count > 0 {
            self.lost_at = Some(now);
            self.lost_total += count;
            let record = self.record(now, Body::Lost(Lost { stage, count }));
            out.push(Output::Record(Box::new(record)));
        }
    }

    fn write_due(&mut self, now: Moment, everything: bool, out: &mut Vec<Output>) {
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

    fn is_written(&self, connection: &Connection) -> bool {
        match self.options.log {
            Log::All => true,
            Log::Denied => crate::assessment::direction(&connection.verdict).is_some(),
            Log::Problems => crate::assessment::is_problem(connection.assessment),
        }
    }

    fn record(&mut self, at: Moment, body: Body) -> Record {
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
    fn end(&mut self, now: Moment, out: &mut Vec<Output>) {
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

/// The moment after which a rejection is told without its drop.
pub(crate) fn drop_follows_until(ending: &Ending) -> Moment {
    ending.at.plus(DROP_FOLLOWS_NS)
}
