//! Pods that the cluster has not told of yet: they speak before the API server has heard of their addresses.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use netns::ground::{Ground, LIMIT};
use netns::record::Record;
use netns::service;
use netns::traffic::{Client, Protocol, Saw};
use netns::trials;
use serde_json::Value;

const CLIENT: &str = "kasm/kasm-api-0";
const SERVER: &str = "kasm/kasm-db-0";
/// Connections in a row.
const CONNECTIONS: u64 = 3;
/// An attempt is told of by then, whatever its end.
const TOLD: Duration = Duration::from_secs(5);

fn main() {
    trials::conclude(Ok(vec![
        trials::test("what it asks of a Service counts once", || {
            counted(Protocol::Tcp)
        }),
        trials::test("a datagram that it sends to a Service counts once", || {
            counted(Protocol::Udp)
        }),
    ]))
}

/// The backend is on the same node: both sightings are one attempt's.
fn counted(protocol: Protocol) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut row = ground.row(CLIENT, SERVER)?;
    row.protocol = protocol;
    ground.scenario.rows = vec![row.clone()];
    let to = service::before(&ground, &row)?;
    hide(&ground, CLIENT)?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |key| [CLIENT, SERVER].contains(&key))?;
    let _servers = ground.servers()?;
    agent.settle()?;
    let namespace = ground.node.namespace_of(CLIENT)?;
    for _ in 0..CONNECTIONS {
        let saw = Client::open(namespace, to, protocol)?.try_it(TOLD)?;
        ensure!(saw == Saw::Answer, "the client saw {saw:?}");
    }
    agent.wait_until(LIMIT, |records| all(records) >= CONNECTIONS)?;
    // What would be counted twice comes with its own deadline.
    agent.wait_until(TOLD, |records| all(records) > CONNECTIONS)?;
    let metrics = agent.metrics(&ground.node.namespace)?;
    let sum = metrics.sum("netverdict_connections_total", &[]);
    let records = agent.stop()?.records;
    let lines: Vec<&str> = records.iter().map(|it| it.line.as_str()).collect();
    ensure!(
        (sum, all(&records)) == (CONNECTIONS, CONNECTIONS),
        "not {CONNECTIONS} attempts but {sum}:\n{}",
        lines.join("\n")
    );
    Ok(())
}

fn all(records: &[Record]) -> u64 {
    let of_it = |record: &&Record| record.kind() == "connection";
    records.iter().filter(of_it).map(Record::count).sum()
}

/// Takes a pod out of what the cluster says.
fn hide(ground: &Ground, pod: &str) -> anyhow::Result<()> {
    let file = ground.cluster.path().join("cluster.json");
    let text = fs::read_to_string(&file).context("read the cluster")?;
    let mut list: Value = serde_json::from_str(&text)?;
    let items = list.pointer_mut("/items").and_then(Value::as_array_mut);
    let items = items.context("the cluster is no list")?;
    let before = items.len();
    items.retain(|item| {
        let text = |field| {
            item.pointer(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let key = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        item.pointer("/kind") != Some(&Value::from("Pod")) || key != pod
    });
    ensure!(items.len() + 1 == before, "{pod} is not in the cluster");
    fs::write(&file, list.to_string()).context("write the cluster")
}
