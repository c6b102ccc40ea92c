//! What is due each second: attempts past their deadline, running totals, silent UDP flows, losses.

use std::collections::HashMap;

use aya::Pod;
use aya::maps::{Map, MapData, PerCpuArray};
use node_agent_common::maps::{self, UDP_SILENT_NS, stage};
use node_agent_common::{Attempt, Conversation, ConversationKey, Tuple, UdpFlow, protocol};
use node_agent_engine::input::{Input, Moment, Stage};

use super::batch::Table;
use super::decode::{self, Decoder};
use super::programs::{Error, Programs};

/// How long an attempt waits for its outcome, nanoseconds.
const DEADLINE_NS: u64 = 3_000_000_000;
/// How long a conversation is kept after its latest attempt, nanoseconds.
const IDLE_NS: u64 = 300_000_000_000;

/// The tables that user space sweeps.
pub(super) struct Tables {
    attempts: Table<Tuple, Attempt>,
    conversations: Table<ConversationKey, Conversation>,
    udp_flows: Table<Tuple, UdpFlow>,
    lost: PerCpuArray<MapData, u64>,
    drops: PerCpuArray<MapData, u64>,
    /// What was said last of each conversation.
    said: HashMap<ConversationKey, u64>,
    lost_said: [u64; LOSSES.len()],
    malformed: u64,
    malformed_said: u64,
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
    pub(super) fn new(programs: &mut Programs) -> Result<Self, Error> {
        Ok(Self {
            attempts: table(programs, maps::ATTEMPTS)?,
            conversations: table(programs, maps::CONVERSATIONS)?,
            udp_flows: table(programs, maps::UDP_FLOWS)?,
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

    /// Does all that is due.
    pub(super) fn sweep(
        &mut self,
        decoder: &mut Decoder,
        now: Moment,
        sink: &mut impl FnMut(Input),
    ) {
        self.sweep_attempts(decoder, now, sink);
        self.sweep_udp_flows(now);
        self.count(now, sink);
        self.say_losses(sink);
    }

    fn sweep_attempts(&mut self, decoder: &mut Decoder, now: Moment, sink: &mut impl FnMut(Input)) {
        for (tuple, attempt) in self.attempts.entries() {
            if now.since(Moment(attempt.first_ns)) < DEADLINE_NS {
                continue;
            }
            if tuple.protocol == protocol::UDP {
                self.settle(&tuple, &attempt, now);
            }
            // Someone else may have ended it since it was read: then it had its outcome.
            if !self.attempts.remove(&tuple) {
                continue;
            }
            match decoder.swept(&tuple, &attempt) {
                Some(swept) => sink(Input::Swept(Box::new(swept))),
                None => self.malformed(),
            }
        }
    }

    /// Its further packets are no attempts until it was silent.
    fn settle(&mut self, tuple: &Tuple, attempt: &Attempt, now: Moment) {
        /// `BPF_NOEXIST`: an answer of this very moment stands.
        const NO_EXIST: u64 = 1;
        let flow = UdpFlow {
            first_ns: attempt.first_ns,
            last_ns: now.0,
            answered: 0,
            padding: 0,
        };
        // Without room its next packet is an attempt again: nothing is lost.
        let _ = self.udp_flows.insert(tuple, &flow, NO_EXIST);
    }

    fn sweep_udp_flows(&mut self, now: Moment) {
        for (tuple, flow) in self.udp_flows.entries() {
            if now.since(Moment(flow.last_ns)) > UDP_SILENT_NS {
                self.udp_flows.remove(&tuple);
            }
        }
    }

    fn count(&mut self, now: Moment, sink: &mut impl FnMut(Input)) {
        for (key, conversation) in self.conversations.entries() {
            if self.said.get(&key) == Some(&conversation.total) {
                if now.since(Moment(conversation.last_ns)) > IDLE_NS {
                    self.conversations.remove(&key);
                    self.said.remove(&key);
                }
                continue;
            }
            self.said.insert(key, conversation.total);
            match decode::counted(&key, &conversation) {
                Some(counted) => sink(Input::Counted(Box::new(counted))),
                None => self.malformed += 1,
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
