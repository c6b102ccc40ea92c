//! Every connection is made, and what netverdict and Hubble say of it is held against the table and against each other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use cluster::cilium::{Datapath, Flow};
use cluster::ground::{self, test};
use netns::record::Record;
use netns::traffic::{Client, Saw};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::cases::{Case, cases};
use crate::world::World;

/// How long it may take until all is said.
const LIMIT: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(100);
/// A stopped connection is given up after that time.
const PATIENCE: Duration = Duration::from_millis(300);
/// The clients' own ports begin there: each connection has another, by which its packets are known.
const PORTS: u16 = 40_000;

static WORLD: OnceCell<Mutex<World>> = OnceCell::const_new();

pub(crate) fn main(datapath: Datapath) {
    if let Err(error) = ground::enter() {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
    let trials = vec![
        test("who enforces is found out", move || found_out(datapath)),
        test("what is claimed agrees with Hubble", move || {
            agrees(datapath)
        }),
    ];
    ground::conclude(trials, end)
}

fn end() {
    let Some(world) = WORLD.get() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.map(|runtime| runtime.block_on(world.blocking_lock().node.end()));
    if !matches!(ended, Ok(Ok(()))) {
        eprintln!("error: the node does not end: {ended:?}");
    }
}

async fn world(datapath: Datapath) -> anyhow::Result<MutexGuard<'static, World>> {
    let world = WORLD
        .get_or_try_init(async || anyhow::Ok(Mutex::new(World::start(datapath).await?)))
        .await?;
    Ok(world.lock().await)
}

async fn found_out(datapath: Datapath) -> anyhow::Result<()> {
    let world = world(datapath).await?;
    let said = world.agent.stderr();
    let line = "who enforces: Cilium: there is an interface cilium_host profile=Cilium";
    ensure!(said.contains(line), "it said:\n{said}");
    Ok(())
}

/// A connection that was made; its packets are known by the client's port, whatever becomes of their addresses.
struct Made {
    case: Case,
    port: u16,
    saw: Saw,
}

impl Made {
    fn new(world: &World, case: Case, port: u16) -> anyhow::Result<Self> {
        let to = SocketAddr::new(world.address(case.to)?, case.port);
        let client = Client::open(world.namespace(case.from)?, to, case.protocol)?;
        let saw = client.from_port(port)?.try_it(PATIENCE)?;
        Ok(Self { case, port, saw })
    }

    fn is_its(&self, port: u64, protocol: &str) -> bool {
        u64::from(self.port) == port && self.case.protocol.name() == protocol
    }

    /// What netverdict says.
    fn claims<'a>(&self, records: &'a [Record]) -> Vec<(&'a str, &'a str)> {
        let mut claims = Vec::new();
        for record in records {
            let port = record.number("/source/port").unwrap_or_default();
            let protocol = record.text("/protocol").unwrap_or_default();
            if record.kind() == "connection" && self.is_its(port, protocol) {
                let about = record.text("/unknown_because");
                let about = about.or(record.text("/direction")).unwrap_or_default();
                claims.push((record.assessment(), about));
            }
        }
        claims.sort_unstable();
        claims
    }

    /// What Hubble says.
    fn hubble(&self, flows: &[Flow]) -> String {
        let its = |flow: &&Flow| self.is_its(flow.source.port().into(), &flow.protocol);
        let its: Vec<_> = flows.iter().filter(its).collect();
        let dropped = its.iter().find(|flow| flow.verdict == "DROPPED");
        match dropped {
            Some(flow) => match flow.text("/drop_reason_desc") {
                "POLICY_DENIED" => format!("denied, {}", flow.text("/traffic_direction")),
                reason => format!("dropped, {reason}"),
            },
            None if its.is_empty() => "nothing".to_owned(),
            None => "forwarded".to_owned(),
        }
    }

    /// What is not as it should be.
    fn difference(&self, records: &[Record], flows: &[Flow]) -> Option<String> {
        let (claims, hubble) = (self.claims(records), self.hubble(flows));
        let wanted = &self.case;
        let is_right = claims == wanted.claims && hubble == wanted.hubble && self.saw == wanted.saw;
        (!is_right).then(|| {
            let saw = self.saw;
            format!(
                "{wanted:?}: the client saw {saw:?}, netverdict says {claims:?}, Hubble {hubble}"
            )
        })
    }
}

async fn agrees(datapath: Datapath) -> anyhow::Result<()> {
    let mut world = world(datapath).await?;
    let mut made = Vec::new();
    for (case, port) in cases(datapath).into_iter().zip(PORTS..) {
        made.push(Made::new(&world, case, port)?);
    }
    let end = Instant::now() + LIMIT;
    loop {
        world.agent.next(AGAIN)?;
        let (records, flows) = (world.agent.records(), world.node.flows()?);
        let differences: Vec<_> = made
            .iter()
            .filter_map(|made| made.difference(records, &flows))
            .collect();
        if differences.is_empty() {
            break;
        }
        ensure!(Instant::now() < end, "{}", differences.join("\n"));
    }
    nothing_false(world.agent.records())
}

/// Cilium keeps every policy: whoever else was seen, too, passed or was stopped as he should.
fn nothing_false(records: &[Record]) -> anyhow::Result<()> {
    let is_false =
        |record: &&Record| matches!(record.assessment(), "unenforced" | "unexpected_drop");
    let found = records.iter().find(is_false);
    ensure!(
        found.is_none(),
        "{}",
        found.map_or("", |record| record.line.as_str())
    );
    Ok(())
}
