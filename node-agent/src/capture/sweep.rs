//! What is due each second: attempts past their deadline, running totals, silent UDP flows, losses.

use std::collections::{BTreeSet, HashMap};

use aya::Pod;
use aya::maps::{Map, MapData, PerCpuArray};
use node_agent_common::maps::{self, DEADLINE_NS, share, stage};
use node_agent_common::{
    Attempt, Conversation, ConversationKey, Event, Joined, Joint, REFUSED_LATE, Tuple, UdpFlow,
    kind, protocol,
};
use node_agent_engine::input::{Input, Moment, Stage};

use super::batch::Table;
use super::calls::Homes;
use super::decode::{self, Decoder, How};
use super::programs::{Error, Programs, Sizes};
use super::shares::Shares;
use super::staying::{Next, Staying, is_stopped_by_rule};

/// How long a sighting behind address translation waits for the one before it.
const JOINT_NS: u64 = 10_000_000_000;
/// How long a conversation is kept after its latest attempt, nanoseconds.
const IDLE_NS: u64 = 300_000_000_000;

/// The tables that user space sweeps.
pub(super) struct Tables {
    attempts: Table<Tuple, Attempt>,
    conversations: Table<ConversationKey, Conversation>,
    udp_flows: Table<Tuple, UdpFlow>,
    pub(super) shares: Shares,
    joints: Table<Joint, Joined>,
    staying: Staying,
    lost: PerCpuArray<MapData, u64>,
    drops: PerCpuArray<MapData, u64>,
    /// What was said last of each conversation.
    said: HashMap<ConversationKey, u64>,
    lost_said: [u64; LOSSES.len()],
    malformed: u64,
    malformed_said: u64,
}

/// Whether attempts end by their deadline, or because capture ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sweep {
    Due,
    Last,
}

/// What of the kernel side's stages is a loss of ours.
const LOSSES: [(u32, Stage); 4] = [
    (stage::RING, Stage::Ring),
    (stage::ATTEMPTS, Stage::Attempts),
    (stage::CONVERSATIONS, Stage::Conversations),
    (stage::UDP_FLOWS, Stage::UdpFlows),
];

impl Tables {
    /// Takes the tables over.
    pub(super) fn new(programs: &mut Programs, sizes: Sizes) -> Result<Self, Error> {
        Ok(Self {
            shares: Shares::new(programs, sizes)?,
            attempts: table(programs, maps::ATTEMPTS)?,
            conversations: table(programs, maps::CONVERSATIONS)?,
            udp_flows: table(programs, maps::UDP_FLOWS)?,
            joints: table(programs, maps::JOINTS)?,
            staying: Staying::new(sizes.attempts),
            lost: counters(programs.take(maps::LOST)?, maps::LOST)?,
            drops: counters(programs.take(maps::DROPS)?, maps::DROPS)?,
            said: HashMap::new(),
            lost_said: [0; LOSSES.len()],
            malformed: 0,
            malformed_said: 0,
        })
    }

    /// Notes that something from the kernel side made no sense.
    pub(super) fn malformed(&mut self) {
        self.malformed += 1;
    }

    /// Does all that is due. Losses come first: an absence in a window with a loss proves nothing.
    pub(super) fn sweep(
        &mut self,
        decoder: &mut Decoder,
        now: Moment,
        which: Sweep,
        sink: &mut impl FnMut(Input),
    ) {
        let swept = self.sweep_attempts(now, which);
        self.say_losses(sink);
        for (tuple, attempt, how) in swept {
            match decoder.swept(&tuple, &attempt, now, how) {
                Some(swept) => sink(Input::Swept(Box::new(swept))),
                None => self.malformed(),
            }
        }
        self.sweep_udp_flows(now);
        self.sweep_joints(now);
        self.shares.write();
    }

