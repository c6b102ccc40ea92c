//! One ground: its node, what stops connections on it, one agent, and what came of all attempts.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use netns::agent::{Agent, Setup};
use netns::metrics::Metrics;
use netns::node::NODE_ADDRESSES;
use netns::ns::Namespace;
use netns::raw::{Wire, ends};
use netns::record::Record;
use netns::scenario::Scenario;
use netns::traffic::{Listen, Protocol, Server, Servers};
use netns::{pair, paths};
use socket2::{Domain, Socket, Type};

use crate::cell::{Attempt, Cell, ClientWay, From, Ground, NODE_PORTS, Saw, Serves, To, Transport};
use crate::client::{Client, Plan, any, serve_sctp};
use crate::cluster::{self, FRIEND};
use crate::lab::Lab;
use crate::mechanism::Cgroups;

/// What is written is counted soon after: a sweep each second, a window.
const COUNTS: Duration = Duration::from_secs(6);
/// Every attempt has its record by then: 3 s until it is unanswered, or as long for a neighbour, confirmation, a window.
const RECORDS: Duration = Duration::from_secs(20);

/// What came of a ground.
pub(crate) struct Ran {
    /// What each client saw, by its port.
    pub(crate) saw: BTreeMap<u16, Saw>,
    /// What the agent told, or both: the source's first.
    pub(crate) told: Vec<Told>,
    pub(crate) scenario: Scenario,
}

/// What an agent told.
pub(crate) struct Told {
    pub(crate) records: Vec<Record>,
    pub(crate) stderr: String,
    pub(crate) metrics: Metrics,
}

pub(crate) struct Stage<'a> {
    pub(crate) lab: Lab,
    pub(crate) scenario: &'a Scenario,
    pub(crate) cells: &'a [Cell],
    pub(crate) attempts: &'a [Attempt],
    pub(crate) cgroups: Cgroups,
}

/// What must stay until all is over: servers, programs, cgroups.
type Kept = Vec<Box<dyn Any>>;

/// Sets a ground up, makes every attempt at once, and reads what is said of them.
pub(crate) fn run(ground: Ground, cells: &[Cell], attempts: &[Attempt]) -> anyhow::Result<Ran> {
    let scenario = cluster::scenario(ground, cells, attempts)?;
    let folder = scenario.write()?;
    let attach = match ground {
        Ground::Clsact | Ground::BeforeClsact => "clsact",
        Ground::Routed
        | Ground::Bridged
        | Ground::Before
        | Ground::Calls
        | Ground::Crowded
        | Ground::Across
        | Ground::AcrossVxlan => "auto",
    };
    let mut stage = Stage {
        lab: Lab::new(ground)?,
        scenario: &scenario,
        cells,
        attempts,
        cgroups: Cgroups::make(ground)?,
    };
    // Where packets are dropped without a reason is told from the first one on.
    let setup = Setup::new(&paths::agent()?, folder.path())
        .with_symbols()
        .flag(&["--attach", attach]);
    let setup = match ground {
        Ground::Calls => setup.with_calls(stage.cgroups.root.path()),
        Ground::Routed
        | Ground::Bridged
        | Ground::Before
        | Ground::Clsact
        | Ground::BeforeClsact
        | Ground::Crowded
        | Ground::Across
        | Ground::AcrossVxlan => setup,
    };
    let (mut agents, _kept) = if matches!(ground, Ground::Before | Ground::BeforeClsact) {
        stage.lab.add_pods(&scenario, &[])?;
        let kept = stage.set_up()?;
        (stage.lab.agents(&setup)?, kept)
    } else {
        let agents = stage.lab.agents(&setup)?;
        stage.lab.add_pods(&scenario, &agents)?;
        let kept = stage.set_up()?;
        (agents, kept)
    };
    // What the node has heard of its pods comes to the agent with its next look at the bridge.
    let looks = if ground == Ground::Bridged { 3 } else { 1 };
    for agent in &mut agents {
        for _ in 0..looks {
            agent.settle()?;
        }
    }
    let saw = stage.connect()?;
    for (index, agent) in agents.iter_mut().enumerate() {
        stage.await_records(index, agent)?;
    }
    stage.await_counts(&agents)?;
    let told = stage.end(agents)?;
    Ok(Ran {
        saw,
        told,
        scenario,
    })
}

/// The attempt that a record is of; one of ICMP has no port.
pub(crate) fn port_of(record: &Record) -> Option<u16> {
    let port = u16::try_from(record.number("/destination/port")?).ok()?;
    Some(if port >= NODE_PORTS {
        port - NODE_PORTS
    } else {
        port
    })
}

