//! What looks alike and is not: old connections and new policies, one attempt and two, a stop and another cause.

mod copies;
mod late;
mod stage;
mod streams;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, ensure};
use netns::enforcer::{drop_from, drop_no_more, dropped};
use netns::ground::{DB_FROM_API, Ground, LIMIT};
use netns::node::Wiring;
use netns::trials;
use serde_json::Value;
use socket2::SockAddr;

use crate::copies::Mirror;
use crate::late::Port;
use crate::stage::{API, DB, OTHER, Stage, connections, lines, of};
use crate::streams::{Change, goes_on};

/// The database is open to nobody.
const SHUT: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: kasm}
spec: {podSelector: {matchLabels: {app: kasm-db}}, policyTypes: [Ingress]}
";
/// The port that a client sends from.
const PORT: u16 = 5555;
/// Longer than the way that is too narrow.
const LONG: usize = 1_400;
/// Shorter than a kernel waits before it repeats a SYN.
const IMPATIENCE: Duration = Duration::from_millis(300);
/// A neighbour is asked for three times: that ends after the cluster's change was read, and before the attempt's
/// deadline.
const SEARCH_MS: &str = "800";
/// Longer than the search.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() {
    trials::conclude(Ok(vec![
        trials::test("a TCP connection outlives a policy that denies it", || {
            outlives(Stream::open)
        }),
        trials::test(
            "a UDP conversation outlives a policy that denies it",
            || outlives(Datagrams::open),
        ),
        trials::test("an answer after a change that denies is no leak", || {
            late::datagram(DB_FROM_API, SHUT, "unknown: in_flux")
        }),
        trials::test("an answer after a change that allows is no leak", || {
            late::datagram(SHUT, DB_FROM_API, "allowed")
        }),
        trials::test("a SYN-ACK after a change that denies is no leak", || {
            late::syn(DB_FROM_API, SHUT, Port::Open, "unknown: in_flux")
        }),
        trials::test("a SYN-ACK after a change that allows is no leak", || {
            late::syn(SHUT, DB_FROM_API, Port::Open, "allowed")
        }),
        trials::test("a RST after a change that denies is no leak", || {
            late::syn(DB_FROM_API, SHUT, Port::Closed, "unknown: in_flux")
        }),
        trials::test("a RST after a change that allows is no leak", || {
            late::syn(SHUT, DB_FROM_API, Port::Closed, "refused")
        }),
        trials::test("a client that gives up and tries again tries twice", || {
            tries_again(None)
        }),
        trials::test(
            "a port that is used again within seconds is an attempt each",
            || tries_again(Some(PORT)),
        ),
        trials::test(
            "a port that is used again is answered each time",
            answered_again,
        ),
        trials::test(
            "what was stopped and then tried again from its port",
            stopped_then_not,
        ),
        trials::test("a stream that policy stops is told of again", || {
            goes_on(Change::Denied, "allowed", "blocked")
        }),
        trials::test("a stream that a policy denies and that goes on", || {
            goes_on(Change::DeniedOnly, "allowed", "unknown: orientation")
        }),
        trials::test(
            "a stream that something else stops is told of again",
            || goes_on(Change::Stopped, "allowed", "unexpected_drop"),
        ),
        trials::test("a stream that is let through after all is a leak", || {
            goes_on(Change::LetThrough, "blocked", "unenforced")
        }),
        trials::test("a copy that is dropped where nobody is is no stop", || {
            copies::dropped(Mirror::Nowhere)
        }),
        trials::test(
            "a copy that is dropped on its way to a listener is no stop",
            || copies::dropped(Mirror::Veth),
        ),
        trials::test("a copy that another pod drops is no stop", || {
            copies::dropped(Mirror::Pod)
        }),
        trials::test("a peer that is deleted meanwhile is gone", || gone(false)),
        trials::test("a peer that was deleted a second ago is unknown", || {
            gone(true)
        }),
        trials::test(
            "a way too narrow for TCP's data stops no connection",
            || narrow(true),
        ),
        trials::test(
            "a way too narrow that says nothing stops no connection",
            || narrow(false),
        ),
    ]))
}

/// Something that speaks both ways, and goes on speaking.
trait Talk: Sized {
    fn open(stage: &Stage, from_port: u16) -> anyhow::Result<Self>;
    fn talk(&mut self) -> anyhow::Result<()>;
}

struct Stream(TcpStream, TcpStream);

