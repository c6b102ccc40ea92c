//! What bears the numbers of an attempt before it: that one's first packet, sent again, or another attempt.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::agent::Agent;
use netns::frame::{Ends, HOPS, Packet, SYN, TCP, tcp};
use netns::ground::{DB_FROM_API, Ground, LIMIT};
use netns::raw::{self, Raw, Wire, hardware_address};
use netns::record::Record;
use netns::scenario::Family;
use netns::traffic::Servers;
use netns::trials;

const API: &str = "kasm/kasm-api-0";
const DB: &str = "kasm/kasm-db-0";
/// May go nowhere but to a name server.
const DENIED: &str = "default/debug";
/// The client's port and its first sequence number, always the same.
const PORT: u16 = 5555;
const SEQUENCE: u32 = 7;
/// The world.
const WORLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// TCP's flag.
const RST: u8 = 4;
/// Nobody waits so long before he sends his first packet again the first time.
const TOO_LONG: Duration = Duration::from_secs(6);
/// The same when it is known only from the sweep when that was.
const FAR_TOO_LONG: Duration = Duration::from_secs(15);
/// SCTP: a port, chunks, and the tags of both ends.
const SCTP_PORT: u16 = 3868;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const TAGS: [u32; 2] = [0x1234_5678, 0x9abc_def0];

fn main() {
    trials::conclude(Ok(vec![
        trials::test("who resets what he hears tries anew each time", reset),
        trials::test("who is refused and waits tries anew", refused),
        trials::test("who is stopped and waits for long tries anew", stopped),
        trials::test("an INIT that is sent again is no attempt", init),
    ]))
}

/// Somebody outside who writes his segments himself, and the database, which he may not ask.
struct Outside {
    ground: Ground,
    agent: Agent,
    db: IpAddr,
    port: u16,
    ends: Ends,
    /// His interface.
    wire: Wire,
    /// The database's.
    inside: Wire,
    _servers: Servers,
}

impl Outside {
    fn new() -> anyhow::Result<Self> {
        let mut ground = Ground::new()?;
        ground.write_policies(DB_FROM_API)?;
        let mut agent = ground.agent()?;
        ground.add_pods(&agent, |key| key == DB)?;
        let servers = ground.servers()?;
        let port = ground.row(API, DB)?.port;
        let db = ground.scenario.address(DB, Family::V4)?;
        agent.settle()?;
        let node = &ground.node;
        let ends = Ends {
            to: hardware_address(&node.namespace, "uplink0")?,
            from: hardware_address(&node.world, "uplink0")?,
        };
        Ok(Self {
            wire: Wire::open(&node.world, "uplink0")?,
            inside: Wire::open(node.namespace_of(DB)?, "eth0")?,
            ground,
            agent,
            db,
            port,
            ends,
            _servers: servers,
        })
    }

    /// His SYN, always the same.
    fn asks(&self, port: u16) -> anyhow::Result<()> {
        let syn = self.ends.packet(&Packet {
            from: IpAddr::V4(WORLD),
            to: self.db,
            hops: HOPS,
            protocol: TCP,
            transport: &tcp([PORT, port], SEQUENCE, SYN),
        })?;
        self.wire.send(&syn).context("send a SYN")
    }

    /// Waits until a RST passes the database's interface that is sent to that port.
    fn until_reset(&self, port: u16) -> anyhow::Result<()> {
        let is_it = |frame: &[u8]| {
            frame.get(23) == Some(&TCP)
                && frame.get(36..38) == Some(&port.to_be_bytes())
                && frame.get(47).is_some_and(|flags| flags & RST != 0)
        };
        let found = self.inside.receive(1, LIMIT, is_it)?;
        ensure!(!found.is_empty(), "no RST to port {port}");
        Ok(())
    }

    /// Lets so much time pass: here that is the condition.
    fn waits(&mut self, time: Duration) -> anyhow::Result<()> {
        self.agent.wait_until(time, |_| false).map(drop)
    }

    fn tells(self, said: &str, count: u64) -> anyhow::Result<()> {
        tells(self.agent, &[(said, count)])
    }
}