impl Stage<'_> {
    /// Ports of the attempts that a record of that agent tells of.
    fn with_record(&self, agent: usize) -> BTreeSet<u16> {
        let told = |cell: &Cell, policy| {
            let claim = cell.claim(policy);
            let holds = claim.is_some_and(|claim| claim.falls_short.is_none());
            holds && cell.outcome != "none"
        };
        let of_it = self.attempts.iter().filter(|attempt| {
            let cell = self.cells.get(attempt.cell);
            match agent {
                0 => cell.is_some_and(|cell| told(cell, attempt.policy)),
                _ => cell
                    .and_then(Cell::seen_from_afar)
                    .is_some_and(|cell| told(&cell, attempt.policy)),
            }
        });
        of_it.map(|attempt| attempt.port).collect()
    }

    fn await_records(&self, index: usize, agent: &mut Agent) -> anyhow::Result<()> {
        let mut missing = self.with_record(index);
        let mut read = 0;
        agent
            .wait_until(RECORDS, |records| {
                for port in records.iter().skip(read).filter_map(port_of) {
                    missing.remove(&port);
                }
                read = records.len();
                missing.is_empty()
            })
            .map(drop)
    }

    /// Waits until one of two agents has counted each attempt.
    fn await_counts(&self, agents: &[Agent]) -> anyhow::Result<()> {
        let counted = |cell: &Cell| cell.counts.is_some();
        let wanted = self
            .attempts
            .iter()
            .filter(|attempt| self.cells.get(attempt.cell).is_some_and(counted));
        let mut missing: Vec<&Attempt> = wanted.collect();
        let end = Instant::now() + COUNTS;
        while !missing.is_empty() && Instant::now() < end {
            let metrics = self.metrics(agents)?;
            missing.retain(|attempt| metrics.iter().all(|it| counts(it, attempt.port).is_empty()));
        }
        Ok(())
    }

    fn metrics(&self, agents: &[Agent]) -> anyhow::Result<Vec<Metrics>> {
        let pairs = agents.iter().zip(self.lab.nodes());
        pairs
            .map(|(agent, node)| agent.metrics(&node.namespace))
            .collect()
    }

    fn end(&self, agents: Vec<Agent>) -> anyhow::Result<Vec<Told>> {
        let metrics = self.metrics(&agents)?;
        let ended = agents.into_iter().zip(metrics);
        ended
            .map(|(agent, metrics)| {
                let finished = agent.stop()?;
                Ok(Told {
                    records: finished.records,
                    stderr: finished.stderr,
                    metrics,
                })
            })
            .collect()
    }

    pub(crate) fn cell(&self, attempt: &Attempt) -> anyhow::Result<&Cell> {
        self.cells.get(attempt.cell).context("no such cell")
    }

    pub(crate) fn client_key(&self, attempt: &Attempt) -> anyhow::Result<String> {
        let cell = self.cell(attempt)?;
        Ok(cluster::client(attempt.cell, cell, attempt.policy))
    }

    fn set_up(&self) -> anyhow::Result<Kept> {
        let mut kept = Kept::new();
        for attempt in self.attempts {
            let mechanism = &self.cell(attempt)?.mechanism;
            let said = || format!("set up `{mechanism}` {attempt:?}");
            self.shell(attempt).with_context(said)?;
            for attach in &self.cell(attempt)?.attach {
                kept.push(self.attach(attempt, attach).with_context(said)?);
            }
        }
        kept.extend(self.serve()?);
        Ok(kept)
    }

    /// A server for every attempt.
    fn serve(&self) -> anyhow::Result<Kept> {
        let mut kept = Kept::new();
        let mut listens = Vec::new();
        let mut sctp = BTreeSet::new();
        for attempt in self.attempts {
            let cell = self.cell(attempt)?;
            let (namespace, address) = self.server_place(attempt)?;
            let protocol = match attempt.transport {
                Transport::Tcp => Protocol::Tcp,
                Transport::Udp => Protocol::Udp,
                Transport::Sctp => {
                    if sctp.insert((namespace.name(), address)) {
                        serve_sctp(namespace, address, cell.server == Serves::Answering)?;
                    }
                    continue;
                }
                Transport::Icmp => continue,
            };
            let at = SocketAddr::new(self.listens_on(attempt, address)?, attempt.port);
            let server = match cell.server {
                Serves::Answering => Server::Answering,
                Serves::Silent => Server::Silent,
                Serves::Closed => continue,
                Serves::Full => {
                    let at = SocketAddr::new(address, attempt.port);
                    kept.push(full(namespace, at)?);
                    continue;
                }
            };
            listens.push(Listen {
                namespace,
                at,
                protocol,
                server,
            });
        }
        let servers = Servers::start(&listens)?;
        kept.push(Box::new(servers));
        Ok(kept)
    }

    /// A datagram's answer comes from the address that it was sent to only where the socket has one.
    fn listens_on(&self, attempt: &Attempt, address: IpAddr) -> anyhow::Result<IpAddr> {
        Ok(match self.cell(attempt)?.to {
            To::World => address,
            To::NodeService => cluster::virtual_address(attempt),
            To::Second => cluster::second(attempt),
            To::Pod
            | To::Service
            | To::EmptyService
            | To::Unallocated
            | To::NodePort
            | To::Itself
            | To::Node
            | To::Nobody
            | To::LoadBalancer
            | To::Headless
            | To::FarNode => any(address),
        })
    }

    fn server_place(&self, attempt: &Attempt) -> anyhow::Result<(&Namespace, IpAddr)> {
        let cell = self.cell(attempt)?;
        let key = match cell.to {
            To::Pod
            | To::Service
            | To::EmptyService
            | To::Unallocated
            | To::NodePort
            | To::Second
            | To::LoadBalancer
            | To::Headless => cluster::server(attempt.cell, cell),
            To::Itself => self.client_key(attempt)?,
            To::Node | To::NodeService => {
                let address = cluster::of(attempt.family, NODE_ADDRESSES);
                return Ok((&self.lab.near.namespace, address));
            }
            To::FarNode => {
                let address = pair::node_address(1, attempt.family);
                return Ok((&self.lab.far().namespace, address));
            }
            To::World | To::Nobody => {
                return Ok((&self.lab.near.world, cluster::of(attempt.family, FRIEND)));
            }
        };
        let address = self.scenario.address(&key, attempt.family)?;
        Ok((self.lab.inside(&key)?, address))
    }

    /// All attempts at once, so that their waiting times do not add up.
    fn connect(&self) -> anyhow::Result<BTreeMap<u16, Saw>> {
        let clients = self
            .attempts
            .iter()
            .map(|attempt| Ok((attempt.port, self.client(attempt)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let running: Vec<_> = clients
                .into_iter()
                .map(|(port, client)| (port, scope.spawn(|| client.try_it())))
                .collect();
            running
                .into_iter()
                .map(|(port, thread)| {
                    let saw = thread.join().unwrap_or_else(|_| bail!("a client panicked"));
                    Ok((port, saw.with_context(|| format!("the client of {port}"))?))
                })
                .collect()
        })
    }

    fn client(&self, attempt: &Attempt) -> anyhow::Result<Client> {
        let cell = self.cell(attempt)?;
        let key = self.client_key(attempt)?;
        let (address, port) = cluster::target(self.scenario, cell, attempt)?;
        let (namespace, from) = match cell.from {
            From::Pod => (self.lab.inside(&key)?, None),
            From::Node => (&*self.lab.near.namespace, None),
            From::World => (self.lab.outside(), cluster::world(cell, attempt)),
        };
        let plan = Plan {
            namespace,
            transport: attempt.transport,
            way: cell.client,
            from,
            to: SocketAddr::new(address, port),
        };
        match cell.client {
            ClientWay::Connects | ClientWay::HopsOne | ClientWay::Long => Client::open(&plan),
            ClientWay::InCgroup | ClientWay::SendsInCgroup => {
                Client::in_cgroup(&plan, &self.cgroups.path(attempt))
            }
            ClientWay::BadChecksum => {
                let (node, pod) = self.lab.pod(&key)?;
                Client::damaged(
                    Wire::open(namespace, "eth0")?,
                    ends(node, pod)?,
                    self.scenario.address(&key, attempt.family)?,
                    plan.to,
                )
            }
        }
    }
}

/// The series of an agent that count attempts to a port; a lost one is in a series of its own, which no sum contains.
pub(crate) fn counts(metrics: &Metrics, port: u16) -> Vec<&str> {
    let port = format!("destination_port=\"{port}\"");
    let series = metrics.0.lines();
    series
        .filter(|line| line.starts_with("netverdict_connections_total{") && line.contains(&port))
        .collect()
}

/// A socket that listens and has no room for one more.
fn full(namespace: &Namespace, at: SocketAddr) -> anyhow::Result<Box<dyn Any>> {
    let both = namespace.enter(|| {
        let open = || Socket::new(Domain::for_address(at), Type::STREAM, None);
        let (listening, waiting) = (open()?, open()?);
        listening.bind(&at.into())?;
        listening.listen(0)?;
        waiting.connect(&at.into())?;
        Ok((listening, waiting))
    })?;
    Ok(Box::new(both))
}
