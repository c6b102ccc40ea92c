//! One attempt is one, however often its packets are sent again, wherever they are seen, under whatever address.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, ensure};
use netns::agent::Agent;
use netns::enforcer::{Mode, Stop, drop_from, drop_no_more, dropped};
use netns::ground::{DB_FROM_API, Ground, LIMIT};
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::service::{self, dnat};
use netns::traffic::{Client, Listen, Protocol, Saw, Server, Servers};
use netns::trials;

/// An address of the node.
const NODE: &str = "192.0.2.10";
/// Connections in a row.
const CONNECTIONS: u64 = 3;
/// A client that is dropped sends its SYN at 0, 1, 3 and 7 s.
const PATIENCE: Duration = Duration::from_secs(8);
/// Shorter than a kernel waits before it repeats a SYN.
const IMPATIENCE: Duration = Duration::from_millis(300);
/// The port that a client outside sends from.
const PORT: u16 = 5555;

fn main() {
    trials::conclude(Ok(vec![
        trials::test("a connect that is dropped four times is one", long_connect),
        trials::test(
            "a client outside that hears no answer and asks again counts once",
            lost_answers,
        ),
        trials::test(
            "a client outside that is stopped and tries again from its port counts each time",
            again_from_outside,
        ),
        trials::test("a Service's backend on this node counts once", answered),
        trials::test("a Service's backend that refuses counts once", refused),
        trials::test("a drop behind a Service names its backend", denied),
        trials::test("what is rewritten without conntrack counts once", rewritten),
        trials::test(
            "what its pod's own firewall stopped at first counts when it is answered",
            stopped_inside,
        ),
        trials::test("a node's port that leads to a pod counts once", node_port),
        trials::test("two Services asked from one UDP port are two", datagrams),
        trials::test(
            "a datagram that the node refuses behind a Service counts once",
            refused_by_the_node,
        ),
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

/// The database's pod, a server in it, and how the world gets there.
fn from_outside() -> anyhow::Result<(Ground, Agent, SocketAddr, Servers)> {
    let mut ground = Ground::new()?;
    ground.write_policies(DB_FROM_API)?;
    let mut agent = ground.agent()?;
    let row = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    ground.add_pods(&agent, |key| key == row.to)?;
    let servers = ground.servers()?;
    let to = SocketAddr::new(ground.scenario.address(&row.to, Family::V4)?, row.port);
    agent.settle()?;
    Ok((ground, agent, to, servers))
}

/// What the pod answers gets lost behind its interface: the client sends the same SYN again. What it opens later from
/// the same port is another attempt.
fn lost_answers() -> anyhow::Result<()> {
    let (ground, agent, to, _servers) = from_outside()?;
    let node = &ground.node;
    drop_from(&node.namespace, to.ip())?;
    let open = || Client::open(&node.world, to, Protocol::Tcp)?.from_port(PORT);
    let saw = open()?.try_it(PATIENCE)?;
    ensure!(saw == Saw::Nothing, "the client saw {saw:?}");
    let answers = dropped(&node.namespace)?;
    ensure!(answers > 2, "answered {answers} times: this proves nothing");
    drop_no_more(&node.namespace)?;
    let saw = open()?.try_it(PATIENCE)?;
    ensure!(saw == Saw::Answer, "the client saw {saw:?}");
    all_of(agent, "unenforced", 2)
}

/// No interface sees it: each begins with its drop.
fn again_from_outside() -> anyhow::Result<()> {
    let (ground, agent, to, _servers) = from_outside()?;
    let node = &ground.node;
    node.namespace.nft(
        "table ip outside {\n chain first {\n  type filter hook prerouting priority raw;\n  \
         iifname uplink0 ip protocol tcp drop\n }\n}\n",
    )?;
    for _ in 0..CONNECTIONS {
        let client = Client::open(&node.world, to, Protocol::Tcp)?.from_port(PORT)?;
        let saw = client.try_it(IMPATIENCE)?;
        ensure!(saw == Saw::Nothing, "the client saw {saw:?}");
    }
    all_of(agent, "blocked", CONNECTIONS)
}

/// So many attempts are told of, all of that assessment.
fn all_of(mut agent: Agent, assessment: &str, count: u64) -> anyhow::Result<()> {
    let all = |records: &[Record]| connections(records).map(Record::count).sum::<u64>();
    agent.wait_until(LIMIT, |records| all(records) >= count)?;
    // What would be counted twice comes with its own deadline.
    agent.wait_until(Duration::from_secs(5), |records| all(records) > count)?;
    only(&agent.stop()?.records, assessment, count)
}

/// Connects through the Service, and gives what was written of it.
fn through_service(
    from: &str,
    assessment: &str,
    server: Server,
    stop: Option<Stop>,
) -> anyhow::Result<Vec<Record>> {
    through(service::before, from, assessment, server, stop)
}

fn through(
    service: impl FnOnce(&Ground, &Row) -> anyhow::Result<SocketAddr>,
    from: &str,
    assessment: &str,
    server: Server,
    stop: Option<Stop>,
) -> anyhow::Result<Vec<Record>> {
    let mut ground = Ground::new()?;
    let row = ground.row(from, "kasm/kasm-db-0")?;
    let to = service(&ground, &row)?;
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
    // What would be counted twice comes with its own deadline.
    let all = |records: &[Record]| connections(records).map(Record::count).sum::<u64>();
    agent.wait_until(Duration::from_secs(5), |records| all(records) > CONNECTIONS)?;
    Ok(agent.stop()?.records)
}

fn answered() -> anyhow::Result<()> {
    let records = through_service("kasm/kasm-api-0", "allowed", Server::Answering, None)?;
    is_named(&records)?;
    only(&records, "allowed", CONNECTIONS)
}

fn refused() -> anyhow::Result<()> {
    let records = through_service("kasm/kasm-api-0", "refused", Server::Closed, None)?;
    only(&records, "refused", CONNECTIONS)
}

fn denied() -> anyhow::Result<()> {
    for stop in [Stop::Drop, Stop::PortUnreachable] {
        let from = "kasm/kasm-agent-0";
        let records = through_service(from, "blocked", Server::Answering, Some(stop))?;
        is_named(&records)?;
        only(&records, "blocked", CONNECTIONS)?;
    }
    Ok(())
}

fn rewritten() -> anyhow::Result<()> {
    let (allowed, denied) = ("kasm/kasm-api-0", "kasm/kasm-agent-0");
    for (from, assessment, server, stop) in [
        (allowed, "allowed", Server::Answering, None),
        (allowed, "refused", Server::Closed, None),
        (denied, "blocked", Server::Answering, Some(Stop::Drop)),
        (
            denied,
            "blocked",
            Server::Answering,
            Some(Stop::PortUnreachable),
        ),
    ] {
        let records = through(service::rewritten_before, from, assessment, server, stop)?;
        only(&records, assessment, CONNECTIONS)?;
    }
    Ok(())
}

/// The first SYN comes to no interface, the second is one attempt with it.
fn stopped_inside() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let world = SocketAddr::from(([192, 0, 2, 1], 7070));
    let _servers = Servers::start(&[Listen {
        namespace: &ground.node.world,
        at: world,
        protocol: Protocol::Tcp,
        server: Server::Answering,
    }])?;
    let pod = ground.node.namespace_of("default/debug")?;
    pod.nft(
        "table ip own {\n chain out {\n  type filter hook output priority 0;\n  \
         tcp flags syn limit rate 1/hour burst 1 packets drop\n }\n}\n",
    )?;
    agent.settle()?;
    let saw = Client::open(pod, world, Protocol::Tcp)?.try_it(PATIENCE)?;
    ensure!(saw == Saw::Answer, "the client saw {saw:?}");
    agent.wait_until(LIMIT, |records| told(records, "allowed") > 0)?;
    let records = agent.stop()?.records;
    let all: u64 = connections(&records).map(Record::count).sum();
    let lines: Vec<&str> = connections(&records).map(|r| r.line.as_str()).collect();
    ensure!(
        (all, told(&records, "allowed")) == (1, 1),
        "not one allowed attempt:\n{}",
        lines.join("\n")
    );
    Ok(())
}

/// A port of the node itself, translated to a pod.
fn node_port() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let row = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    let backend = ground.scenario.address(&row.to, Family::V4)?;
    dnat(
        &ground,
        NODE,
        "tcp",
        30_080,
        SocketAddr::new(backend, row.port),
    )?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    agent.settle()?;
    let namespace = ground.node.namespace_of(&row.from)?;
    let to = SocketAddr::new(NODE.parse()?, 30_080);
    for _ in 0..CONNECTIONS {
        let saw = Client::open(namespace, to, Protocol::Tcp)?.try_it(PATIENCE)?;
        ensure!(saw == Saw::Answer, "the client saw {saw:?}");
    }
    agent.wait_until(LIMIT, |records| told(records, "allowed") >= CONNECTIONS)?;
    only(&agent.stop()?.records, "allowed", CONNECTIONS)
}

/// A Service whose backend is on the node's network, and down: conntrack knows nothing of it any more when it is refused.
fn refused_by_the_node() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let closed = SocketAddr::new(NODE.parse()?, 9_999);
    dnat(&ground, "10.43.0.20", "udp", 53, closed)?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    agent.settle()?;
    let namespace = ground.node.namespace_of("kasm/kasm-api-0")?;
    for _ in 0..CONNECTIONS {
        let socket = namespace.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
        socket.send_to(b"question", ("10.43.0.20", 53))?;
    }
    let all = |records: &[Record]| connections(records).map(Record::count).sum::<u64>();
    agent.wait_until(LIMIT, |records| all(records) >= CONNECTIONS)?;
    // What would be counted twice comes with its own deadline.
    agent.wait_until(Duration::from_secs(5), |records| all(records) > CONNECTIONS)?;
    let records = agent.stop()?.records;
    let lines: Vec<&str> = connections(&records).map(|r| r.line.as_str()).collect();
    ensure!(
        all(&records) == CONNECTIONS,
        "not {CONNECTIONS} attempts:\n{}",
        lines.join("\n")
    );
    Ok(())
}

/// Datagrams have no sequence number: that both came from one port makes them no one attempt.
fn datagrams() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let services = ["10.43.0.20", "10.43.0.21"];
    let mut listens = Vec::new();
    for (service, pod) in services
        .into_iter()
        .zip(["kasm/kasm-db-0", "kasm/kasm-redis-0"])
    {
        let to = SocketAddr::new(ground.scenario.address(pod, Family::V4)?, 5353);
        dnat(&ground, service, "udp", 53, to)?;
        listens.push((pod, to));
    }
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let listens: Vec<Listen<'_>> = listens
        .into_iter()
        .map(|(pod, at)| {
            Ok(Listen {
                namespace: ground.node.namespace_of(pod)?,
                at,
                protocol: Protocol::Udp,
                server: Server::Answering,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let _servers = Servers::start(&listens)?;
    agent.settle()?;
    let namespace = ground.node.namespace_of("kasm/kasm-api-0")?;
    let sockets: Vec<UdpSocket> = (0..CONNECTIONS)
        .map(|_| namespace.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?)))
        .collect::<anyhow::Result<_>>()?;
    for socket in &sockets {
        socket.set_read_timeout(Some(PATIENCE))?;
        for service in services {
            socket.send_to(b"question", (service, 53))?;
        }
        for _ in services {
            socket.recv(&mut [0; 64]).context("receive an answer")?;
        }
    }
    let count = |records: &[Record]| connections(records).map(Record::count).sum::<u64>();
    agent.wait_until(LIMIT, |records| count(records) >= 2 * CONNECTIONS)?;
    let records = agent.stop()?.records;
    let lines: Vec<&str> = connections(&records).map(|r| r.line.as_str()).collect();
    ensure!(
        count(&records) == 2 * CONNECTIONS,
        "not {} attempts:\n{}",
        2 * CONNECTIONS,
        lines.join("\n")
    );
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

/// All connections tell of the Service that they were sent to.
fn is_named(records: &[Record]) -> anyhow::Result<()> {
    for record in connections(records) {
        ensure!(
            record.text("/service/name") == Some("db")
                && record.text("/service/ip") == Some(service::ADDRESS),
            "not through the Service:\n{}",
            record.line
        );
    }
    Ok(())
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
