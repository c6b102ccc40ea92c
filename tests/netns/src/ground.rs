//! A node for tests that tell a story of their own rather than a table's.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::agent::{Agent, Finished, Setup};
use crate::enforcer::{Mode, enforce};
use crate::node::{Node, ReversePath, TEST_PREFIX, Wiring};
use crate::paths;
use crate::record::Record;
use crate::scenario::{Family, Row, Scenario};
use crate::traffic::{Client, Listen, Protocol, Saw, Server, Servers};

/// The database of *kasm* is open to the API's pods and to nobody else.
pub const DB_FROM_API: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: kasm}
spec:
  podSelector: {matchLabels: {app: kasm-db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: kasm-api}}}]
";
/// Longest that a change may take to be seen.
pub const LIMIT: Duration = Duration::from_secs(15);
/// Between two tries of a client that keeps connecting.
const PAUSE: Duration = Duration::from_millis(150);

/// A node for the cluster `kasm`.
#[derive(Debug)]
pub struct Ground {
    /// The node.
    pub node: Node,
    /// Its cluster and policies.
    pub scenario: Scenario,
    /// The folder of manifests.
    pub cluster: tempfile::TempDir,
}

impl Ground {
    /// Makes the node without pods, and the folder of manifests.
    ///
    /// # Errors
    /// When a namespace or a file cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        Self::wired(Wiring::Routed)
    }

    /// The same, with pods that are connected in another way.
    ///
    /// # Errors
    /// As [`Ground::new`].
    pub fn wired(wiring: Wiring) -> anyhow::Result<Self> {
        let scenario = Scenario::read("kasm")?;
        Ok(Self {
            node: Node::wired(TEST_PREFIX, &[], ReversePath::Open, wiring)?,
            cluster: scenario.write()?,
            scenario,
        })
    }

    /// How an agent for it is started.
    ///
    /// # Errors
    /// When there is no agent.
    pub fn setup(&self) -> anyhow::Result<Setup> {
        Ok(Setup::new(&paths::agent()?, self.cluster.path()))
    }

    /// Starts an agent.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn agent(&self) -> anyhow::Result<Agent> {
        Agent::start(&self.setup()?, &self.node.namespace)
    }

    /// Adds those of the scenario's pods that are wanted, watched from their first packet on.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn add_pods(&mut self, agent: &Agent, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let mut pods = self.scenario.pod_specs();
        pods.retain(|pod| wanted(&pod.key));
        self.node.add_watched_pods(&pods, agent)
    }

    /// A server for every destination of the rows that exists.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn servers(&self) -> anyhow::Result<Servers> {
        let mut listens: Vec<Listen<'_>> = Vec::new();
        for row in &self.scenario.rows {
            let Ok(namespace) = self.node.namespace_of(&row.to) else {
                continue;
            };
            let at = SocketAddr::new(self.scenario.address(&row.to, Family::V4)?, row.port);
            if listens.iter().all(|listen| listen.at != at) {
                listens.push(Listen {
                    namespace,
                    at,
                    protocol: row.protocol,
                    server: Server::Answering,
                });
            }
        }
        Servers::start(&listens)
    }

    /// Loads rules for those rows.
    ///
    /// # Errors
    /// When nftables refuses them.
    pub fn enforce(&self, rows: &[Row], mode: Mode) -> anyhow::Result<()> {
        enforce(&self.node, &self.scenario, rows, Family::V4, mode)
    }

    /// The expectation from one pod to another.
    ///
    /// # Errors
    /// When there is none.
    pub fn row(&self, from: &str, to: &str) -> anyhow::Result<Row> {
        self.scenario
            .rows
            .iter()
            .find(|row| row.from == from && row.to == to)
            .cloned()
            .with_context(|| format!("no expectation from {from} to {to}"))
    }

    /// Connects once.
    ///
    /// # Errors
    /// When the client sees something that has no word.
    pub fn connect(&self, row: &Row) -> anyhow::Result<Saw> {
        let to = SocketAddr::new(self.scenario.address(&row.to, Family::V4)?, row.port);
        let namespace = self.node.namespace_of(&row.from)?;
        Client::open(namespace, to, Protocol::Tcp)?.try_it(PAUSE)
    }

    /// Puts policies in place the way an editor does: all at once.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_policies(&self, text: &str) -> anyhow::Result<()> {
        let aside = self.cluster.path().join("policies.new");
        fs::write(&aside, text).context("write new policies")?;
        fs::rename(&aside, self.cluster.path().join("policies.yaml")).context("put them in place")
    }

    /// The policies as they stand.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn policies(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.cluster.path().join("policies.yaml")).context("read the policies")
    }

    /// Connects again and again until a record of `row` says `assessment`.
    ///
    /// # Errors
    /// When none does in time; the message holds every record.
    pub fn until(&self, agent: &mut Agent, row: &Row, assessment: &str) -> anyhow::Result<()> {
        let seen = agent.records().len();
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            self.connect(row)?;
            let is_it = |record: &Record| is(record, row) && record.assessment() == assessment;
            if agent.wait_until(PAUSE, |records| records.iter().skip(seen).any(is_it))? {
                return Ok(());
            }
        }
        let told: Vec<&str> = agent
            .records()
            .iter()
            .map(|record| record.line.as_str())
            .collect();
        bail!(
            "{} to {} never became `{assessment}`; the records:\n{}\nthe agent said:\n{}",
            row.from,
            row.to,
            told.join("\n"),
            agent.stderr()
        )
    }
}

/// Whether a record is about the row's two pods.
#[must_use]
pub fn is(record: &Record, row: &Row) -> bool {
    let end = |side: &str| {
        let text = |field: &str| record.text(&format!("/{side}/{field}")).unwrap_or_default();
        format!("{}/{}", text("namespace"), text("name"))
    };
    end("source") == row.from && end("destination") == row.to
}

/// No record makes one of these claims.
///
/// # Errors
/// When one does; the message shows it.
pub fn none_says(finished: &Finished, words: &[&str]) -> anyhow::Result<()> {
    match finished
        .records
        .iter()
        .find(|record| words.contains(&record.assessment()))
    {
        Some(record) => bail!("a false claim: {}", record.line),
        None => Ok(()),
    }
}
