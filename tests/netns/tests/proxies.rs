//! Connections that somebody takes up on their way: each leg is one of its own, between those who spoke on it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, ensure};
use netns::ground::{Ground, LIMIT};
use netns::node::NODE_ADDRESSES;
use netns::ns::Namespace;
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::service;
use netns::trials;

/// Has a port of the node, and passes on what comes there.
const BALANCER: &str = "kube-system/traefik-7d5f";
/// A server, and a client of another.
const PROXY: &str = "kasm/kasm-proxy-0";
/// Where it ends; policy does not let the proxy in.
const BEHIND: &str = "kasm/kasm-api-0";
/// Where the client is.
const CLIENT: &str = "192.0.2.1";

fn main() {
    trials::conclude(Ok(vec![trials::test(
        "K3s' ServiceLB and a stream proxy are three connections",
        service_lb,
    )]))
}

/// K3s' ServiceLB is a pod with a port of the node (a portmap before it), which translates to the Service's address and
/// takes the client's place. Behind the Service a proxy opens a connection of its own.
fn service_lb() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let into_proxy = ground.row(BALANCER, PROXY)?;
    let behind = ground.row(PROXY, BEHIND)?;
    let virtual_address = service::before(&ground, &into_proxy)?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |key| [BALANCER, PROXY, BEHIND].contains(&key))?;
    let port = into_proxy.port;
    let balancer = ground.scenario.address(BALANCER, Family::V4)?;
    let [node, _] = NODE_ADDRESSES;
    port_map(
        &ground.node.namespace,
        node,
        SocketAddr::new(balancer, port),
    )?;
    pass_on(ground.node.namespace_of(BALANCER)?, port, virtual_address)?;
    let server = listen(&ground, &behind)?;
    let proxy = listen(&ground, &into_proxy)?;
    agent.settle()?;
    let namespace = ground.node.namespace_of(PROXY)?;
    let onward = namespace.handle()?;
    let to = SocketAddr::new(ground.scenario.address(BEHIND, Family::V4)?, behind.port);
    let relay = thread::spawn(move || relay(&proxy, &onward, to));
    let answering = thread::spawn(move || answer(&server));
    let heard = ground
        .node
        .world
        .enter(|| ask(SocketAddr::new(node, port)))?;
    ensure!(heard == *b"answer", "the client heard {heard:?}");
    for thread in [relay, answering] {
        thread.join().ok().context("a server panicked")??;
    }
    let legs = [
        leg(CLIENT, BALANCER, "allowed"),
        leg("traefik-7d5f", PROXY, "allowed"),
        leg("kasm-proxy-0", BEHIND, "unenforced"),
    ];
    agent.wait_until(LIMIT, |records| told(records) == sorted(&legs))?;
    are_told(&agent.stop()?.records, &legs)
}

/// Each leg once, nothing else, and one of them through the Service.
fn are_told(records: &[Record], legs: &[String]) -> anyhow::Result<()> {
    let lines: Vec<&str> = records.iter().map(|it| it.line.as_str()).collect();
    let lines = lines.join("\n");
    let (told, wanted) = (told(records), sorted(legs));
    ensure!(told == wanted, "not {wanted:#?}:\n{lines}");
    let count: u64 = connections(records).map(Record::count).sum();
    ensure!(count == 3, "{count} attempts:\n{lines}");
    let through = |record: &&Record| record.text("/service/name") == Some("db");
    ensure!(
        connections(records).filter(through).count() == 1,
        "not one of them is through the Service:\n{lines}"
    );
    Ok(())
}

fn told(records: &[Record]) -> Vec<String> {
    let told: Vec<String> = connections(records).map(words).collect();
    sorted(&told)
}

fn sorted(words: &[String]) -> Vec<String> {
    let mut sorted = words.to_vec();
    sorted.sort();
    sorted
}

fn leg(from: &str, to: &str, assessment: &str) -> String {
    let to = to.split('/').next_back().unwrap_or_default();
    format!("{from} to {to}: {assessment}, answered")
}

fn words(record: &Record) -> String {
    let end = |side: &str| {
        let text = |field: &str| record.text(&format!("/{side}/{field}"));
        text("name")
            .or_else(|| text("ip"))
            .unwrap_or_default()
            .to_owned()
    };
    let (from, to) = (end("source"), end("destination"));
    format!(
        "{from} to {to}: {}, {}",
        record.assessment(),
        record.outcome()
    )
}

fn connections(records: &[Record]) -> impl Iterator<Item = &Record> {
    records
        .iter()
        .filter(|record| record.kind() == "connection")
}

/// A port of the node leads to a pod, as CNI's portmap has it.
fn port_map(node: &Namespace, at: IpAddr, to: SocketAddr) -> anyhow::Result<()> {
    let port = to.port();
    node.nft(&format!(
        "table ip portmap {{\n\
         \tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tip daddr {at} tcp dport {port} dnat to {to}\n\
         \t}}\n\
         }}\n"
    ))
}

/// What a pod of ServiceLB does: it forwards, with its own address for the client's.
fn pass_on(pod: &Namespace, port: u16, to: SocketAddr) -> anyhow::Result<()> {
    pod.sysctl(&[("ipv4/ip_forward", "1")])?;
    let address = to.ip();
    pod.nft(&format!(
        "table ip klipper {{\n\
         \tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\ttcp dport {port} dnat to {to}\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip daddr {address} masquerade\n\
         \t}}\n\
         }}\n"
    ))
}

fn listen(ground: &Ground, row: &Row) -> anyhow::Result<TcpListener> {
    let at = SocketAddr::new(ground.scenario.address(&row.to, Family::V4)?, row.port);
    let namespace = ground.node.namespace_of(&row.to)?;
    namespace.enter(|| TcpListener::bind(at).with_context(|| format!("bind {at}")))
}

/// Takes one connection, opens one, and passes an answer back.
fn relay(
    listener: &TcpListener,
    namespace: &std::os::fd::OwnedFd,
    to: SocketAddr,
) -> anyhow::Result<()> {
    let (mut client, _) = listener.accept().context("accept")?;
    netns::ns::enter(namespace)?;
    client.write_all(&ask(to)?).context("pass an answer back")
}

fn answer(listener: &TcpListener) -> anyhow::Result<()> {
    let (mut client, _) = listener.accept().context("accept")?;
    client.write_all(b"answer").context("answer")
}

fn ask(to: SocketAddr) -> anyhow::Result<[u8; 6]> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT).with_context(|| format!("{to}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut heard = [0; 6];
    stream.read_exact(&mut heard).context("hear an answer")?;
    Ok(heard)
}