    /// Running totals, to be handed on after the events that they include.
    pub(super) fn count(&mut self, now: Moment, homes: &Homes) -> Vec<Input> {
        let mut counted = Vec::new();
        for (mut key, conversation) in self.conversations.entries() {
            if self.said.get(&key) == Some(&conversation.total) {
                if now.since(Moment(conversation.last_ns)) > IDLE_NS {
                    if self.conversations.remove(&key) {
                        self.shares.release(conversation.slot, share::CONVERSATIONS);
                    }
                    self.said.remove(&key);
                }
                continue;
            }
            self.said.insert(key, conversation.total);
            // What stops an attempt is no end of it.
            let is_end = matches!(
                key.kind,
                kind::ANSWERED | kind::REFUSED | kind::ESTABLISHED | kind::DENIED
            );
            if !is_end {
                continue;
            }
            homes.settle_count(&mut key);
            match decode::counted(&key, &conversation) {
                Some(total) => counted.push(Input::Counted(Box::new(total))),
                None => self.malformed += 1,
            }
        }
        counted
    }

    /// Tells whether an event says nothing new: the attempt that was superseded had been swept.
    pub(super) fn is_told(&self, event: &Event) -> bool {
        event.kind == kind::SUPERSEDED && self.staying.has(&event.tuple, event.attempt.first_ns)
    }

    /// The attempts whose end is not told yet, or told otherwise, and which are past their deadline.
    fn sweep_attempts(&mut self, now: Moment, which: Sweep) -> Vec<(Tuple, Attempt, How)> {
        let entries = self.attempts.entries();
        let mut due = Vec::new();
        self.staying.begin();
        for (key, attempt) in entries {
            let tuple = attempt.tuple(&key);
            let is_due = now.since(Moment(attempt.first_ns)) >= DEADLINE_NS;
            if !is_due && which == Sweep::Due {
                continue;
            }
            if let Some(found) = self.staying.find(&tuple, &attempt, now) {
                if found.is_answered {
                    due.push((tuple, attempt, How::Again));
                }
                self.take(&tuple, &attempt, found.next, found.since);
                continue;
            }
            if !self.staying.admit(&tuple, &attempt, now) {
                let next = match tuple.protocol {
                    protocol::UDP => Next::Settle,
                    _ => Next::Forget,
                };
                // Someone else may have ended it since it was read: then it had its outcome.
                if !self.take(&tuple, &attempt, next, now) {
                    continue;
                }
            }
            if !self.counts_at_backend(&tuple, &attempt) {
                self.staying.open(&tuple, &attempt);
                let how = if is_due { How::Over } else { How::CutShort };
                due.push((tuple, attempt, how));
            }
        }
        self.staying.end();
        due
    }

    /// Takes an attempt out, if it does not stay; false when somebody else did.
    fn take(&mut self, tuple: &Tuple, attempt: &Attempt, next: Next, last: Moment) -> bool {
        match next {
            Next::Stay => return true,
            Next::Settle => self.settle(tuple, attempt, last, None),
            Next::Again { was_stopped } => self.settle(tuple, attempt, last, Some(was_stopped)),
            Next::Forget => {}
        }
        self.forget(tuple, attempt.slot)
    }

    /// Takes an attempt out; false when somebody else did.
    fn forget(&mut self, tuple: &Tuple, slot: u16) -> bool {
        let (key, _) = Attempt::key(tuple);
        let forgotten = self.attempts.remove(&key);
        if forgotten {
            self.shares.release(slot, share::ATTEMPTS);
        }
        forgotten
    }

    /// An attempt that was sighted behind address translation too: it is told of there.
    fn counts_at_backend(&mut self, tuple: &Tuple, attempt: &Attempt) -> bool {
        let is_before = attempt.source_ifindex != 0 && attempt.destination_ifindex == 0;
        if !is_before || tuple.protocol == protocol::UDP {
            return false;
        }
        let joint = Joint::of(tuple, attempt.sequence);
        let joined = self.joints.get(&joint);
        joined.is_some_and(|joined| joined.destination != tuple.destination)
            && self.joints.remove(&joint)
    }

    fn sweep_joints(&mut self, now: Moment) {
        for (joint, joined) in self.joints.entries() {
            if now.since(Moment(joined.at_ns)) > JOINT_NS {
                self.joints.remove(&joint);
            }
        }
    }