impl Talk for Stream {
    fn open(stage: &Stage, from_port: u16) -> anyhow::Result<Self> {
        let listener = stage.listener()?;
        let client = stage.connect(API, Some(from_port), LIMIT)?;
        let client = client.context("connect")?;
        let (server, _) = listener.accept().context("accept")?;
        Ok(Self(client.into(), server))
    }

    fn talk(&mut self) -> anyhow::Result<()> {
        for (from, to) in [(&self.0, &self.1), (&self.1, &self.0)] {
            let (mut from, mut to) = (from, to);
            from.write_all(b"word").context("speak")?;
            to.set_read_timeout(Some(LIMIT))?;
            to.read_exact(&mut [0; 4]).context("hear")?;
        }
        Ok(())
    }
}

struct Datagrams(UdpSocket, UdpSocket);

impl Talk for Datagrams {
    fn open(stage: &Stage, from_port: u16) -> anyhow::Result<Self> {
        let port = stage.row(API)?.port;
        // Each has a server of its own port: the socket of the first must stay.
        let server = stage.datagrams(DB, port + from_port - PORT)?;
        let client = stage.datagrams(API, from_port)?;
        client.connect(server.local_addr()?).context("connect")?;
        let mut talk = Self(client, server);
        talk.talk()?;
        Ok(talk)
    }

    fn talk(&mut self) -> anyhow::Result<()> {
        self.0.send(b"word").context("speak")?;
        let (_, from) = self.1.recv_from(&mut [0; 4]).context("hear")?;
        self.1.send_to(b"word", from).context("speak back")?;
        self.0.recv(&mut [0; 4]).context("hear back")?;
        Ok(())
    }
}

/// Policies are about new connections (R40): what was there before goes on, and only what is opened later has leaked.
fn outlives<T: Talk>(open: impl Fn(&Stage, u16) -> anyhow::Result<T>) -> anyhow::Result<()> {
    let mut stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
    let mut old = open(&stage, PORT)?;
    old.talk()?;
    stage.policies(SHUT)?;
    stage.agent.settle()?;
    old.talk()?;
    // A reader's words prove that the policy counts by now.
    let mut new = open(&stage, PORT + 1)?;
    new.talk()?;
    old.talk()?;
    let finished = stage.tells(2)?;
    let leaked = (of(&finished, "allowed"), of(&finished, "unenforced"));
    ensure!(
        leaked == (1, 1),
        "not one before and one after:\n{}",
        lines(&finished.records)
    );
    let mut after = connections(&finished.records).filter(|it| it.assessment() == "unenforced");
    ensure!(
        after.all(|record| record.number("/source/port") == Some(u64::from(PORT + 1))),
        "the old one is said to have leaked:\n{}",
        lines(&finished.records)
    );
    Ok(())
}

/// The node drops it: each `connect()` is an attempt, whatever port it comes from.
fn tries_again(port: Option<u16>) -> anyhow::Result<()> {
    let stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
    drop_from(&stage.ground.node.namespace, stage.at(OTHER, 0)?.ip())?;
    for _ in 0..3 {
        let connected = stage.connect(OTHER, port, IMPATIENCE)?;
        ensure!(connected.is_err(), "it is not stopped");
    }
    ensure!(
        dropped(&stage.ground.node.namespace)? == 3,
        "a SYN was sent again: this proves nothing"
    );
    let finished = stage.tells(3)?;
    ensure!(
        of(&finished, "blocked") == 3,
        "not blocked three times:\n{}",
        lines(&finished.records)
    );
    Ok(())
}

fn answered_again() -> anyhow::Result<()> {
    let stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
    let listener = stage.listener()?;
    for _ in 0..3 {
        let connected = stage.connect(API, Some(PORT), LIMIT)?;
        drop(connected.context("connect")?);
        listener.accept().context("accept")?;
    }
    let finished = stage.tells(3)?;
    ensure!(
        of(&finished, "allowed") == 3,
        "not allowed three times:\n{}",
        lines(&finished.records)
    );
    Ok(())
}

/// Two attempts from one port: the one that came through says nothing of the other.
fn stopped_then_not() -> anyhow::Result<()> {
    let stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
    let listener = stage.listener()?;
    let node = &stage.ground.node.namespace;
    drop_from(node, stage.at(OTHER, 0)?.ip())?;
    let stopped = stage.connect(OTHER, Some(PORT), IMPATIENCE)?;
    ensure!(stopped.is_err(), "it is not stopped");
    drop_no_more(node)?;
    let connected = stage.connect(OTHER, Some(PORT), LIMIT)?;
    drop(connected.context("connect")?);
    listener.accept().context("accept")?;
    let finished = stage.tells(2)?;
    let told = (of(&finished, "blocked"), of(&finished, "unenforced"));
    ensure!(
        told == (1, 1),
        "not one blocked and one unenforced:\n{}",
        lines(&finished.records)
    );
    let drops = connections(&finished.records).filter(|it| it.value.get("drops").is_some());
    ensure!(
        drops.count() == 0,
        "a drop of another attempt:\n{}",
        lines(&finished.records)
    );
    Ok(())
}

