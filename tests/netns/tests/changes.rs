//! What changes while netverdict runs: pods, policies, files.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::agent::{Agent, Setup};
use netns::enforcer::{Mode, Stop};
use netns::ground::{DB_FROM_API, Ground, LIMIT, is, none_says};
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::traffic::{Listen, Protocol, Saw, Server, Servers};
use netns::trials;

fn main() {
    trials::conclude(Ok(vec![
        trials::test(
            "a pod that comes later is watched from its birth",
            later_pod,
        ),
        trials::test(
            "a pod that goes and comes again is watched again",
            pod_again,
        ),
        trials::test("another pod takes over address and port", || {
            another_pod("debug-2")
        }),
        trials::test("a pod of the same name takes over address and port", || {
            another_pod("debug")
        }),
        trials::test("a pod that was there before is watched", earlier_pod),
        trials::test("conntrack says who opened what was there before", || {
            earlier_datagrams(true)
        }),
        trials::test(
            "without conntrack what may go both ways needs nobody who opened it",
            || earlier_datagrams(false),
        ),
        trials::test(
            "allowed turns to blocked with policy and rules",
            turns_blocked,
        ),
        trials::test(
            "allowed turns to unenforced without rules",
            turns_unenforced,
        ),
        trials::test("blocked turns to allowed", turns_allowed),
        trials::test("a broken file keeps its last good state", broken_file),
        trials::test("a second agent takes over", second_agent),
    ]))
}

fn later_pod() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |key| key != "default/debug")?;
    let servers = ground.servers()?;
    let denied = ground.row("default/debug", "kasm/kasm-db-0")?;
    let allowed = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    ground.until(&mut agent, &allowed, "allowed")?;
    ground.add_pods(&agent, |key| key == "default/debug")?;
    ground.until(&mut agent, &denied, "blocked")?;
    drop(servers);
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn pod_again() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    ground.node.remove_pod("default/debug");
    ground.add_pods(&agent, |key| key == "default/debug")?;
    // A known kind speaks again after its window: what counts is that the attempts are still seen.
    let first = attempts(agent.records(), &row);
    ground.connect(&row)?;
    let counted = agent.wait_until(LIMIT, |records| attempts(records, &row) > first)?;
    let finished = agent.stop()?;
    ensure!(
        counted || attempts(&finished.records, &row) > first,
        "the pod that came again was not seen"
    );
    none_says(&finished, &["unenforced", "unexpected_drop"])
}

/// A pod goes, and within seconds one with another UID has its address and speaks from the port that it spoke from,
/// to the same peer. Nothing of the old one's conversation is the new one's.
fn another_pod(name: &str) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let setup = Setup {
        // A file counts when it has stood still for a second.
        grace: Duration::from_secs(4),
        ..ground.setup()?
    };
    let mut agent = Agent::start(&setup, &ground.node.namespace)?;
    ground.add_pods(&agent, |_| true)?;
    let peer = "kube-system/traefik-7d5f";
    let at = SocketAddr::new(ground.scenario.address(peer, Family::V4)?, 53);
    let _servers = Servers::start(&[Listen {
        namespace: ground.node.namespace_of(peer)?,
        at,
        protocol: Protocol::Udp,
        server: Server::Answering,
    }])?;
    agent.settle()?;
    let (old, new) = ("uid-default-debug", "uid-of-another");
    ask(&ground, "default/debug", at)?;
    let heard = |records: &[Record], uid: &str| {
        let of_it = |record: &&Record| record.text("/source/uid") == Some(uid);
        records.iter().filter(of_it).map(Record::count).sum::<u64>()
    };
    ensure!(
        agent.wait_until(LIMIT, |records| heard(records, old) == 1)?,
        "the first pod was not seen"
    );
    let mut spec = ground.node.pod("default/debug")?.spec.clone();
    ground.node.remove_pod("default/debug");
    // Its first packet comes before the cluster has heard of it, but not before its route is known.
    spec.key = format!("default/{name}");
    ground.node.add_watched_pods(&[spec], &agent)?;
    agent.settle()?;
    ask(&ground, &format!("default/{name}"), at)?;
    let file = ground.cluster.path().join("cluster.json");
    let cluster = fs::read_to_string(&file).context("read the cluster")?;
    let replaced = cluster
        .replace(old, new)
        .replace("\"name\": \"debug\"", &format!("\"name\": \"{name}\""));
    ensure!(replaced != cluster, "the cluster has changed: no such pod");
    // Put in place at once, as by an editor.
    let aside = ground.cluster.path().join("cluster.new");
    fs::write(&aside, replaced).context("write the cluster")?;
    fs::rename(&aside, &file).context("put it in place")?;
    agent.wait_until(LIMIT, |records| heard(records, new) > 0)?;
    let finished = agent.stop()?;
    let lines: Vec<&str> = finished.records.iter().map(|it| it.line.as_str()).collect();
    ensure!(
        heard(&finished.records, new) == 1 && heard(&finished.records, old) == 1,
        "not one attempt of each:\n{}",
        lines.join("\n")
    );
    let is_new = |record: &&Record| record.text("/source/uid") == Some(new);
    let record = finished.records.iter().find(is_new).context("no record")?;
    ensure!(
        record.text("/source/name") == Some(name) && record.assessment() == "allowed",
        "not the new pod's: {}",
        record.line
    );
    none_says(&finished, &["unenforced", "unexpected_drop"])
}

