//! One run: a scenario's rows as real connections on one node, all at once, watched by one agent.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::agent::{Agent, Setup};
use crate::enforcer::{Mode, enforce};
use crate::expect::Expected;
use crate::node::{Node, ReversePath, TEST_PREFIX};
use crate::record::{Conversation, Record};
use crate::scenario::{Direction, Family, Party, Row, Scenario, Verdict};
use crate::traffic::{Client, Listen, Saw, Server, Servers};

/// A client gives up after this time: a kernel repeats a SYN after one second.
const CLIENT_LIMIT: Duration = Duration::from_millis(1500);
/// Every conversation has its record by then: 3 s deadline, confirmation, a window.
const RECORD_LIMIT: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What this run shows, in a few words; names its tests.
    pub name: String,
    /// The cluster and the rows.
    pub scenario: Scenario,
    /// The family of every address.
    pub family: Family,
    /// What the network does about the policies.
    pub mode: Mode,
    /// What waits at the destinations.
    pub server: Server,
    /// The binary `netverdict`; `None` looks at what the clients see and nothing else.
    pub agent: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// What each row's client saw, in the order of the rows.
    pub saw: Vec<Saw>,
    /// What the agent wrote.
    pub records: Vec<Record>,
}

impl Plan {
    /// Makes the node, opens the connections, reads the records, removes the node.
    ///
    /// # Errors
    /// When anything but netverdict's judgement goes wrong.
    pub fn run(&self) -> anyhow::Result<Ran> {
        let cluster = self.scenario.write()?;
        let mut node = Node::new(TEST_PREFIX, &self.external(), ReversePath::Open)?;
        // First the agent, then the pods: what is claimed of UDP needs an interface that was seen from its birth.
        let mut agent = match &self.agent {
            Some(binary) => Some(Agent::start(
                &Setup::new(binary, cluster.path()),
                &node.namespace,
            )?),
            None => None,
        };
        match &agent {
            Some(agent) => node.add_watched_pods(&self.pods(), agent)?,
            None => node.add_pods(&self.pods())?,
        }
        let Self {
            scenario,
            family,
            mode,
            ..
        } = self;
        enforce(&node, scenario, &scenario.rows, *family, *mode)?;
        let _servers = self.servers(&node)?;
        if let Some(agent) = &mut agent {
            agent.settle()?;
        }
        let saw = self.connect(&node)?;
        let records = match agent {
            Some(agent) => self.read(agent)?,
            None => Vec::new(),
        };
        Ok(Ran { saw, records })
    }

    /// The row's conversation.
    ///
    /// # Errors
    /// When an end has no address.
    pub fn conversation(&self, row: &Row) -> anyhow::Result<Conversation> {
        let destination = self.scenario.address(&row.to, self.family)?;
        Ok(Conversation {
            source: self.scenario.address(&row.from, self.family)?,
            destination: SocketAddr::new(destination, row.port),
            protocol: row.protocol,
        })
    }

    /// Holds one row against what came of it.
    ///
    /// # Errors
    /// When they differ; the message shows both.
    pub fn check(&self, ran: &Ran, index: usize) -> anyhow::Result<()> {
        let row = self.scenario.rows.get(index).context("no such row")?;
        let expected = Expected::of(row, self.mode, self.server);
        let saw = ran.saw.get(index).context("the row was not run")?;
        ensure!(
            *saw == expected.saw,
            "the client saw {saw:?}, not {:?}",
            expected.saw
        );
        if self.agent.is_none() {
            return Ok(());
        }
        let conversation = self.conversation(row)?;
        let of_it: Vec<&Record> = ran
            .records
            .iter()
            .filter(|record| record.conversation().as_ref() == Some(&conversation))
            .collect();
        ensure!(!of_it.is_empty(), "no record of {conversation}");
        let attempts: u64 = of_it.iter().map(|record| record.count()).sum();
        ensure!(
            attempts == 1,
            "{attempts} attempts counted, 1 made:\n{}",
            lines(&of_it)
        );
        for record in &of_it {
            let wrong = self.differences(row, &expected, record);
            if !wrong.is_empty() {
                bail!("{}\n{}", wrong.join("\n"), record.line);
            }
        }
        Ok(())
    }

    /// Holds the whole run against its rows: nothing is reported that nobody did.
    ///
    /// # Errors
    /// When there is such a record, or something was lost.
    pub fn check_rest(&self, ran: &Ran) -> anyhow::Result<()> {
        let known: BTreeSet<Conversation> = self
            .scenario
            .rows
            .iter()
            .map(|row| self.conversation(row))
            .collect::<anyhow::Result<_>>()?;
        let strange: Vec<&Record> = ran
            .records
            .iter()
            .filter(|record| match record.kind() {
                "connection" => record.conversation().is_none_or(|it| !known.contains(&it)),
                other => other == "lost",
            })
            .collect();
        ensure!(strange.is_empty(), "nobody did this:\n{}", lines(&strange));
        Ok(())
    }

