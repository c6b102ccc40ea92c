//! Hostile pods, and the observer's oath: what is sent arrives as it was sent, watched or not.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::agent::Agent;
use netns::bpf::Counter;
use netns::enforcer::{Mode, Stop};
use netns::frame::{Ends, SYN, shapes};
use netns::ground::{Ground, LIMIT, is};
use netns::node::Wiring;
use netns::raw::{Wire, ends, hardware_address};
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::traffic::Saw;
use netns::trials;

/// The sender.
const FROM: &str = "default/debug";
/// The receiver.
const TO: &str = "kasm/kasm-db-0";
/// Nobody's hardware address, so that what the sender's kernel says is not taken for the test's.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// Somewhere outside where nobody answers.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// Spoofed addresses of a flood; a million with `--long`.
const FLOOD: u32 = 100_000;
/// What a socket says whose interface is gone.
const ENXIO: i32 = 6;
/// Until every attempt of a flood is told.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    trials::conclude(Ok(vec![
        trials::test("every shape arrives as without an agent", every_shape),
        trials::test("a flood of SYNs harms nobody else and is counted", || {
            flood(NOWHERE, Mode::NotEnforced)
        }),
        trials::test("a flood of SYNs that is dropped is counted once", || {
            flood(NOWHERE, Mode::Everything(Stop::Drop))
        }),
        trials::test(
            "an interface deleted in mid-flood is counted to its last packet",
            deleted,
        ),
    ]))
}

fn every_shape() -> anyhow::Result<()> {
    let mut ground = Ground::wired(Wiring::Bridged)?;
    // Netfilter would drop what is malformed before anybody else sees it.
    ground.node.namespace.sysctl(&[
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
    ])?;
    let mut pods = ground.scenario.pod_specs();
    pods.retain(|pod| pod.key == FROM || pod.key == TO);
    ground.node.add_pods(&pods)?;
    let (from, to) = (
        ground.node.namespace_of(FROM)?,
        ground.node.namespace_of(TO)?,
    );
    let (sender, receiver) = (Wire::open(from, "eth0")?, Wire::open(to, "eth0")?);
    let ends = Ends {
        to: hardware_address(to, "eth0")?,
        from: SENDER,
    };
    let frames = shapes(ends, v4(&ground, TO)?, v6(&ground, TO)?);
    let exchange = || -> anyhow::Result<Vec<Vec<u8>>> {
        for (name, frame) in &frames {
            sender.send(frame).with_context(|| format!("send {name}"))?;
        }
        // The last one says that all have come.
        let last = ends.frame(&[0x88, 0xb5], b"the end");
        sender.send(&last)?;
        let mut got = Vec::new();
        let is_ours = |frame: &[u8]| frame.get(6..12) == Some(&SENDER);
        let end = Instant::now() + LIMIT;
        while got.last() != Some(&last) {
            ensure!(
                Instant::now() < end,
                "{} frames came, not the last",
                got.len()
            );
            got.extend(receiver.receive(1, LIMIT, is_ours)?);
        }
        Ok(got)
    };
    let alone = exchange()?;
    ensure!(
        alone.len() > frames.len() / 2,
        "hardly any frame arrives: {}",
        alone.len()
    );
    for attach in ["tcx", "clsact"] {
        let setup = ground.setup()?.flag(&["--attach", attach]);
        let agent = Agent::start(&setup, &ground.node.namespace)?;
        same(&alone, &exchange()?, &format!("with {attach}"))?;
        // Whatever moment it is killed at: here some frames are on their way.
        let (during, killed) = std::thread::scope(|scope| {
            let killer = scope.spawn(|| agent.kill());
            (exchange(), killer.join())
        });
        killed.ok().context("the killer panicked")??;
        same(
            &alone,
            &during?,
            &format!("while it is killed with {attach}"),
        )?;
        same(
            &alone,
            &exchange()?,
            &format!("after it was killed with {attach}"),
        )?;
    }
    Ok(())
}

fn same(alone: &[Vec<u8>], watched: &[Vec<u8>], when: &str) -> anyhow::Result<()> {
    if alone == watched {
        return Ok(());
    }
    let (before, now) = (alone.len(), watched.len());
    let at = alone.iter().zip(watched).position(|(a, b)| a != b);
    anyhow::bail!("{when} {now} frames arrive instead of {before}, the first other one is {at:?}")
}

fn v4(ground: &Ground, pod: &str) -> anyhow::Result<Ipv4Addr> {
    match ground.scenario.address(pod, Family::V4)? {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(_) => anyhow::bail!("no IPv4 address"),
    }
}

fn v6(ground: &Ground, pod: &str) -> anyhow::Result<Ipv6Addr> {
    match ground.scenario.address(pod, Family::V6)? {
        IpAddr::V6(v6) => Ok(v6),
        IpAddr::V4(_) => anyhow::bail!("no IPv6 address"),
    }
}

