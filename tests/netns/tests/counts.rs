//! One attempt is one, however often its packets are sent again, wherever they are seen, under whatever address.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use netns::enforcer::{Mode, Stop};
use netns::ground::{Ground, LIMIT};
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::traffic::{Client, Protocol, Saw, Server};
use netns::trials;

/// The Service before the database.
const SERVICE: &str = "10.43.0.9";
/// Connections in a row.
const CONNECTIONS: u64 = 3;
/// A client that is dropped sends its SYN at 0, 1, 3 and 7 s.
const PATIENCE: Duration = Duration::from_secs(8);

fn main() {
    trials::conclude(Ok(vec![
        trials::test("a connect that is dropped four times is one", long_connect),
        trials::test("a Service's backend on this node counts once", service),
        trials::test(
            "a Service's backend that refuses counts once",
            service_closed,
        ),
        trials::test("a drop behind a Service names its backend", service_denied),
    ]))
}

fn long_connect() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let row = ground.row("kasm/kasm-agent-0", "kasm/kasm-db-0")?;
    ground.enforce(std::slice::from_ref(&row), Mode::Everything(Stop::Drop))?;
    agent.settle()?;
    let to = SocketAddr::new(ground.scenario.address(&row.to, Family::V4)?, row.port);
    let client = Client::open(ground.node.namespace_of(&row.from)?, to, Protocol::Tcp)?;
    let saw = client.try_it(PATIENCE)?;
    ensure!(saw == Saw::Nothing, "the client saw {saw:?}");
    ensure!(
        agent.wait_until(LIMIT, |records| told(records, "blocked") > 0)?,
        "nothing was blocked"
    );
    // What would be counted twice comes with the last SYN's own deadline.
    agent.wait_until(Duration::from_secs(5), |records| {
        told(records, "blocked") > 1
    })?;
    let records = agent.stop()?.records;
    only(&records, "blocked", 1)
}

/// A node's own translation to a Service's backend, as kube-proxy writes it.
fn translate(ground: &Ground, row: &Row) -> anyhow::Result<SocketAddr> {
    let backend = ground.scenario.address(&row.to, Family::V4)?;
    let port = row.port;
    ground.node.namespace.nft(&format!(
        "table ip services {{\n\
         \tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tip daddr {SERVICE} tcp dport {port} dnat to {backend}:{port}\n\
         \t}}\n\
         }}\n"
    ))?;
    fs::write(
        ground.cluster.path().join("service.yaml"),
        manifests(backend, port),
    )
    .context("write the Service")?;
    Ok(SocketAddr::new(SERVICE.parse()?, port))
}

fn manifests(backend: IpAddr, port: u16) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata: {{name: db, namespace: kasm}}\n\
         spec:\n\
         \x20 clusterIP: {SERVICE}\n\
         \x20 clusterIPs: [{SERVICE}]\n\
         \x20 ports: [{{name: db, port: {port}, protocol: TCP}}]\n\
         ---\n\
         apiVersion: discovery.k8s.io/v1\n\
         kind: EndpointSlice\n\
         metadata: {{name: db-1, namespace: kasm, labels: {{kubernetes.io/service-name: db}}}}\n\
         addressType: IPv4\n\
         ports: [{{name: db, port: {port}, protocol: TCP}}]\n\
         endpoints: [{{addresses: [{backend}], conditions: {{ready: true}}}}]\n"
    )
}

/// Connects through the Service, and gives what was written of it.
fn through_service(
    from: &str,
    assessment: &str,
    server: Server,
    stop: Option<Stop>,
) -> anyhow::Result<Vec<Record>> {
    let mut ground = Ground::new()?;
    let row = ground.row(from, "kasm/kasm-db-0")?;
    let to = translate(&ground, &row)?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = match server {
        Server::Answering => Some(ground.servers()?),
        Server::Silent | Server::Closed | Server::Dead => None,
    };
    if let Some(stop) = stop {
        ground.enforce(std::slice::from_ref(&row), Mode::Everything(stop))?;
    }
    agent.settle()?;
    let namespace = ground.node.namespace_of(&row.from)?;
    for _ in 0..CONNECTIONS {
        Client::open(namespace, to, Protocol::Tcp)?.try_it(Duration::from_millis(300))?;
    }
    agent.wait_until(LIMIT, |records| told(records, assessment) >= CONNECTIONS)?;
    Ok(agent.stop()?.records)
}

fn service() -> anyhow::Result<()> {
    let records = through_service("kasm/kasm-api-0", "allowed", Server::Answering, None)?;
    only(&records, "allowed", CONNECTIONS)
}

fn service_closed() -> anyhow::Result<()> {
    let records = through_service("kasm/kasm-api-0", "refused", Server::Closed, None)?;
    only(&records, "refused", CONNECTIONS)
}

fn service_denied() -> anyhow::Result<()> {
    for stop in [Stop::Drop, Stop::PortUnreachable] {
        let from = "kasm/kasm-agent-0";
        let records = through_service(from, "blocked", Server::Answering, Some(stop))?;
        only(&records, "blocked", CONNECTIONS)?;
    }
    Ok(())
}

fn connections(records: &[Record]) -> impl Iterator<Item = &Record> {
    records
        .iter()
        .filter(|record| record.kind() == "connection")
}

fn told(records: &[Record], assessment: &str) -> u64 {
    connections(records)
        .filter(|record| record.assessment() == assessment)
        .map(Record::count)
        .sum()
}

/// All connections are of that assessment, at the database's pod, and as many as were made.
fn only(records: &[Record], assessment: &str, count: u64) -> anyhow::Result<()> {
    let lines: Vec<&str> = connections(records).map(|r| r.line.as_str()).collect();
    let all = connections(records).all(|record| {
        record.assessment() == assessment && record.text("/destination/name") == Some("kasm-db-0")
    });
    ensure!(
        all && told(records, assessment) == count,
        "not {count} times {assessment} at the database:\n{}",
        lines.join("\n")
    );
    Ok(())
}
