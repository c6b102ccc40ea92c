//! The line, single-threaded: one input enum in, outputs out, time as a parameter.

mod confirm;
mod early;
mod follow;
mod look_up;
mod measure;
mod notes;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::Moment;
use crate::agents::Agents;
use crate::aggregate::Aggregate;
use crate::bypass::Bypass;
use crate::cluster::{Change, Cluster, Kept};
use crate::counters::Counters;
use crate::delays::Delays;
use crate::enforcing::Enforcing;
use crate::identity::Identity;
use crate::input::{Input, Output, Stage};
use crate::links::Links;
use crate::model::{Delta, ObjectKey, Pod, PolicyKey};
use crate::options::Options;
use crate::presence::Presence;
use crate::record::{Body, PolicyChange};
use crate::scan::Scans;
use crate::verdict::PolicyRef;
use crate::waiting::{For, Waiting};
use confirm::Asked;
use early::Early;
use look_up::LookUps;

/// Least time between two moves of the epoch.
const EPOCH_LEAST_NS: u64 = 250_000_000;

/// Most time between two: the kernel side's fast path knows a UDP conversation for an epoch, and would let it fall
/// silent if that took longer than its conversations are remembered.
const EPOCH_MOST_NS: u64 = 10_000_000_000;

/// Most inputs held before the first picture of the cluster.
const MOST_UNSYNCED: usize = 65_536;

/// How often what is long past is forgotten.
const FORGET_EVERY_NS: u64 = 30_000_000_000;