/// The pod ends, and with it who answers for its address. The API has deleted it before, or does so while the attempt
/// waits for a neighbour.
fn gone(before: bool) -> anyhow::Result<()> {
    let mut stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
    let address = stage.at(DB, 0)?.ip();
    let inside = stage.ground.node.namespace_of(DB)?;
    inside.ip(&format!("addr del {address}/32 dev eth0\n"))?;
    let link = &stage.ground.node.pod(DB)?.link;
    let search = format!("ipv4/neigh/{link}/retrans_time_ms");
    stage
        .ground
        .node
        .namespace
        .sysctl(&[(&search, SEARCH_MS)])?;
    if before {
        delete(&stage.ground, DB)?;
        stage.until_without_pod()?;
    }
    let socket = stage.socket(API, None)?;
    let to = SockAddr::from(stage.at(DB, stage.row(API)?.port)?);
    let client = std::thread::spawn(move || socket.connect_timeout(&to, PATIENCE).is_ok());
    if !before {
        delete(&stage.ground, DB)?;
    }
    let connected = client.join().ok().context("the client panicked")?;
    ensure!(!connected, "somebody has the address");
    let finished = stage.tells(1)?;
    let record = connections(&finished.records).next().context("no record")?;
    let wanted = if before {
        ("unknown", Some("identity"))
    } else {
        ("unanswered", None)
    };
    ensure!(
        (record.assessment(), record.text("/unknown_because")) == wanted
            && record.outcome() == "unanswered"
            && record.text("/cause") == Some("peer_gone"),
        "not {wanted:?}: {}",
        record.line
    );
    Ok(())
}

/// Takes a pod out of the cluster, at once.
fn delete(ground: &Ground, key: &str) -> anyhow::Result<()> {
    let file = ground.cluster.path().join("cluster.json");
    let text = fs::read_to_string(&file).context("read the cluster")?;
    let mut cluster: Value = serde_json::from_str(&text)?;
    let items = cluster.pointer_mut("/items").and_then(Value::as_array_mut);
    let items = items.context("the cluster has changed: no list")?;
    let name = key.split('/').next_back();
    let all = items.len();
    let text = |item: &Value, at| item.pointer(at).and_then(Value::as_str).map(str::to_owned);
    items.retain(|item| {
        (
            text(item, "/kind").as_deref(),
            text(item, "/metadata/name").as_deref(),
        ) != (Some("Pod"), name)
    });
    ensure!(
        items.len() + 1 == all,
        "the cluster has changed: no `{key}`"
    );
    let aside = ground.cluster.path().join("cluster.new");
    fs::write(&aside, cluster.to_string()).context("write the cluster")?;
    fs::rename(&aside, &file).context("put it in place")
}

/// A SYN fits where data does not: the connection is there, and what is lost later is counted as drops alone.
fn narrow(says_so: bool) -> anyhow::Result<()> {
    let stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
    let node = &stage.ground.node.namespace;
    let link = &stage.ground.node.pod(DB)?.link;
    node.ip(&format!("link set {link} mtu 1280\n"))?;
    if !says_so {
        node.nft(
            "table ip silent {\n\
             \tchain output {\n\
             \t\ttype filter hook output priority 0;\n\
             \t\ticmp type destination-unreachable drop\n\
             \t}\n\
             }\n",
        )?;
    }
    let listener = stage.listener()?;
    let client = stage.connect(API, None, LIMIT)?.context("connect")?;
    let (mut server, _) = listener.accept().context("accept")?;
    let mut client = TcpStream::from(client);
    client.write_all(&[0; LONG])?;
    server.set_read_timeout(Some(if says_so { LIMIT } else { IMPATIENCE }))?;
    let arrived = server.read_exact(&mut [0; LONG]).is_ok();
    ensure!(arrived == says_so, "the data arrived: {arrived}");
    stage.until_dropped("PKT_TOO_BIG")?;
    let finished = stage.tells(1)?;
    let record = connections(&finished.records).next().context("no record")?;
    ensure!(
        record.assessment() == "allowed"
            && record.outcome() == "answered"
            && record.value.get("drops").is_none(),
        "not just allowed: {}",
        record.line
    );
    Ok(())
}