    /// Its further packets are no attempts until it was silent, or due; its next one is when it is known whether all that came
    /// before was stopped.
    fn settle(&mut self, tuple: &Tuple, attempt: &Attempt, last: Moment, before: Option<bool>) {
        /// `BPF_NOEXIST`: an answer of this very moment stands.
        const NO_EXIST: u64 = 1;
        /// `BPF_EXIST`.
        const EXIST: u64 = 2;
        let (key, turned) = tuple.paired();
        let flow = UdpFlow {
            first_ns: before.map_or(attempt.first_ns, |_| 0),
            last_ns: last.0,
            answered: u8::from(!matches!(attempt.answered, 0 | REFUSED_LATE)),
            cached: 0,
            turned: u8::from(turned),
            stopped: u8::from(before.unwrap_or_else(|| is_stopped_by_rule(attempt))),
            padding: [0; 2],
            slot: attempt.slot,
        };
        // It was due, and its attempt has ended: what it knew is old.
        let known = self.udp_flows.get(&key);
        if let Some(known) = known.filter(|known| known.answered == 0) {
            let slot = known.slot;
            let _ = self
                .udp_flows
                .insert(&key, &UdpFlow { slot, ..flow }, EXIST);
            return;
        }
        // Without room its next packet is an attempt again: nothing is lost.
        if self.shares.has_room_for_udp_flow(flow.slot)
            && self.udp_flows.insert(&key, &flow, NO_EXIST).is_ok()
        {
            self.shares.take_udp_flow(flow.slot);
        }
    }

    fn sweep_udp_flows(&mut self, now: Moment) {
        for (tuple, flow) in self.udp_flows.entries() {
            if flow.is_silent(now.0) && self.udp_flows.remove(&tuple) {
                self.shares.release(flow.slot, share::UDP_FLOWS);
            }
        }
    }

    /// Forgets the UDP conversations of addresses that have another owner.
    pub(super) fn forget_udp_of(&mut self, addresses: &BTreeSet<[u8; 16]>) {
        if addresses.is_empty() {
            return;
        }
        for (tuple, slot) in self.staying.take_udp_of(addresses) {
            self.forget(&tuple, slot);
        }
        for (tuple, flow) in self.udp_flows.entries() {
            let is_theirs =
                addresses.contains(&tuple.source) || addresses.contains(&tuple.destination);
            if is_theirs && self.udp_flows.remove(&tuple) {
                self.shares.release(flow.slot, share::UDP_FLOWS);
            }
        }
    }

    fn say_losses(&mut self, sink: &mut impl FnMut(Input)) {
        for ((index, stage), said) in LOSSES.into_iter().zip(&mut self.lost_said) {
            let total = sum(&self.lost, index);
            if total > *said {
                *said = total;
                sink(Input::Lost { stage, total });
            }
        }
        if self.malformed > self.malformed_said {
            self.malformed_said = self.malformed;
            sink(Input::Lost {
                stage: Stage::Decode,
                total: self.malformed,
            });
        }
    }

    /// Packets dropped in the watched namespaces so far, by reason; only those that occurred.
    pub(super) fn drops(&self) -> Vec<(u32, u64)> {
        let all = (0..maps::REASONS).map(|reason| (reason, sum(&self.drops, reason)));
        all.filter(|(_, total)| *total != 0).collect()
    }

    /// Packets set aside so far: those that could not be read, and those that are not unicast.
    pub(super) fn set_aside(&self) -> (u64, u64) {
        let sum = |stage| sum(&self.lost, stage);
        (sum(stage::UNREADABLE), sum(stage::NOT_UNICAST))
    }
}

fn table<K: Pod, V: Pod>(
    programs: &mut Programs,
    name: &'static str,
) -> Result<Table<K, V>, Error> {
    Table::new(name, programs.take(name)?)
}

fn counters(map: Map, name: &'static str) -> Result<PerCpuArray<MapData, u64>, Error> {
    PerCpuArray::try_from(map).map_err(|source| Error::Map { map: name, source })
}

fn sum(counters: &PerCpuArray<MapData, u64>, index: u32) -> u64 {
    let values = counters.get(&index, 0);
    values.map_or(0, |values| values.iter().sum())
}
