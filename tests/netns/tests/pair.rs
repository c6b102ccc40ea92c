//! Two nodes with an agent each: every attempt is counted once in all, and both tell of it under one name.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::ground::LIMIT;
use netns::pair::{Guard, Member, PORT, Pair, node_address};
use netns::record::Record;
use netns::scenario::Family;
use netns::traffic::{Client, Listen, Protocol, Saw, Server, Servers, connect};
use netns::trials;

/// Attempts of each case and protocol.
const ATTEMPTS: u64 = 3;
/// A client that hears nothing gives up before its SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(300);
/// An attempt without an end is told of 3 s after it began, by a sweep each second.
const DEADLINE: Duration = Duration::from_secs(5);

/// How a client addresses its destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Service,
    /// A port of the client's own node.
    NodePort,
    /// A port of the other node, which hides the client from whom it leads to.
    OtherNodePort,
}

/// A destination, and what becomes of what the client sends there.
struct Case {
    to: &'static str,
    node: usize,
    guard: Guard,
    way: Way,
    server: Server,
    saw: Saw,
}

const fn case(to: &'static str, node: usize, way: Way) -> Case {
    Case {
        to,
        node,
        guard: Guard::Open,
        way,
        server: Server::Answering,
        saw: Saw::Answer,
    }
}

const fn stopped(to: &'static str, saw: Saw) -> Case {
    Case {
        guard: Guard::Closed,
        saw,
        ..case(to, 1, Way::Direct)
    }
}

const fn shut(to: &'static str, way: Way) -> Case {
    Case {
        server: Server::Closed,
        saw: Saw::Refused,
        ..case(to, 1, way)
    }
}

/// The client is a pod of the first node.
const CLIENT: &str = "client";
const CASES: [Case; 18] = [
    case("near", 0, Way::Direct),
    case("far", 1, Way::Direct),
    shut("shut", Way::Direct),
    stopped("home", Saw::Nothing),
    stopped("away", Saw::Nothing),
    stopped("rejected", Saw::Refused),
    case("leak", 1, Way::Direct),
    Case {
        saw: Saw::Nothing,
        ..case("lost", 1, Way::Direct)
    },
    case("served-near", 0, Way::Service),
    case("served-far", 1, Way::Service),
    case(CLIENT, 0, Way::Service),
    case("ported-near", 0, Way::NodePort),
    case("ported-far", 1, Way::NodePort),
    case("far-ported-near", 0, Way::OtherNodePort),
    case("far-ported-far", 1, Way::OtherNodePort),
    Case {
        node: 0,
        ..shut("far-ported-shut", Way::OtherNodePort)
    },
    shut("served-shut", Way::Service),
    shut("ported-shut", Way::NodePort),
];

fn main() {
    trials::conclude(Ok(vec![
        trials::test("each attempt counts once in all, IPv4", || once(Family::V4)),
        trials::test("each attempt counts once in all, IPv6", || once(Family::V6)),
        trials::test("a client outside is known by its own address", outside),
    ]))
}

fn once(family: Family) -> anyhow::Result<()> {
    let mut pair = pair()?;
    stop(&pair, family)?;
    let servers = serve(&pair, family)?;
    for agent in &mut pair.agents {
        agent.settle()?;
    }
    for case in &CASES {
        attempt(&pair, case, family)?;
    }
    await_counts(&pair)?;
    for agent in &mut pair.agents {
        agent.wait_until(DEADLINE, |_| false)?;
    }
    for case in &CASES {
        for protocol in ["TCP", "UDP"] {
            let counted = counted(&pair, case, protocol)?;
            let to = case.to;
            ensure!(
                counted == ATTEMPTS,
                "{counted} of {ATTEMPTS} {protocol} attempts to `{to}` are counted:\n{}",
                told(&pair, to)
            );
        }
    }
    let (all, made) = (pair.counted(&[])?, attempts()?);
    ensure!(
        all == made,
        "{all} of {made} attempts are counted:\n{}",
        told(&pair, "")
    );
    drop(servers);
    let Pair { agents, .. } = pair;
    let [here, there] = agents.map(|agent| agent.stop().map(|finished| finished.records));
    agree(&here?, &there?, family)
}