/// Sends SYNs from as many addresses; nothing of them is ever answered.
fn flood(to: Ipv4Addr, mode: Mode) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    if mode != Mode::NotEnforced {
        ground.node.namespace.nft(&format!(
            "table inet flood {{\n chain forward {{\n  type filter hook forward priority 0;\n  ip daddr {to} drop\n }}\n}}\n"
        ))?;
    }
    let pod = ground.node.pod(FROM)?;
    let wire = Wire::open(&pod.namespace, "eth0")?;
    let ends = ends(&ground.node, pod)?;
    let row = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &row, "allowed")?;
    let before = allowed(agent.records(), &row);
    let sent = if std::env::var_os("NETVERDICT_LONG").is_some() {
        FLOOD * 10
    } else {
        FLOOD
    };
    for number in 0..sent {
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
        let frame = ends.tcp((from, 4000), (to, 80), number, SYN);
        // A full queue is a moment's matter.
        while wire.send(&frame).is_err() {}
        if number == sent / 2 {
            ensure!(
                ground.connect(&row)? == Saw::Answer,
                "nobody else gets through"
            );
        }
    }
    let to = to.to_string();
    let mut found = Found::default();
    agent.wait_until(PATIENCE, |records| {
        found.read(records, &to, &row);
        found.seen + found.lost >= u64::from(sent) && found.allowed > before
    })?;
    let records = agent.stop()?.records;
    found.read(&records, &to, &row);
    ensure!(found.lost > 0, "nothing was lost: the flood tests nothing");
    ensure!(found.unwritten == 0, "records themselves were lost");
    ensure!(
        found.seen + found.lost == u64::from(sent),
        "{sent} sent, {} seen, {} lost",
        found.seen,
        found.lost
    );
    ensure!(
        found.allowed > before,
        "another pod's connection was not seen"
    );
    Ok(())
}

/// A pod's interface goes while it floods: what had passed it is told or counted as lost, and the agent goes on.
fn deleted() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let setup = ground.setup()?.flag(&["--attach", "tcx"]);
    let mut agent = Agent::start(&setup, &ground.node.namespace)?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let node = &ground.node.namespace;
    let pod = ground.node.pod(FROM)?;
    let counter = Counter::attach(node, &pod.link)?;
    let wire = Wire::open(&pod.namespace, "eth0")?;
    let ends = ends(&ground.node, pod)?;
    let sent = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let is_gone = |error: &std::io::Error| {
                matches!(
                    error.kind(),
                    ErrorKind::NetworkDown | ErrorKind::NotConnected
                ) || error.raw_os_error() == Some(ENXIO)
            };
            for number in 0.. {
                let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
                let frame = ends.tcp((from, 4000), (NOWHERE, 80), number, SYN);
                if wire.send(&frame).is_err_and(|error| is_gone(&error)) {
                    return;
                }
                sent.store(number, Ordering::Relaxed);
            }
        });
        while sent.load(Ordering::Relaxed) < FLOOD / 4 {
            std::thread::yield_now();
        }
        node.ip(&format!("link del {}\n", pod.link))
    })?;
    let passed = counter.total()?;
    let row = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    let to = NOWHERE.to_string();
    let mut found = Found::default();
    agent.wait_until(PATIENCE, |records| {
        found.read(records, &to, &row);
        found.seen + found.lost >= passed
    })?;
    ground.until(&mut agent, &row, "allowed")?;
    let records = agent.stop()?.records;
    found.read(&records, &to, &row);
    ensure!(
        found.lost > 0 && found.seen + found.lost == passed,
        "{passed} passed, {} seen, {} lost",
        found.seen,
        found.lost
    );
    Ok(())
}

/// What records say of a flood and of another pod, read as they come.
#[derive(Default)]
struct Found {
    read: usize,
    seen: u64,
    lost: u64,
    unwritten: u64,
    allowed: u64,
}

impl Found {
    fn read(&mut self, records: &[Record], flooded: &str, row: &Row) {
        for record in records.iter().skip(self.read) {
            let count = record.number("/count").unwrap_or_default();
            match (record.kind(), record.text("/stage")) {
                ("lost", Some("attempts")) => self.lost += count,
                ("lost", Some("output")) => self.unwritten += count,
                _ if record.text("/destination/ip") == Some(flooded) => self.seen += count,
                _ if is(record, row) && record.assessment() == "allowed" => self.allowed += count,
                _ => {}
            }
        }
        self.read = records.len();
    }
}

fn allowed(records: &[Record], row: &Row) -> u64 {
    let of_it = records
        .iter()
        .filter(|record| is(record, row) && record.assessment() == "allowed");
    of_it.map(Record::count).sum()
}
