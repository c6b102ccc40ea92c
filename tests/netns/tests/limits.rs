//! Tables and buffers that are too small: what does not fit is counted, and nothing is claimed from it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use netns::agent::{Agent, Setup};
use netns::node::{Node, ReversePath, TEST_PREFIX};
use netns::paths;
use netns::record::Record;
use netns::scenario::{Family, Scenario};
use netns::traffic::{Client, Listen, Protocol, Server, Servers};
use netns::trials;

/// The client: policy lets it go anywhere.
const FROM: &str = "kasm/kasm-db-0";
/// The server: policy lets everybody in.
const TO: &str = "default/debug";
/// Conversations at once.
const BURST: u16 = 300;
const FIRST_PORT: u16 = 10_000;
const LIMIT: Duration = Duration::from_secs(12);

fn main() {
    trials::conclude(Ok(vec![
        // Silence needs no ring: the sweep finds it in the table.
        trials::test("a ring buffer that is too small", || {
            burst(&["--ring-bytes", "4096"], "ring", Server::Answering)
        }),
        trials::test("a table of attempts that is too small", || {
            burst(&["--attempts", "16"], "attempts", Server::Silent)
        }),
        trials::test(
            "a table of attempts that is too small, with answers",
            || burst(&["--attempts", "16"], "attempts", Server::Answering),
        ),
    ]))
}

/// Opens many conversations within a moment, all of them allowed, all of them delivered.
fn burst(flags: &[&str], stage: &str, server: Server) -> anyhow::Result<()> {
    let scenario = Scenario::read("kasm")?;
    let cluster = scenario.write()?;
    let mut node = Node::new(TEST_PREFIX, &[], ReversePath::Open)?;
    let setup = Setup::new(&paths::agent()?, cluster.path()).flag(flags);
    let mut agent = Agent::start(&setup, &node.namespace)?;
    node.add_watched_pods(&scenario.pod_specs(), &agent)?;
    let address = scenario.address(TO, Family::V4)?;
    let ports = FIRST_PORT..FIRST_PORT + BURST;
    let places: Vec<SocketAddr> = ports.map(|port| SocketAddr::new(address, port)).collect();
    let to = node.namespace_of(TO)?;
    let listens: Vec<Listen<'_>> = places
        .iter()
        .map(|at| Listen {
            namespace: to,
            at: *at,
            protocol: Protocol::Udp,
            server,
        })
        .collect();
    let _servers = Servers::start(&listens)?;
    agent.settle()?;
    let from = node.namespace_of(FROM)?;
    let clients = places
        .iter()
        .map(|at| Client::open(from, *at, Protocol::Udp))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for client in &clients {
        client.send()?;
    }
    let lost = |record: &Record| record.kind() == "lost" && record.text("/stage") == Some(stage);
    agent.wait_until(LIMIT, |records| records.iter().any(lost))?;
    let stderr = agent.stderr();
    let records = agent.stop()?.records;
    let lost = records
        .iter()
        .find(|record| lost(record))
        .with_context(|| {
            format!("nothing says that `{stage}` lost anything; the agent said:\n{stderr}")
        })?;
    ensure!(
        lost.number("/count") > Some(0),
        "an empty loss: {}",
        lost.line
    );
    let mut attempts = 0;
    for record in records
        .iter()
        .filter(|record| record.kind() == "connection")
    {
        attempts += record.count();
        match record.assessment() {
            "allowed" => {}
            "unknown" if record.text("/unknown_because") == Some("lost") => {}
            _ => bail!("claimed from what was lost: {}", record.line),
        }
    }
    ensure!(
        attempts <= u64::from(BURST),
        "{attempts} attempts counted, {BURST} made"
    );
    Ok(())
}
