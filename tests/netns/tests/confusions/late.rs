//! What was asked before a change of the policies and is answered after it: policy is what it is now, and a denial that
//! did not hold all the time proves no leak.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, ensure};
use netns::child;
use netns::ground::LIMIT;
use netns::node::Wiring;
use netns::queue::Held;
use socket2::SockAddr;

use crate::PORT;
use crate::stage::{API, DB, Stage, connections};

/// The queue in which packets to the database wait.
const QUEUE: u16 = 1;

/// What waits for a SYN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Open,
    Closed,
}

/// The server itself is late.
pub(crate) fn datagram(before: &str, after: &str, claim: &str) -> anyhow::Result<()> {
    let mut stage = Stage::new(Wiring::Routed, before)?;
    let port = stage.row(API)?.port;
    let server = stage.datagrams(DB, port)?;
    let client = stage.datagrams(API, PORT)?;
    stage.agent.settle()?;
    client.send_to(b"question", server.local_addr()?)?;
    let (_, from) = server.recv_from(&mut [0; 8])?;
    stage.policies(after)?;
    server.send_to(b"answer", from)?;
    client.recv(&mut [0; 8]).context("receive the answer")?;
    is_told(stage, claim, "answered")
}

/// Somebody who decides in user space lets the SYN wait in the server's namespace.
pub(crate) fn syn(before: &str, after: &str, port: Port, claim: &str) -> anyhow::Result<()> {
    let mut stage = Stage::new(Wiring::Routed, before)?;
    let to = stage.at(DB, stage.row(API)?.port)?;
    let held = hold(&stage, to)?;
    let listener = match port {
        Port::Open => Some(stage.listener()?),
        Port::Closed => None,
    };
    stage.agent.settle()?;
    let socket = stage.socket(API, Some(PORT))?;
    let to = SockAddr::from(to);
    let client = std::thread::spawn(move || socket.connect_timeout(&to, LIMIT).map(|()| socket));
    held.until_one_waits(LIMIT)?;
    stage.policies(after)?;
    let _accepting = held.accept()?;
    let connected = client.join().ok().context("the client panicked")?;
    ensure!(
        connected.is_ok() == listener.is_some(),
        "the client saw {connected:?}"
    );
    let outcome = match port {
        Port::Open => "answered",
        Port::Closed => "refused",
    };
    is_told(stage, claim, outcome)
}

fn hold(stage: &Stage, to: SocketAddr) -> anyhow::Result<Held> {
    let inside = stage.ground.node.namespace_of(DB)?;
    let held = Held::take(inside, QUEUE)?;
    let mut rule = Command::new("ip");
    rule.args([
        "netns",
        "exec",
        inside.name(),
        "iptables-nft",
        "-w",
        "-A",
        "INPUT",
    ]);
    rule.args(["-p", "tcp", "--dport", &to.port().to_string()]);
    rule.args(["-j", "NFQUEUE", "--queue-num", &QUEUE.to_string()]);
    let ended = child::run(&mut rule, LIMIT)?;
    ensure!(ended.code == Some(0), "no queue: {ended:?}");
    Ok(held)
}

/// One record, with that assessment and outcome.
fn is_told(stage: Stage, claim: &str, outcome: &str) -> anyhow::Result<()> {
    let finished = stage.tells(1)?;
    let record = connections(&finished.records).next().context("no record")?;
    let because = record.text("/unknown_because");
    let said = [Some(record.assessment()), because];
    let said: Vec<&str> = said.into_iter().flatten().collect();
    ensure!(
        said.join(": ") == claim && record.outcome() == outcome,
        "not `{claim}`, {outcome}: {}",
        record.line
    );
    Ok(())
}
