//! Three pods, an agent that watches them, and what it tells.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::agent::{Agent, Finished};
use netns::ground::{Ground, LIMIT};
use netns::node::Wiring;
use netns::record::Record;
use netns::scenario::{Family, Row};
use socket2::{Domain, SockAddr, Socket, Type};

/// Let in by one of the policies.
pub(crate) const API: &str = "kasm/kasm-api-0";
/// Not let in by either policy.
pub(crate) const OTHER: &str = "kasm/kasm-agent-0";
pub(crate) const DB: &str = "kasm/kasm-db-0";
/// An attempt is told of by then, whatever its end.
const TOLD: Duration = Duration::from_secs(4);

/// Three pods that an agent has watched from their first packet on.
pub(crate) struct Stage {
    pub(crate) ground: Ground,
    pub(crate) agent: Agent,
}

impl Stage {
    pub(crate) fn new(wiring: Wiring, policies: &str) -> anyhow::Result<Self> {
        let mut ground = Ground::wired(wiring)?;
        ground.write_policies(policies)?;
        let mut agent = ground.agent()?;
        ground.add_pods(&agent, |key| [API, OTHER, DB].contains(&key))?;
        agent.settle()?;
        Ok(Self { ground, agent })
    }

    pub(crate) fn row(&self, from: &str) -> anyhow::Result<Row> {
        self.ground.row(from, DB)
    }

    pub(crate) fn at(&self, pod: &str, port: u16) -> anyhow::Result<SocketAddr> {
        let address = self.ground.scenario.address(pod, Family::V4)?;
        Ok(SocketAddr::new(address, port))
    }

    pub(crate) fn inside<T: Send>(
        &self,
        pod: &str,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let namespace = self.ground.node.namespace_of(pod)?;
        namespace.enter(|| work().context("open a socket"))
    }

    pub(crate) fn listener(&self) -> anyhow::Result<TcpListener> {
        let at = self.at(DB, self.row(API)?.port)?;
        self.inside(DB, || TcpListener::bind(at))
    }

    pub(crate) fn datagrams(&self, pod: &str, port: u16) -> anyhow::Result<UdpSocket> {
        let at = self.at(pod, port)?;
        let socket = self.inside(pod, || UdpSocket::bind(at))?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(socket)
    }

    /// A client's, at a port of its own choice or of the kernel's; a port may be used again at once.
    pub(crate) fn socket(&self, from: &str, port: Option<u16>) -> anyhow::Result<Socket> {
        let at = SockAddr::from(self.at(from, port.unwrap_or(0))?);
        self.inside(from, || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            // It leaves nothing behind: a RST ends it.
            socket.set_linger(Some(Duration::ZERO))?;
            socket.bind(&at)?;
            Ok(socket)
        })
    }

    pub(crate) fn connect(
        &self,
        from: &str,
        port: Option<u16>,
        limit: Duration,
    ) -> anyhow::Result<io::Result<Socket>> {
        let to = SockAddr::from(self.at(DB, self.row(API)?.port)?);
        let socket = self.socket(from, port)?;
        Ok(socket.connect_timeout(&to, limit).map(|()| socket))
    }

    /// Waits until the agent has heard that a pod is deleted.
    pub(crate) fn until_without_pod(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            let metrics = self.agent.metrics(&self.ground.node.namespace)?;
            let pods = metrics.sum("netverdict_cache_objects{", &["kind=\"pod\""]);
            if pods + 1 == u64::try_from(self.ground.scenario.pods.len())? {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{pods} pods are known");
            self.agent.settle()?;
        }
    }

    /// Writes policies and waits until the agent says that it has read them.
    pub(crate) fn policies(&mut self, text: &str) -> anyhow::Result<()> {
        self.ground.write_policies(text)?;
        let is_told = self.agent.wait_until(LIMIT, |records| {
            records
                .iter()
                .any(|record| record.kind() == "policy_change")
        })?;
        ensure!(is_told, "no change of policies is told of");
        Ok(())
    }

    /// Waits until a drop for that reason is counted.
    pub(crate) fn until_dropped(&self, reason: &str) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            let metrics = self.agent.metrics(&self.ground.node.namespace)?;
            if metrics.sum("netverdict_drops_total{", &[reason]) > 0 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "no drop is counted: {}", metrics.0);
        }
    }

    /// Waits until so many attempts are told of, and then as long as another could take; ends the agent.
    pub(crate) fn tells(mut self, count: u64) -> anyhow::Result<Finished> {
        self.agent
            .wait_until(LIMIT, |records| counted(records) >= count)?;
        self.agent
            .wait_until(TOLD, |records| counted(records) > count)?;
        let metrics = self.agent.metrics(&self.ground.node.namespace)?;
        let sum = metrics.sum("netverdict_connections_total", &[]);
        ensure!(
            sum == count,
            "the metrics count {sum} attempts and not {count}"
        );
        let finished = self.agent.stop()?;
        ensure!(
            counted(&finished.records) == count,
            "not {count} attempts:\n{}",
            lines(&finished.records)
        );
        Ok(finished)
    }
}

pub(crate) fn connections(records: &[Record]) -> impl Iterator<Item = &Record> {
    let of_it = |record: &&Record| record.kind() == "connection";
    records.iter().filter(of_it)
}

fn counted(records: &[Record]) -> u64 {
    connections(records).map(Record::count).sum()
}

pub(crate) fn lines(records: &[Record]) -> String {
    let lines: Vec<&str> = records.iter().map(|it| it.line.as_str()).collect();
    lines.join("\n")
}

/// How many attempts have that assessment.
pub(crate) fn of(finished: &Finished, assessment: &str) -> u64 {
    connections(&finished.records)
        .filter(|record| record.assessment() == assessment)
        .map(Record::count)
        .sum()
}
