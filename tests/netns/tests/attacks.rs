//! Pods that attack: they speak under others' addresses, and they try every port.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{bail, ensure};
use netns::agent::Agent;
use netns::frame::{Ends, SYN};
use netns::ground::{Ground, LIMIT, is, none_says};
use netns::raw::{Wire, hardware_address};
use netns::record::Record;
use netns::scenario::Family;
use netns::trials;

/// Policy lets it not into the database.
const ATTACKER: &str = "default/debug";
/// Policy lets it.
const VICTIM: &str = "kasm/kasm-api-0";
const DATABASE: &str = "kasm/kasm-db-0";
/// How many attempts each attack makes.
const ATTEMPTS: u16 = 200;

fn main() {
    trials::conclude(Ok(vec![
        trials::test("who speaks under another's address is not that one", spoof),
        trials::test(
            "where nothing else tells a pod's address, its namespace does",
            asked_inside,
        ),
        trials::test(
            "who tries every port is one record, and each is counted",
            scan,
        ),
    ]))
}

/// SYNs of the attacker, from whatever address, each to another port from another port.
fn syns(ground: &Ground, from: Ipv4Addr, ports: impl Fn(u16) -> u16) -> anyhow::Result<()> {
    let pod = ground.node.pod(ATTACKER)?;
    let to = v4(ground, DATABASE)?;
    let wire = Wire::open(&pod.namespace, "eth0")?;
    let ends = Ends {
        to: hardware_address(&ground.node.namespace, &pod.link)?,
        from: hardware_address(&pod.namespace, "eth0")?,
    };
    for number in 0..ATTEMPTS {
        let frame = ends.tcp(
            (from, 4000 + number),
            (to, ports(number)),
            u32::from(number),
            SYN,
        );
        wire.send(&frame)?;
    }
    Ok(())
}

fn v4(ground: &Ground, pod: &str) -> anyhow::Result<Ipv4Addr> {
    match ground.scenario.address(pod, Family::V4)? {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(_) => bail!("no IPv4 address"),
    }
}

fn counted(records: &[Record], wanted: impl Fn(&Record) -> bool) -> u64 {
    let of_it = records.iter().filter(|record| wanted(record));
    of_it.map(Record::count).sum()
}

fn lines(records: &[Record]) -> String {
    let lines: Vec<&str> = records.iter().map(|record| record.line.as_str()).collect();
    lines.join("\n")
}

/// How many attempts from an address are told not to be its owner's.
fn spoofed(records: &[Record], pretended: Ipv4Addr) -> u64 {
    let pretended = pretended.to_string();
    counted(records, |record| {
        record.text("/source/ip") == Some(pretended.as_str())
            && record.text("/unknown_because") == Some("source_mismatch")
    })
}

fn are_spoofed(records: &[Record], pretended: Ipv4Addr) -> anyhow::Result<()> {
    let told = spoofed(records, pretended);
    ensure!(
        told == u64::from(ATTEMPTS),
        "{told} of {ATTEMPTS} are told to be spoofed:\n{}",
        lines(records)
    );
    Ok(())
}

fn until_spoofed(agent: &mut Agent, pretended: Ipv4Addr) -> anyhow::Result<()> {
    let all = u64::from(ATTEMPTS);
    agent.wait_until(LIMIT, |records| spoofed(records, pretended) >= all)?;
    are_spoofed(agent.records(), pretended)
}

/// Nothing is claimed of whom the attacker pretends to be, and what that one does itself is seen as ever.
fn spoof() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row(VICTIM, DATABASE)?;
    agent.settle()?;
    let pretended = v4(&ground, VICTIM)?;
    syns(&ground, pretended, |_| row.port)?;
    until_spoofed(&mut agent, pretended)?;
    let own = |record: &Record| is(record, &row) && record.assessment() == "allowed";
    ensure!(
        counted(agent.records(), own) == 0,
        "taken for the victim's own:\n{}",
        lines(agent.records())
    );
    ground.until(&mut agent, &row, "allowed")?;
    let finished = agent.stop()?;
    are_spoofed(&finished.records, pretended)?;
    none_says(&finished, &["blocked", "unenforced", "unexpected_drop"])
}

/// As where a plugin's programs hand packets to pods: no route of its own leads to the attacker, and no bridge.
fn asked_inside() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.node.add_pods(&ground.scenario.pod_specs())?;
    let link = &ground.node.pod(ATTACKER)?.link;
    let own = v4(&ground, ATTACKER)?;
    let of_v6 = ground.scenario.address(ATTACKER, Family::V6)?;
    let pair = Ipv4Addr::from_bits(own.to_bits() & !1);
    ground.node.namespace.ip(&format!(
        "route del {own}/32 dev {link}\nroute add {pair}/31 dev {link}\nroute del {of_v6}/128 dev {link}\n"
    ))?;
    let _servers = ground.servers()?;
    let row = ground.row(VICTIM, DATABASE)?;
    let mut agent = ground.agent()?;
    agent.settle()?;
    let nobodys = Ipv4Addr::new(10, 42, 0, 250);
    syns(&ground, nobodys, |_| row.port)?;
    until_spoofed(&mut agent, nobodys)?;
    // What it says under its own is its own.
    let row = ground.row(ATTACKER, DATABASE)?;
    ground.until(&mut agent, &row, "unenforced")?;
    agent.stop().map(drop)
}

fn scan() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let (from, to) = (v4(&ground, ATTACKER)?, v4(&ground, DATABASE)?);
    ground.node.namespace.nft(&format!(
        "table inet scan {{\n chain forward {{\n  type filter hook forward priority 0;\n  ip saddr {from} ip daddr {to} drop\n }}\n}}\n"
    ))?;
    let row = ground.row(VICTIM, DATABASE)?;
    ground.until(&mut agent, &row, "allowed")?;
    syns(&ground, from, |number| 1000 + number)?;
    let by_attacker = |record: &Record| record.text("/source/ip") == Some(&from.to_string());
    let blocked = |record: &Record| {
        record.kind() == "connection" && by_attacker(record) && record.assessment() == "blocked"
    };
    let scanned = |record: &Record| record.kind() == "scan" && by_attacker(record);
    let all = u64::from(ATTEMPTS);
    agent.wait_until(LIMIT, |records| {
        counted(records, blocked) >= all && records.iter().any(scanned)
    })?;
    // What comes late would be counted twice.
    agent.wait_until(Duration::from_secs(4), |records| {
        counted(records, blocked) > all
    })?;
    let finished = agent.stop()?;
    let told = counted(&finished.records, blocked);
    ensure!(
        told == all,
        "{told} of {all} are told:\n{}",
        lines(&finished.records)
    );
    let scans = finished
        .records
        .iter()
        .filter(|record| record.kind() == "scan");
    let scans: Vec<&Record> = scans.collect();
    ensure!(
        scans.iter().any(|it| it.number("/ports") > Some(32)) && scans.iter().all(|it| scanned(it)),
        "not one that tells of the attacker's scan, or one of somebody else:\n{}",
        lines(&finished.records)
    );
    none_says(&finished, &["unenforced", "unexpected_drop"])
}