/// That and nothing else is told of connections.
fn tells(mut agent: Agent, expected: &[(&str, u64)]) -> anyhow::Result<()> {
    let all: u64 = expected.iter().map(|(_, count)| count).sum();
    agent.wait_until(LIMIT, |records| {
        sum(records) >= all && connections(records).count() >= expected.len()
    })?;
    // What would be counted twice comes with its own deadline.
    agent.wait_until(Duration::from_secs(5), |records| sum(records) > all)?;
    let records = agent.stop()?.records;
    let lines: Vec<&str> = connections(&records).map(|r| r.line.as_str()).collect();
    let mut found: Vec<(String, u64)> = Vec::new();
    for record in connections(&records) {
        let said = format!("{}, {}", record.assessment(), record.outcome());
        match found.iter_mut().find(|(known, _)| *known == said) {
            Some((_, count)) => *count += record.count(),
            None => found.push((said, record.count())),
        }
    }
    let expected: Vec<(String, u64)> = expected
        .iter()
        .map(|(said, count)| ((*said).to_owned(), *count))
        .collect();
    ensure!(
        found == expected,
        "not {expected:?} but {found:?}:\n{}",
        lines.join("\n")
    );
    Ok(())
}

fn connections(records: &[Record]) -> impl Iterator<Item = &Record> {
    let of_it = |record: &&Record| record.kind() == "connection";
    records.iter().filter(of_it)
}

fn sum(records: &[Record]) -> u64 {
    connections(records).map(Record::count).sum()
}

/// As scanners do, whose kernel knows nothing of what they have sent.
fn reset() -> anyhow::Result<()> {
    let outside = Outside::new()?;
    for _ in 0..3 {
        outside.asks(outside.port)?;
        outside.until_reset(outside.port)?;
    }
    outside.tells("unenforced, answered", 3)
}

/// Nobody answers a RST. What comes within a moment may be a copy.
fn refused() -> anyhow::Result<()> {
    let mut outside = Outside::new()?;
    let closed = outside.port + 1;
    for _ in 0..2 {
        for _ in 0..2 {
            outside.asks(closed)?;
            outside.until_reset(PORT)?;
        }
        outside.waits(TOO_LONG)?;
    }
    outside.tells("unenforced, refused", 2)
}

fn stopped() -> anyhow::Result<()> {
    let mut outside = Outside::new()?;
    outside.ground.node.namespace.nft(
        "table ip outside {\n chain first {\n  type filter hook prerouting priority raw;\n  \
         iifname uplink0 ip protocol tcp drop\n }\n}\n",
    )?;
    outside.asks(outside.port)?;
    outside.waits(FAR_TOO_LONG)?;
    outside.asks(outside.port)?;
    outside.tells("blocked, dropped", 2)
}

/// It is stopped twice, and comes through after it was told of.
fn init() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |key| key == DENIED || key == DB)?;
    let address = |pod| ground.scenario.address(pod, Family::V4);
    let (from, to) = (address(DENIED)?, address(DB)?);
    let node = &ground.node;
    let client = Raw::open(node.namespace_of(DENIED)?, from, raw::SCTP)?;
    let server = Raw::open(node.namespace_of(DB)?, to, raw::SCTP)?;
    node.namespace.nft(
        "table ip stop {\n chain forward {\n  type filter hook forward priority 0;\n  \
         ip protocol sctp drop\n }\n}\n",
    )?;
    agent.settle()?;
    let asks = || client.send(to, &raw::sctp([PORT, SCTP_PORT], 0, INIT, TAGS[0]));
    asks()?;
    let end = Instant::now() + LIMIT;
    while agent
        .metrics(&node.namespace)?
        .sum("netverdict_connections_total", &[])
        == 0
    {
        ensure!(Instant::now() < end, "it is not counted");
        agent.settle()?;
    }
    asks()?;
    agent.wait_until(Duration::from_secs(5), |records| sum(records) > 1)?;
    node.namespace.nft("delete table ip stop\n")?;
    asks()?;
    server.receive(LIMIT, |packet| packet.get(12) == Some(&INIT))?;
    server.send(
        from,
        &raw::sctp([SCTP_PORT, PORT], TAGS[0], INIT_ACK, TAGS[1]),
    )?;
    tells(
        agent,
        &[("blocked, dropped", 1), ("unenforced, answered", 0)],
    )
}