/// From the world to a node's port, and from there to a pod of that node, which takes the node for its client.
fn outside() -> anyhow::Result<()> {
    let inside = Member {
        name: "inside",
        node: 0,
        guard: Guard::Open,
        beside: &[],
    };
    let mut pair = Pair::new(&[inside])?;
    let mut listens = Vec::new();
    for family in [Family::V4, Family::V6] {
        listens.push(Listen {
            namespace: pair.pod("inside")?,
            at: SocketAddr::new(pair.address("inside", family)?, PORT),
            protocol: Protocol::Tcp,
            server: Server::Answering,
        });
    }
    let _servers = Servers::start(&listens)?;
    for agent in &mut pair.agents {
        agent.settle()?;
    }
    let port = pair.node_port("inside")?;
    for (family, client) in [
        (Family::V4, "198.51.0.254"),
        (Family::V6, "2001:db8:51::fe"),
    ] {
        let node = node_address(0, family);
        let to = SocketAddr::new(node, port);
        let saw = connect(&pair.between, to, Protocol::Tcp, LIMIT)?;
        ensure!(saw == Saw::Answer, "the client saw {saw:?}");
        let is_it = |record: &Record| {
            record.text("/source/ip") == Some(client)
                && record.text("/source/kind") == Some("world")
                && record.text("/destination/name") == Some("inside")
                && record.text("/service/name") == Some("inside-service")
                && record.text("/service/ip") == Some(&node.to_string())
                && record.text("/verdict/ingress/reason") == Some("own_node")
        };
        let [here, _] = &mut pair.agents;
        let is_told = here.wait_until(LIMIT, |records| records.iter().any(is_it))?;
        ensure!(
            is_told,
            "no such record of {client}:\n{}",
            told(&pair, "inside")
        );
    }
    ensure!(pair.counted(&[])? == 2, "two attempts were made");
    Ok(())
}

fn pair() -> anyhow::Result<Pair> {
    let member = |case: &Case| Member {
        name: case.to,
        node: case.node,
        guard: match case.to {
            "leak" => Guard::Closed,
            _ => case.guard,
        },
        beside: &[],
    };
    Pair::new(&CASES.iter().map(member).collect::<Vec<_>>())
}

/// What is stopped, and where.
fn stop(pair: &Pair, family: Family) -> anyhow::Result<()> {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let rule = |namespace: &netns::ns::Namespace, rules: &[(&str, &str)]| {
        let mut lines = String::new();
        for (name, verdict) in rules {
            let to = pair.address(name, family)?;
            lines.push_str(&format!("\t\t{ip} daddr {to} {verdict}\n"));
        }
        namespace.nft(&format!(
            "table inet stops {{\n\
             \tchain forward {{\n\
             \t\ttype filter hook forward priority filter; policy accept;\n\
             {lines}\
             \t}}\n\
             }}\n"
        ))
    };
    let [here, there] = &pair.nodes;
    rule(&here.namespace, &[("home", "drop")])?;
    rule(&pair.between, &[("lost", "drop")])?;
    let rejected = "reject with icmpx type port-unreachable";
    rule(
        &there.namespace,
        &[("away", "drop"), ("rejected", rejected)],
    )
}

fn serve(pair: &Pair, family: Family) -> anyhow::Result<Servers> {
    let mut listens = Vec::new();
    for case in &CASES {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            listens.push(Listen {
                namespace: pair.pod(case.to)?,
                at: SocketAddr::new(pair.address(case.to, family)?, PORT),
                protocol,
                server: case.server,
            });
        }
    }
    Servers::start(&listens)
}