/// Sends a datagram, always from the same port, and waits for its answer.
fn ask(ground: &Ground, from: &str, to: SocketAddr) -> anyhow::Result<()> {
    let namespace = ground.node.namespace_of(from)?;
    let socket = namespace.enter(|| Ok(UdpSocket::bind("0.0.0.0:5555")?))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(b"question", to)?;
    socket
        .recv(&mut [0; 64])
        .map(drop)
        .context("receive an answer")
}

fn attempts(records: &[Record], row: &Row) -> u64 {
    records
        .iter()
        .filter(|record| is(record, row))
        .map(Record::count)
        .sum()
}

fn earlier_pod() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.node.add_pods(&ground.scenario.pod_specs())?;
    let _servers = ground.servers()?;
    let mut agent = ground.agent()?;
    let row = ground.row("kasm/kasm-agent-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &row, "unenforced")?;
    agent.stop().map(drop)
}

/// Datagrams of pods that were there before the agent, some of a conversation that was, too: nothing says that those leaked.
fn earlier_datagrams(is_tracked: bool) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.write_policies(DB_FROM_API)?;
    ground.node.add_pods(&ground.scenario.pod_specs())?;
    if is_tracked {
        let rule = "type filter hook forward priority 0\nct state new counter\n";
        let table = format!("table inet tracks {{\nchain passing {{\n{rule}}}\n}}\n");
        ground.node.namespace.nft(&table)?;
    }
    let [db, api, other] = ["kasm/kasm-db-0", "kasm/kasm-api-0", "kasm/kasm-agent-0"];
    let doubt = ("unknown", Some("orientation"));
    let allowed = ("allowed", None);
    let by_entry = if is_tracked { allowed } else { doubt };
    // Who asks whom at which port, since before the agent or not, who speaks first then, and what is said.
    let rows = [
        (api, db, 7000, true, api, allowed),
        (other, db, 7001, true, other, doubt),
        (db, other, 7002, true, db, by_entry),
        // Its answers would be let in nowhere.
        (other, db, 7003, true, db, doubt),
        (api, db, 53, false, api, allowed),
        (other, db, 54, false, other, doubt),
        (db, other, 55, false, db, by_entry),
    ];
    let mut pairs = Vec::new();
    for (client, server, port, is_old, first, _) in rows {
        let pair = Pair {
            client: datagrams(&ground, client, port + 1_000)?,
            server: datagrams(&ground, server, port)?,
        };
        if is_old {
            pair.talk(true)?;
        }
        pairs.push((pair, first == client));
    }
    let mut agent = ground.agent()?;
    agent.settle()?;
    for (pair, asks) in pairs {
        pair.talk(asks)?;
    }
    agent.wait_until(LIMIT, |records| told(records).len() >= rows.len())?;
    let finished = agent.stop()?;
    let expected = rows.map(|(client, server, port, _, first, (assessment, because))| {
        let (to, port) = match first == client {
            true => (server, port),
            false => (client, port + 1_000),
        };
        let because = because.map(str::to_owned);
        (
            (first.into(), to.into(), port),
            (assessment.into(), because),
        )
    });
    let found = told(&finished.records);
    ensure!(found == BTreeMap::from(expected), "told: {found:#?}");
    Ok(())
}

