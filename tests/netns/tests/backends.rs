//! A Service with backends on two nodes, an agent on each: every attempt counts once in all, whoever took it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use netns::ground::LIMIT;
use netns::pair::{Guard, Member, PORT, Pair, node_address};
use netns::scenario::Family;
use netns::traffic::{Client, Listen, Protocol, Saw, Server, Servers};
use netns::trials;

/// Attempts of a client one way; no multiple of the backends, so that each series begins with another one.
const ATTEMPTS: u64 = 10;
/// Longer than the agent reads its totals apart.
const DEADLINE: Duration = Duration::from_secs(5);

const fn member(name: &'static str, node: usize) -> Member {
    Member {
        name,
        node,
        guard: Guard::Open,
        beside: &[],
    }
}

/// The Service of the first leads to the first three in turn. One of them is its own client, too.
const MEMBERS: [Member; 5] = [
    Member {
        beside: &["near-too", "far"],
        ..member("near", 0)
    },
    member("near-too", 0),
    member("far", 1),
    member("client", 0),
    member("far-client", 1),
];

fn main() {
    let of = |protocol| move || once(protocol);
    trials::conclude(Ok(vec![
        trials::test("each datagram's attempt counts once", of(Protocol::Udp)),
        trials::test("each connection counts once", of(Protocol::Tcp)),
    ]))
}

fn once(protocol: Protocol) -> anyhow::Result<()> {
    let mut pair = Pair::new(&MEMBERS)?;
    let _servers = serve(&pair, protocol)?;
    for agent in &mut pair.agents {
        agent.settle()?;
    }
    let mut made = 0;
    for family in [Family::V4, Family::V6] {
        let port = pair.node_port("near")?;
        let service = SocketAddr::new(pair.service("near", family)?, PORT);
        let node_ports = [0, 1].map(|node| SocketAddr::new(node_address(node, family), port));
        for client in ["client", "near", "far-client"] {
            for to in [service, node_ports[0], node_ports[1]] {
                made += attempt(&pair, client, to, protocol)?;
            }
        }
    }
    let end = Instant::now() + LIMIT;
    while pair.counted(&[])? < made && Instant::now() < end {
        std::thread::yield_now();
    }
    for agent in &mut pair.agents {
        agent.wait_until(DEADLINE, |_| false)?;
    }
    let all = pair.counted(&[])?;
    ensure!(
        all == made,
        "{all} of {made} attempts are counted:\n{}",
        series(&pair)?
    );
    Ok(())
}

fn serve(pair: &Pair, protocol: Protocol) -> anyhow::Result<Servers> {
    let mut listens = Vec::new();
    for name in ["near", "near-too", "far"] {
        for family in [Family::V4, Family::V6] {
            listens.push(Listen {
                namespace: pair.pod(name)?,
                at: SocketAddr::new(pair.address(name, family)?, PORT),
                protocol,
                server: Server::Answering,
            });
        }
    }
    Servers::start(&listens)
}

/// Attempts from as many sockets, which are all there until the last one is made: a datagram from a port that was used
/// before is no attempt of its own.
fn attempt(pair: &Pair, client: &str, to: SocketAddr, protocol: Protocol) -> anyhow::Result<u64> {
    let mut clients = Vec::new();
    for _ in 0..ATTEMPTS {
        let opened = Client::open(pair.pod(client)?, to, protocol)?;
        let saw = opened.try_it(LIMIT)?;
        ensure!(saw == Saw::Answer, "{client} to {to} saw {saw:?}");
        clients.push(opened);
    }
    Ok(ATTEMPTS)
}

/// What both agents count.
fn series(pair: &Pair) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for (agent, node) in pair.agents.iter().zip(&pair.nodes) {
        let metrics = agent.metrics(&node.namespace)?.0;
        let counted = metrics
            .lines()
            .filter(|line| line.starts_with("netverdict_connections_total"));
        lines.extend(counted.map(str::to_owned));
    }
    Ok(lines.join("\n"))
}