/// Every decision, and the state it needs.
#[derive(Debug)]
pub struct Core {
    options: Options,
    cluster: Cluster,
    links: Links,
    bypass: Bypass,
    counters: Counters,
    waiting: Waiting,
    aggregate: Aggregate,
    delays: Delays,
    presence: Presence,
    scans: Scans,
    enforcing: Enforcing,
    /// The present, as the latest input has it.
    now: Moment,
    unsynced: VecDeque<Input>,
    synced: bool,
    /// When the whole cluster was last heard of: one kind's news says nothing of the others.
    heard: Moment,
    asked: Asked,
    lost: BTreeMap<Stage, write::Losses>,
    lost_at: Option<Moment>,
    udp_lost_at: Option<Moment>,
    lost_total: u64,
    /// Of the ring's losses those that the kernel side does not count.
    untold: u64,
    /// Nothing is said later any more.
    has_ended: bool,
    early: Early,
    epoch: u32,
    epoch_moved: Moment,
    epoch_wanted: bool,
    forgot: Moment,
    look_ups: LookUps,
    agents: Agents,
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
            cluster: Cluster::in_first_picture(),
            aggregate: Aggregate::new(options.window_ns),
            options,
            links: Links::default(),
            bypass: Bypass::default(),
            counters: Counters::default(),
            waiting: Waiting::default(),
            delays: Delays::default(),
            presence: Presence::default(),
            scans: Scans::default(),
            enforcing: Enforcing::default(),
            now: Moment::default(),
            unsynced: VecDeque::new(),
            synced: false,
            heard: Moment::default(),
            asked: Asked::default(),
            lost: BTreeMap::new(),
            lost_at: None,
            udp_lost_at: None,
            lost_total: 0,
            untold: 0,
            has_ended: false,
            early: Early::default(),
            epoch: 1,
            epoch_moved: Moment::default(),
            epoch_wanted: false,
            forgot: Moment::default(),
            look_ups: LookUps::default(),
            agents: Agents::default(),
            local: BTreeMap::new(),
            pod_addresses: Vec::new(),
            records: 0,
        }
    }

    /// Consumes one input. `now` never goes back.
    pub fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        self.now = now;
        match input {
            Input::Event(_) | Input::Swept(_) | Input::Counted(_) if !self.synced => {
                self.hold_unsynced(now, input, out)
            }
            Input::Event(event) => self.event(now, &event, out),
            Input::Swept(swept) => self.swept(now, &swept, out),
            Input::Counted(counted) => self.counted(&counted, out),
            Input::Lost { stage, total } => {
                let untold = if stage == Stage::Ring { self.untold } else { 0 };
                self.lose(now, stage, total + untold, out);
            }
            Input::Link(link) => {
                self.epoch_wanted |= self.links.insert(now, link);
                self.tell_addresses(out);
            }
            Input::LinkGone(index) => {
                self.epoch_wanted |= self.links.remove(now, index);
                self.bypass.forget(index);
                self.tell_addresses(out);
            }
            Input::NodeAddresses(addresses) => {
                self.cluster
                    .set_own_node(&self.options.node, &addresses, now);
            }
            Input::Delta(delta) => self.delta(now, &delta, out),
            Input::Profile(profile) => self.options.profile = profile,
            Input::Synced => self.sync(now, out),
            Input::Heard => self.heard = now,
            Input::Confirmed => self.all_confirmed(now, out),
            Input::GroundsConfirmed(grounds) => self.grounds_confirmed(now, &grounds, out),
            Input::LookedUp { tuple, tracked } => {
                self.looked_up(now, tuple, tracked.as_ref(), out);
            }
            Input::Tick => self.tick(now, out),
            Input::Ended => self.end(now, out),
        }
    }

    fn hold_unsynced(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        if self.unsynced.len() < MOST_UNSYNCED {
            self.unsynced.push_back(input);
        } else {
            self.lose_here(now, 1, out);
        }
    }

    fn sync(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.synced = true;
        self.heard = now;
        self.cluster.keep_past(now, Kept::default());
        for input in std::mem::take(&mut self.unsynced) {
            self.handle(now, input, out);
        }
    }

    fn delta(&mut self, now: Moment, delta: &Delta, out: &mut Vec<Output>) {
        self.agents.note(delta);
        self.check_annotations(delta, out);
        let before = Presence::subject(&self.cluster, delta);
        let change = self.cluster.apply(delta, now);
        let after = Presence::subject(&self.cluster, delta);
        self.presence.moved(before, after, now);
        match change {
            Change::None => return,
            Change::Verdicts => {}
            Change::Policy { key, change } => {
                if self.synced {
                    self.policy_changed(now, key, change, out);
                }
            }
        }
        self.epoch_wanted = true;
        self.note_shared(now, delta, out);
        if self.note_local(delta) {
            self.tell_addresses(out);
        }
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
        let body = Body::PolicyChange(PolicyChange { change, policy });
        self.write(now, body, out);
    }

    /// Says which addresses of a pod are another's too.
    fn note_shared(&self, now: Moment, delta: &Delta, out: &mut Vec<Output>) {
        let Delta::Pod(pod) = delta else {
            return;
        };
        for ip in &pod.ips {
            if self.cluster.lookup(*ip, now) != Identity::Ambiguous {
                continue;
            }
            let claims =
                |other: &&Pod| !other.finished && !other.host_network && other.ips.contains(ip);
            let pods = self
                .cluster
                .pods()
                .filter(claims)
                .map(|other| other.key.clone())
                .collect();
            out.push(Output::SharedAddress { ip: *ip, pods });
        }
    }

    /// Keeps the addresses of this node's pods; true when they may have changed.
    fn note_local(&mut self, delta: &Delta) -> bool {
        match delta {
            Delta::Pod(pod)
                if pod.is_local_to(&self.options.node) && !pod.finished && !pod.host_network =>
            {
                self.local.insert(pod.key.clone(), pod.ips.clone());
                true
            }
            Delta::Pod(Pod { key, .. }) | Delta::PodGone(key) => self.local.remove(key).is_some(),
            Delta::Namespace(_)
            | Delta::NamespaceGone(_)
            | Delta::Node(_)
            | Delta::NodeGone(_)
            | Delta::Service(_)
            | Delta::ServiceGone(_)
            | Delta::EndpointSlice(_)
            | Delta::EndpointSliceGone(_)
            | Delta::Policy(_)
            | Delta::PolicyGone(_) => false,
        }
    }

    /// The kernel side keeps drops whose one end is a pod of this node. A pod has its address before the server has heard of
    /// it, and what lies behind an interface is a pod's whatever the server says.
    fn tell_addresses(&mut self, out: &mut Vec<Output>) {
        let mut addresses: BTreeMap<IpAddr, Option<u32>> = BTreeMap::new();
        for link in self.links.iter() {
            for ip in &link.addresses {
                addresses.entry(*ip).or_insert(Some(link.index));
            }
        }
        for ip in self.local.values().flatten() {
            addresses.entry(*ip).or_default();
        }
        let addresses: Vec<_> = addresses.into_iter().collect();
        if addresses != self.pod_addresses {
            self.pod_addresses.clone_from(&addresses);
            out.push(Output::PodAddresses(addresses));
        }
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        if !self.synced {
            return;
        }
        self.wake(now, |held| held.waits_for != For::Claim, out);
        self.confirm_claims(now, out);
        self.move_epoch(now, out);
        self.write_folded(now, false, out);
        self.write_due(now, false, out);
        self.write_lost(now, false, out);
        self.tell_own_losses(now, out);
        let gone = self.presence.take_gone(now);
        out.extend(gone.into_iter().map(Output::Gone));
        if now.since(self.forgot) > FORGET_EVERY_NS {
            self.forgot = now;
            self.delays.forget(now);
            self.aggregate.forget(now);
            self.counters.forget(now);
            self.early.forget(now);
        }
    }

    fn move_epoch(&mut self, now: Moment, out: &mut Vec<Output>) {
        let since = now.since(self.epoch_moved);
        if since >= self.options.window_ns.min(EPOCH_MOST_NS)
            || (self.epoch_wanted && since >= EPOCH_LEAST_NS)
        {
            self.epoch += 1;
            self.epoch_moved = now;
            self.epoch_wanted = false;
            out.push(Output::Epoch(self.epoch));
        }
    }
}
