//! Three pods, what they send, and what is told of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::agent::Agent;
use netns::enforcer;
use netns::frame::{Ends, HOPS, Packet};
use netns::ground::{Ground, LIMIT};
use netns::node::Wiring;
use netns::raw::{Wire, ends};
use netns::record::{Conversation, Record};
use netns::scenario::Family;
use netns::traffic::{Listen, Protocol, Saw, Server, Servers, connect};

/// May go nowhere, and lets everybody in.
pub(crate) const DENIED: &str = "default/debug";
/// May go anywhere.
pub(crate) const API: &str = "kasm/kasm-api-0";
/// May go anywhere, and lets in the API at its port.
pub(crate) const DB: &str = "kasm/kasm-db-0";
/// A pod of another node.
pub(crate) const ELSEWHERE: &str = "kasm/kasm-agent-0";
const EGRESS: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: go-nowhere, namespace: default}
spec: {podSelector: {}, policyTypes: [Egress]}
";
/// The port of the last attempt.
const LAST: u16 = 9;
/// Until everything is told, the deadline of what is never answered included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Three pods and an agent that has watched them from their first packet on.
pub(crate) struct Lab {
    pub(crate) ground: Ground,
    agent: Agent,
    family: Family,
}

/// Protocol, source, destination, what is said of it, and of how many attempts.
pub(crate) type Told<'a> = (Protocol, IpAddr, SocketAddr, &'a str, u64);

impl Lab {
    pub(crate) fn new(wiring: Wiring, family: Family) -> anyhow::Result<Self> {
        let mut ground = Ground::wired(wiring)?;
        ground.write_policies(&(ground.policies()? + EGRESS))?;
        let mut agent = ground.agent()?;
        ground.add_pods(&agent, |key| [DENIED, API, DB].contains(&key))?;
        agent.settle()?;
        Ok(Self {
            ground,
            agent,
            family,
        })
    }

    pub(crate) fn address(&self, pod: &str) -> anyhow::Result<IpAddr> {
        self.ground.scenario.address(pod, self.family)
    }