fn attempt(pair: &Pair, case: &Case, family: Family) -> anyhow::Result<()> {
    let to = match case.way {
        Way::Direct => SocketAddr::new(pair.address(case.to, family)?, PORT),
        Way::Service => SocketAddr::new(pair.service(case.to, family)?, PORT),
        Way::NodePort => SocketAddr::new(node_address(0, family), pair.node_port(case.to)?),
        Way::OtherNodePort => SocketAddr::new(node_address(1, family), pair.node_port(case.to)?),
    };
    let namespace = pair.pod(CLIENT)?;
    // Until the last one is made: a datagram from a port that was used before is no attempt of its own.
    let mut clients = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for _ in 0..ATTEMPTS {
            let patience = match case.saw {
                Saw::Nothing => PATIENCE,
                // A SYN that was answered with an ICMP error is sent again after a second.
                Saw::Answer | Saw::Refused | Saw::Unreachable => LIMIT,
            };
            let client = Client::open(namespace, to, protocol)?;
            let saw = client.try_it(patience)?;
            clients.push(client);
            ensure!(
                saw == case.saw,
                "{protocol:?} to `{}`: the client saw {saw:?}",
                case.to
            );
        }
    }
    Ok(())
}

fn counted(pair: &Pair, case: &Case, protocol: &str) -> anyhow::Result<u64> {
    let workload = format!("destination_workload=\"{}\"", case.to);
    let protocol = format!("protocol=\"{protocol}\"");
    pair.counted(&[&workload, &protocol])
}

fn attempts() -> anyhow::Result<u64> {
    Ok(2 * ATTEMPTS * u64::try_from(CASES.len())?)
}

/// Waits until everything is counted at least once.
fn await_counts(pair: &Pair) -> anyhow::Result<()> {
    let made = attempts()?;
    let end = Instant::now() + LIMIT;
    while pair.counted(&[])? < made && Instant::now() < end {
        std::thread::yield_now();
    }
    Ok(())
}

/// What both agents count for a destination.
fn told(pair: &Pair, to: &str) -> String {
    let mut lines = Vec::new();
    for (agent, node) in pair.agents.iter().zip(&pair.nodes) {
        let metrics = agent.metrics(&node.namespace);
        let text = metrics.map(|metrics| metrics.0).unwrap_or_default();
        let of_it = text.lines().filter(|line| {
            line.starts_with("netverdict_connections_total") && line.contains(&format!("\"{to}"))
        });
        lines.extend(of_it.map(str::to_owned));
        let of_it = agent.records().iter().map(|record| record.line.clone());
        lines.extend(of_it.filter(|line| line.contains(&format!("\"{to}"))));
    }
    lines.join("\n")
}

/// Both records of a conversation between the nodes are known as one, and those through a Service name all of it.
fn agree(here: &[Record], there: &[Record], family: Family) -> anyhow::Result<()> {
    for case in &CASES {
        for protocol in ["TCP", "UDP"] {
            // Conntrack forgets a TCP connection that is refused.
            if case.server == Server::Closed && protocol == "TCP" {
                continue;
            }
            // Nobody sees both the client and the backend.
            if case.way == Way::OtherNodePort {
                continue;
            }
            let ours = only(here, case.to, protocol)
                .with_context(|| format!("{protocol} to `{}`", case.to))?;
            service(ours, case, family)?;
            if !matches!(
                case.to,
                "far" | "leak" | "away" | "served-far" | "ported-far"
            ) {
                continue;
            }
            let theirs = only(there, case.to, protocol)?;
            let same = |field: &str| ours.text(field) == theirs.text(field);
            ensure!(
                same("/conversation_id"),
                "not one conversation:\n{}\n{}",
                ours.line,
                theirs.line
            );
        }
    }
    Ok(())
}

/// The last record of what went to a pod.
fn only<'a>(records: &'a [Record], to: &str, protocol: &str) -> anyhow::Result<&'a Record> {
    let is_it = |record: &&Record| {
        record.kind() == "connection"
            && record.text("/destination/name") == Some(to)
            && record.text("/protocol") == Some(protocol)
    };
    records.iter().rfind(is_it).context("no record of it")
}

fn service(record: &Record, case: &Case, family: Family) -> anyhow::Result<()> {
    let expected = (case.way != Way::Direct).then(|| format!("{}-service", case.to));
    ensure!(
        record.text("/service/name") == expected.as_deref(),
        "not the Service {expected:?}:\n{}",
        record.line
    );
    ensure!(
        record.text("/source/name") == Some(CLIENT)
            && record.text("/family") == Some(family.name()),
        "not the client's:\n{}",
        record.line
    );
    Ok(())
}