    fn differences(&self, row: &Row, expected: &Expected, record: &Record) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut same = |pointer: &str, wanted: Option<&str>| {
            let found = record.text(pointer);
            if found != wanted {
                wrong.push(format!("`{pointer}` is {found:?}, not {wanted:?}"));
            }
        };
        same("/type", Some("connection"));
        same("/assessment", Some(expected.assessment));
        same("/unknown_because", expected.unknown_because);
        same("/verdict/verdict", Some(verdict_name(row.verdict)));
        same("/direction", row.denied_in.first().map(direction_name));
        same("/family", Some(self.family.name()));
        same("/node", Some("node-1"));
        let from = row.from.split_once('/');
        same("/source/kind", Some("pod"));
        same("/source/namespace", from.map(|(namespace, _)| namespace));
        same("/source/name", from.map(|(_, name)| name));
        let to = row.to.split_once('/');
        let party = Party::of(&row.to);
        same("/destination/kind", Some(party.name()));
        same("/destination/namespace", to.map(|(namespace, _)| namespace));
        let node = (party == Party::Node).then_some("node-1");
        same("/destination/name", to.map(|(_, name)| name).or(node));
        if self.server != Server::Dead {
            same("/reporter", Some(to.map_or("source", |_| "both")));
        }
        if let [side] = row.denied_in.as_slice() {
            let kept = match expected.assessment {
                "blocked" => Some("yes"),
                "unenforced" => Some("no"),
                _ => Some("unknown"),
            };
            same(&format!("/verdict/{}/kept", direction_name(side)), kept);
        }
        if !expected.outcomes.contains(&record.outcome()) {
            wrong.push(format!(
                "the outcome is `{}`, not {:?}",
                record.outcome(),
                expected.outcomes
            ));
        }
        wrong
    }

    /// The addresses outside that answer.
    fn external(&self) -> Vec<IpAddr> {
        if self.server == Server::Dead {
            return Vec::new();
        }
        let addresses: BTreeSet<IpAddr> = self
            .scenario
            .rows
            .iter()
            .filter(|row| Party::of(&row.to) == Party::World)
            .filter_map(|row| row.to.parse().ok())
            .collect();
        addresses.into_iter().collect()
    }

    /// The pods that exist: all of them, but no destination when destinations are dead.
    fn pods(&self) -> Vec<crate::node::PodSpec> {
        let mut pods = self.scenario.pod_specs();
        if self.server == Server::Dead {
            pods.retain(|pod| self.scenario.rows.iter().all(|row| row.to != pod.key));
        }
        pods
    }

    fn servers(&self, node: &Node) -> anyhow::Result<Servers> {
        if matches!(self.server, Server::Closed | Server::Dead) {
            return Servers::start(&[]);
        }
        let mut places = BTreeSet::new();
        for row in &self.scenario.rows {
            let address = self.scenario.address(&row.to, self.family)?;
            places.insert((
                row.to.as_str(),
                SocketAddr::new(address, row.port),
                row.protocol,
            ));
        }
        let listens = places
            .into_iter()
            .map(|(place, at, protocol)| {
                Ok(Listen {
                    namespace: node.namespace_of(place)?,
                    at,
                    protocol,
                    server: self.server,
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Servers::start(&listens)
    }

    /// All rows at once, so that their waiting times do not add up.
    fn connect(&self, node: &Node) -> anyhow::Result<Vec<Saw>> {
        let clients = self
            .scenario
            .rows
            .iter()
            .map(|row| {
                let to = self.conversation(row)?.destination;
                Client::open(node.namespace_of(&row.from)?, to, row.protocol)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let running: Vec<_> = clients
                .into_iter()
                .map(|client| scope.spawn(move || client.try_it(CLIENT_LIMIT)))
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a client panicked")))
                .collect()
        })
    }

    /// Waits until every row has a record, then ends the agent and takes the rest.
    fn read(&self, mut agent: Agent) -> anyhow::Result<Vec<Record>> {
        let mut missing: BTreeSet<Conversation> = self
            .scenario
            .rows
            .iter()
            .map(|row| self.conversation(row))
            .collect::<anyhow::Result<_>>()?;
        let mut read = 0;
        agent.wait_until(RECORD_LIMIT, |records| {
            for record in records.iter().skip(read) {
                if let Some(conversation) = record.conversation() {
                    missing.remove(&conversation);
                }
            }
            read = records.len();
            missing.is_empty()
        })?;
        Ok(agent.stop()?.records)
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "denied",
    }
}

fn direction_name(direction: &Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}

fn lines(records: &[&Record]) -> String {
    let lines: Vec<&str> = records.iter().map(|record| record.line.as_str()).collect();
    lines.join("\n")
}