    pub(crate) fn end(&self, pod: &str, port: u16) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(self.address(pod)?, port))
    }

    /// Somebody outside.
    pub(crate) fn world(&self, port: u16) -> SocketAddr {
        let address = match self.family {
            Family::V4 => IpAddr::from([192, 0, 2, 1]),
            Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1]),
        };
        SocketAddr::new(address, port)
    }

    pub(crate) fn wire(&self, pod: &str) -> anyhow::Result<Wire> {
        Wire::open(self.ground.node.namespace_of(pod)?, "eth0")
    }

    /// From a pod to the node.
    pub(crate) fn ends(&self, pod: &str) -> anyhow::Result<Ends> {
        ends(&self.ground.node, self.ground.node.pod(pod)?)
    }

    /// What a pod hands to the node, whatever address it bears.
    pub(crate) fn packet(
        &self,
        pod: &str,
        from: IpAddr,
        to: IpAddr,
        protocol: u8,
        transport: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        self.ends(pod)?
            .packet(&packet(from, to, protocol, transport))
    }

    pub(crate) fn socket(&self, pod: &str, port: u16) -> anyhow::Result<UdpSocket> {
        let at = self.end(pod, port)?;
        let bind = || UdpSocket::bind(at).with_context(|| format!("bind {at}"));
        let socket = self.ground.node.namespace_of(pod)?.enter(bind)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(socket)
    }

    pub(crate) fn servers(&self, at: &[(&str, SocketAddr, Protocol)]) -> anyhow::Result<Servers> {
        let mut listens = Vec::new();
        for (place, at, protocol) in at {
            listens.push(Listen {
                namespace: self.ground.node.namespace_of(place)?,
                at: *at,
                protocol: *protocol,
                server: Server::Answering,
            });
        }
        Servers::start(&listens)
    }

    /// The node takes what is sent to a port of any pod, and answers it.
    pub(crate) fn proxy(&self, port: u16, own: u16) -> anyhow::Result<Servers> {
        let node = &self.ground.node.namespace;
        let at = match self.family {
            Family::V4 => SocketAddr::from(([192, 0, 2, 10], own)),
            Family::V6 => SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x10], own)),
        };
        let table = if at.is_ipv4() { "ip" } else { "ip6" };
        node.nft(&format!(
            "table {table} proxy {{\n chain first {{\n  type nat hook prerouting priority dstnat;\n  \
             meta l4proto {{ tcp, udp }} th dport {port} dnat to {at}\n }}\n}}\n"
        ))?;
        Servers::start(&[Protocol::Tcp, Protocol::Udp].map(|protocol| Listen {
            namespace: node,
            at,
            protocol,
            server: Server::Answering,
        }))
    }

    pub(crate) fn answers(
        &self,
        from: &str,
        to: SocketAddr,
        protocol: Protocol,
    ) -> anyhow::Result<()> {
        let saw = connect(self.ground.node.namespace_of(from)?, to, protocol, LIMIT)?;
        ensure!(saw == Saw::Answer, "{from} saw {saw:?} of {to}");
        Ok(())
    }

    /// The node drops what comes from that address.
    pub(crate) fn stop(&self, from: IpAddr) -> anyhow::Result<()> {
        enforcer::drop_from(&self.ground.node.namespace, from)
    }

    /// Waits until the node has dropped so many packets.
    pub(crate) fn until_stopped(&self, count: u64) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        while enforcer::dropped(&self.ground.node.namespace)? < count {
            ensure!(Instant::now() < end, "not {count} packets are dropped");
        }
        Ok(())
    }

    /// The node drops nothing any more.
    pub(crate) fn stop_no_more(&self) -> anyhow::Result<()> {
        enforcer::drop_no_more(&self.ground.node.namespace)
    }

    /// Waits until the agent has heard of an object of that kind.
    pub(crate) fn until_known(&mut self, kind: &str) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        let label = format!("kind=\"{kind}\"");
        let known = |agent: &Agent| {
            let metrics = agent.metrics(&self.ground.node.namespace)?;
            anyhow::Ok(metrics.sum("netverdict_cache_objects{", &[&label]))
        };
        while known(&self.agent)? == 0 {
            ensure!(Instant::now() < end, "no {kind} is known");
            self.agent.settle()?;
        }
        Ok(())
    }

    /// Waits until so many attempts have had their end.
    pub(crate) fn until_counted(&mut self, count: u64) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        let counted = |agent: &Agent| {
            let metrics = agent.metrics(&self.ground.node.namespace)?;
            anyhow::Ok(metrics.sum("netverdict_connections_total", &[]))
        };
        while counted(&self.agent)? < count {
            ensure!(Instant::now() < end, "not {count} attempts are counted");
            self.agent.settle()?;
        }
        Ok(())
    }

    /// The node knows nobody's hardware address.
    pub(crate) fn has_no_neighbours(&self) -> anyhow::Result<()> {
        let words = ["ip", "neighbour", "show", "dev", "cni0", "nud", "all"];
        let known = self.ground.node.namespace.run(&words)?;
        // Those of groups follow from their addresses.
        let learnt = known.lines().find(|line| !line.contains("NOARP"));
        ensure!(learnt.is_none(), "it knows:\n{known}");
        Ok(())
    }

    /// The agent tells that and nothing else of connections, also when all of them have passed their deadlines.
    pub(crate) fn tells(mut self, expected: &[Told<'_>]) -> anyhow::Result<()> {
        let _silent = self.socket(DENIED, LAST)?;
        self.socket(API, LAST)?
            .send_to(b"the last", self.end(DENIED, LAST)?)?;
        let expected: BTreeMap<String, u64> = expected
            .iter()
            .map(|&(protocol, source, destination, told, count)| {
                let between = Conversation {
                    source,
                    destination,
                    protocol,
                };
                (format!("{between}: {told}"), count)
            })
            .collect();
        let is_last = |record: &Record| record.number("/destination/port") == Some(LAST.into());
        self.agent.wait_until(PATIENCE, |records| {
            records.iter().any(is_last) && said(records) == expected
        })?;
        let finished = self.agent.stop()?;
        let found = said(&finished.records);
        let lines: Vec<&str> = finished.records.iter().map(|it| it.line.as_str()).collect();
        ensure!(
            found == expected,
            "not {expected:#?} but {found:#?}\n{}\n{}",
            lines.join("\n"),
            finished.stderr
        );
        Ok(())
    }
}

pub(crate) fn packet(from: IpAddr, to: IpAddr, protocol: u8, transport: &[u8]) -> Packet<'_> {
    Packet {
        from,
        to,
        hops: HOPS,
        protocol,
        transport,
    }
}

pub(crate) fn received(socket: &UdpSocket) -> anyhow::Result<()> {
    socket.recv(&mut [0; 64]).context("receive a datagram")?;
    Ok(())
}

/// How many attempts were told of, by what was said of them; the last one aside.
fn said(records: &[Record]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for record in records
        .iter()
        .filter(|record| record.kind() == "connection")
    {
        let between = record.conversation();
        let Some(between) = between.filter(|it| it.destination.port() != LAST) else {
            continue;
        };
        let (assessment, outcome) = (record.assessment(), record.outcome());
        let mut told = format!("{between}: {assessment}");
        if let Some(because) = record.text("/unknown_because") {
            told += &format!(": {because}");
        }
        told += &format!(", {outcome}");
        // Otherwise the drop is the outcome.
        if outcome == "unanswered" && record.text("/outcome/drop_reason").is_some() {
            told += ", a drop's reason";
        }
        *all.entry(told).or_default() += record.count();
    }
    all
}
