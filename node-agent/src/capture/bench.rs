//! What the programs at an interface cost, over one that does nothing, in one and the same run.
//!
//! The kernel runs a program on a made-up packet (`BPF_PROG_TEST_RUN`) and takes the time itself. Runs of both
//! programs alternate, so that a busy machine spoils both alike.

mod calls;
mod traced;

pub use calls::calls;
pub use traced::{drops, states};

use aya::maps::RingBuf;
use aya::programs::{TestRun, TestRunOptions};
use node_agent_common::{Attempt, Conversation, ConversationKey, Tuple, maps};

use super::batch::Table;
use super::kernel::Kernel;
use super::programs::{Error, FROM_POD, NOTHING, Programs, Sizes, TO_POD, With};

/// How often each figure is taken.
const ROUNDS: usize = 9;
/// Repeats of one packet in a round.
const REPEATS: u32 = 200_000;
/// Different packets in a round.
const PACKETS: u16 = 4000;

/// One figure: nanoseconds over the empty program.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The lowest of all rounds.
    pub min: f64,
    /// The median of all rounds.
    pub median: f64,
    /// The highest of all rounds.
    pub max: f64,
    /// What was promised, if anything was.
    pub bound: Option<f64>,
}

/// A made-up packet.
#[derive(Clone, Copy)]
struct Packet {
    protocol: u8,
    flags: u8,
    ports: [u16; 2],
    is_reply: bool,
}

impl Packet {
    fn bytes(self) -> Vec<u8> {
        let Self {
            protocol,
            flags,
            ports: [source, destination],
            is_reply,
        } = self;
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        bytes.extend([0x45, 0, 0, 140, 0, 0, 0, 0, 64, protocol, 0, 0]);
        let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (from, to) = if is_reply {
            (server, client)
        } else {
            (client, server)
        };
        bytes.extend(from);
        bytes.extend(to);
        bytes.extend(source.to_be_bytes());
        bytes.extend(destination.to_be_bytes());
        if protocol == 6 {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        } else {
            bytes.extend([0, 120, 0, 0]);
        }
        bytes.resize(154, 0);
        bytes
    }
}

/// The loaded programs and the tables that a round leaves full.
struct Bench {
    programs: Programs,
    ring: RingBuf<aya::maps::MapData>,
    attempts: Table<Tuple, Attempt>,
    conversations: Table<ConversationKey, Conversation>,
}

/// Measures the program at a pod's interface, where calls are not watched and where they are.
///
/// # Errors
///
/// As [`super::Capture::start`].
pub fn bench() -> Result<Vec<Figure>, Error> {
    let mut figures = at_interface(With::NoCalls)?;
    for mut figure in at_interface(With::Calls)? {
        figure.name += ", calls watched";
        figures.push(figure);
    }
    Ok(figures)
}

fn at_interface(with: With) -> Result<Vec<Figure>, Error> {
    let kernel = Kernel::read()?;
    let mut programs = Programs::open(Sizes::default(), &kernel, with)?;
    programs.load()?;
    programs.load_one(NOTHING)?;
    let failed = |source| Error::Map {
        map: maps::EVENTS,
        source,
    };
    let mut bench = Bench {
        ring: RingBuf::try_from(programs.take(maps::EVENTS)?).map_err(failed)?,
        attempts: Table::new(maps::ATTEMPTS, programs.take(maps::ATTEMPTS)?)?,
        conversations: Table::new(maps::CONVERSATIONS, programs.take(maps::CONVERSATIONS)?)?,
        programs,
    };
    let tcp = |flags, ports| Packet {
        protocol: 6,
        flags,
        ports,
        is_reply: false,
    };
    let udp = |ports, is_reply| Packet {
        protocol: 17,
        flags: 0,
        ports,
        is_reply,
    };
    // Opened, answered, and once more for the cache.
    for (program, packet) in [
        (FROM_POD, udp([999, 53], false)),
        (TO_POD, udp([53, 999], true)),
        (FROM_POD, udp([999, 53], false)),
    ] {
        bench.run(program, &packet.bytes(), 1)?;
    }
    let figures = vec![
        bench.repeated("established TCP packet", 3.0, tcp(0x10, [1, 80]))?,
        bench.repeated("known UDP conversation", 10.0, udp([999, 53], false))?,
        bench.repeated("repeated SYN", 100.0, tcp(0x02, [2, 80]))?,
        bench.different("new TCP attempt", 450.0, |n| tcp(0x02, [1000 + n, 80]))?,
        bench.different("new TCP conversation", 450.0, |n| tcp(0x02, [7, 1000 + n]))?,
        bench.different("new UDP attempt", 450.0, |n| udp([1000 + n, 53], false))?,
        bench.different("new UDP conversation", 450.0, |n| udp([7, 1000 + n], false))?,
    ];
    Ok(figures)
}

impl Bench {
    /// Nanoseconds a run.
    fn run(&mut self, program: &'static str, packet: &[u8], repeat: u32) -> Result<f64, Error> {
        let options = TestRunOptions {
            data_in: Some(packet),
            repeat,
            ..TestRunOptions::default()
        };
        let result = self.programs.classifier(program)?.test_run(options);
        let result = result.map_err(|source| Error::Program { program, source })?;
        // The kernel gives the mean of all repeats.
        Ok(result.duration.as_secs_f64() * 1e9)
    }

    fn repeated(
        &mut self,
        name: &'static str,
        bound: f64,
        packet: Packet,
    ) -> Result<Figure, Error> {
        let bytes = packet.bytes();
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let empty = self.run(NOTHING, &bytes, REPEATS)?;
            let ours = self.run(FROM_POD, &bytes, REPEATS)?;
            rounds.push(ours - empty);
        }
        Ok(figure(name, Some(bound), rounds))
    }

    fn different(
        &mut self,
        name: &'static str,
        bound: f64,
        packet: impl Fn(u16) -> Packet,
    ) -> Result<Figure, Error> {
        let packets: Vec<_> = (0..PACKETS).map(|number| packet(number).bytes()).collect();
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            self.clear();
            let (mut empty, mut ours) = (0.0, 0.0);
            for bytes in &packets {
                empty += self.run(NOTHING, bytes, 1)?;
            }
            for bytes in &packets {
                ours += self.run(FROM_POD, bytes, 1)?;
            }
            rounds.push((ours - empty) / f64::from(PACKETS));
        }
        self.clear();
        Ok(figure(name, Some(bound), rounds))
    }

    fn clear(&mut self) {
        for (tuple, _) in self.attempts.entries() {
            self.attempts.remove(&tuple);
        }
        for (key, _) in self.conversations.entries() {
            self.conversations.remove(&key);
        }
        while self.ring.next().is_some() {}
    }
}

fn figure(name: &str, bound: Option<f64>, mut rounds: Vec<f64>) -> Figure {
    rounds.sort_by(f64::total_cmp);
    let at = |index: usize| rounds.get(index).copied().unwrap_or(f64::NAN);
    Figure {
        name: name.to_owned(),
        min: at(0),
        median: at(rounds.len() / 2),
        max: at(rounds.len().saturating_sub(1)),
        bound,
    }
}
