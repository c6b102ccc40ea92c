//! Connections that somebody takes up on their way: each leg is one of its own, between those who spoke on it.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context, ensure};
use netns::ground::{Ground, LIMIT};
use netns::node::NODE_ADDRESSES;
use netns::ns::Namespace;
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::traffic::Protocol;
use netns::{paths, service, trials};

/// Has a port of the node, and passes on what comes there.
const BALANCER: &str = "kube-system/traefik-7d5f";
/// A server, and a client of another.
const PROXY: &str = "kasm/kasm-proxy-0";
/// Where it ends; policy does not let the proxy in.
const BEHIND: &str = "kasm/kasm-api-0";
/// Where the client is.
const CLIENT: &str = "192.0.2.1";

fn main() {
    trials::conclude(Ok(vec![
        trials::test(
            "K3s' ServiceLB and a stream proxy are three connections",
            || service_lb(Protocol::Tcp),
        ),
        trials::test(
            "K3s' ServiceLB and a datagram proxy are three conversations",
            || service_lb(Protocol::Udp),
        ),
    ]))
}

/// K3s' ServiceLB is a pod with a port of the node (a portmap before it), which translates to the Service's address and
/// takes the client's place. Behind the Service a proxy opens a connection of its own.
fn service_lb(protocol: Protocol) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    if protocol == Protocol::Udp {
        let rows = paths::own("data/kasm-udp.tsv");
        let rows = fs::read_to_string(&rows).context("read the expectations over UDP")?;
        ground.scenario = ground.scenario.with_rows(&rows)?;
    }
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
        protocol,
        node,
        SocketAddr::new(balancer, port),
    )?;
    let inside = ground.node.namespace_of(BALANCER)?;
    pass_on(inside, protocol, port, virtual_address)?;
    let server = Listener::open(&ground, &behind)?;
    let proxy = Listener::open(&ground, &into_proxy)?;
    agent.settle()?;
    let namespace = ground.node.namespace_of(PROXY)?;
    let onward = namespace.handle()?;
    let to = SocketAddr::new(ground.scenario.address(BEHIND, Family::V4)?, behind.port);
    let relay = thread::spawn(move || {
        proxy.answer(|| {
            netns::ns::enter(&onward)?;
            ask(protocol, to)
        })
    });
    let answering = thread::spawn(move || server.answer(|| Ok(*b"answer")));
    let to = SocketAddr::new(node, port);
    let heard = ground.node.world.enter(|| ask(protocol, to))?;
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
fn port_map(
    node: &Namespace,
    protocol: Protocol,
    at: IpAddr,
    to: SocketAddr,
) -> anyhow::Result<()> {
    let (port, protocol) = (to.port(), protocol.name().to_lowercase());
    node.nft(&format!(
        "table ip portmap {{\n\
         \tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tip daddr {at} {protocol} dport {port} dnat to {to}\n\
         \t}}\n\
         }}\n"
    ))
}

/// What a pod of ServiceLB does: it forwards, with its own address for the client's.
fn pass_on(pod: &Namespace, protocol: Protocol, port: u16, to: SocketAddr) -> anyhow::Result<()> {
    pod.sysctl(&[("ipv4/ip_forward", "1")])?;
    let (address, protocol) = (to.ip(), protocol.name().to_lowercase());
    pod.nft(&format!(
        "table ip klipper {{\n\
         \tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\t{protocol} dport {port} dnat to {to}\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip daddr {address} masquerade\n\
         \t}}\n\
         }}\n"
    ))
}

/// Takes one client.
enum Listener {
    Stream(TcpListener),
    Datagrams(UdpSocket),
}

impl Listener {
    fn open(ground: &Ground, row: &Row) -> anyhow::Result<Self> {
        let at = SocketAddr::new(ground.scenario.address(&row.to, Family::V4)?, row.port);
        let bind = || match row.protocol {
            Protocol::Tcp => TcpListener::bind(at).map(Self::Stream),
            Protocol::Udp => bound(at).map(Self::Datagrams),
        };
        let namespace = ground.node.namespace_of(&row.to)?;
        namespace.enter(|| bind().with_context(|| format!("bind {at}")))
    }

    /// Passes on to the client what is found out once he has come.
    fn answer(self, find: impl FnOnce() -> anyhow::Result<[u8; 6]>) -> anyhow::Result<()> {
        match self {
            Self::Stream(listener) => {
                let (mut client, _) = listener.accept().context("accept")?;
                client.write_all(&find()?).context("answer")
            }
            Self::Datagrams(socket) => {
                let (_, client) = socket.recv_from(&mut [0; 8]).context("be asked")?;
                socket.send_to(&find()?, client).context("answer")?;
                Ok(())
            }
        }
    }
}

/// A socket for datagrams that does not wait for ever.
fn bound(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

fn ask(protocol: Protocol, to: SocketAddr) -> anyhow::Result<[u8; 6]> {
    let mut heard = [0; 6];
    match protocol {
        Protocol::Tcp => {
            let stream = TcpStream::connect_timeout(&to, LIMIT);
            let mut stream = stream.with_context(|| format!("{to}"))?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.read_exact(&mut heard)
        }
        Protocol::Udp => {
            let socket = bound((Ipv4Addr::UNSPECIFIED, 0).into())?;
            socket.connect(to)?;
            socket.send(b"question")?;
            socket.recv(&mut heard).map(drop)
        }
    }
    .context("hear an answer")?;
    Ok(heard)
}