/// Both ends of a conversation.
struct Pair {
    client: UdpSocket,
    server: UdpSocket,
}

impl Pair {
    /// One speaks, the client or the server, and the other speaks back.
    fn talk(&self, client_first: bool) -> anyhow::Result<()> {
        let (first, second) = match client_first {
            true => (&self.client, &self.server),
            false => (&self.server, &self.client),
        };
        first.send_to(b"word", second.local_addr()?)?;
        second.recv(&mut [0; 4]).context("hear")?;
        second.send_to(b"word", first.local_addr()?)?;
        first.recv(&mut [0; 4]).context("hear back")?;
        Ok(())
    }
}

fn datagrams(ground: &Ground, pod: &str, port: u16) -> anyhow::Result<UdpSocket> {
    let at = SocketAddr::new(ground.scenario.address(pod, Family::V4)?, port);
    let bind = || UdpSocket::bind(at).with_context(|| format!("bind {at}"));
    let socket = ground.node.namespace_of(pod)?.enter(bind)?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

/// Assessment and reason, by source, destination and port.
fn told(records: &[Record]) -> BTreeMap<(String, String, u16), (String, Option<String>)> {
    let connections = records
        .iter()
        .filter(|record| record.kind() == "connection");
    let entry = |record: &Record| {
        let end = |side: &str| {
            let text = |field: &str| record.text(&format!("/{side}/{field}")).unwrap_or_default();
            format!("{}/{}", text("namespace"), text("name"))
        };
        let port = record.number("/destination/port")?.try_into().ok()?;
        let because = record.text("/unknown_because").map(str::to_owned);
        Some((
            (end("source"), end("destination"), port),
            (record.assessment().to_owned(), because),
        ))
    };
    connections.filter_map(entry).collect()
}

/// The policies without the rule that lets the manager into the database.
fn without_manager(policies: &str) -> anyhow::Result<String> {
    let rule = "    - podSelector:\n        matchLabels: {app: kasm-manager}\n";
    let kept = policies.replacen(rule, "", 1);
    ensure!(
        kept != policies,
        "kasm's policies have changed: no rule for the manager"
    );
    Ok(kept)
}

fn turns_blocked() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-manager-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &row, "allowed")?;
    ground.write_policies(&without_manager(&ground.policies()?)?)?;
    ground.enforce(std::slice::from_ref(&row), Mode::Everything(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    // Between file and rules lies a moment that proves nothing against anybody.
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn turns_unenforced() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-manager-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &row, "allowed")?;
    ground.write_policies(&without_manager(&ground.policies()?)?)?;
    ground.until(&mut agent, &row, "unenforced")?;
    none_says(&agent.stop()?, &["blocked", "unexpected_drop"])
}

fn turns_allowed() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let policies = ground.policies()?;
    ground.write_policies(&without_manager(&policies)?)?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-manager-0", "kasm/kasm-db-0")?;
    ground.enforce(std::slice::from_ref(&row), Mode::Everything(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    ground.write_policies(&policies)?;
    ground.enforce(&[], Mode::NotEnforced)?;
    ground.until(&mut agent, &row, "allowed")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn broken_file() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-agent-0", "kasm/kasm-db-0")?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    let broken = format!("{}\n---\nkind: [", ground.policies()?);
    ground.write_policies(&broken)?;
    let end = Instant::now() + LIMIT;
    while !agent.stderr().contains("policies.yaml") {
        ensure!(Instant::now() < end, "a broken file was not mentioned");
        ground.connect(&row)?;
    }
    let other = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &other, "blocked")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn second_agent() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.node.add_pods(&ground.scenario.pod_specs())?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    for _ in 0..2 {
        let mut agent = ground.agent()?;
        ground.until(&mut agent, &row, "allowed")?;
        agent.stop()?;
        ensure!(
            ground.connect(&row)? == Saw::Answer,
            "traffic stopped with the agent"
        );
    }
    Ok(())
}
