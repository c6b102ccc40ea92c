//! An API server that is away, or hangs: what is seen is told as before, with the age of what is known, and contradictions are
//! claimed only as long as that is young.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use cluster::plane::Plane;
use cluster::proxy::Proxy;
use cluster::wait;
use jiff::{SignedDuration, Timestamp};
use netns::agent::SETTLE;
use netns::ns::Namespace;
use netns::record::Record;
use rustix::process::Signal;

use super::world::{ALWAYS_OPEN, ALWAYS_SHUT, PORTS, World, enforce, said};
use super::{MORTAL, plane};

/// After so long what is known is too old for claims. The agent hears several times as often of a server that is there.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Who is called.
const CALLED: [Ipv4Addr; 2] = [ALWAYS_OPEN, ALWAYS_SHUT];

/// What is said of the one that is open, and of the one that is shut.
type Words = [&'static str; 2];

/// The enforcer does what policy says.
const KEPT: Words = ["allowed", "blocked"];
/// It stops the one that is open, and not the other.
const CLAIMED: Words = ["unexpected_drop", "unenforced"];
const STALE: Words = ["unknown: stale", "unknown: stale"];

impl World {
    async fn until_agent_says(&self, words: &str) -> anyhow::Result<()> {
        let what = || format!("the agent says `{words}`, but:\n{}", self.agent.stderr());
        wait::until(what, async || Ok(self.agent.stderr().contains(words))).await
    }

    /// Calls both at a port where they were not called before, and gives what is told of them.
    fn hear(&mut self, port: u16) -> anyhow::Result<[Record; 2]> {
        CALLED.iter().try_for_each(|ip| self.call_at(*ip, port))?;
        let [open, shut] = CALLED;
        Ok([self.first_told(open, port)?, self.first_told(shut, port)?])
    }

    /// The same, which has to be this.
    fn hear_that(&mut self, port: u16, wanted: Words) -> anyhow::Result<[Record; 2]> {
        let heard = self.hear(port)?;
        let found = heard.each_ref().map(said);
        ensure!(found == wanted, "{found:?}, not {wanted:?}");
        Ok(heard)
    }
}

fn as_of(record: &Record) -> anyhow::Result<Timestamp> {
    let text = record.text("/policy_state/as_of").context("no as_of")?;
    Ok(text.parse()?)
}

/// How old what was known was when the record was written.
fn age(record: &Record) -> anyhow::Result<SignedDuration> {
    let time: Timestamp = record.text("/time").context("no time")?.parse()?;
    Ok(time.duration_since(as_of(record)?))
}

/// An agent that hears of the cluster by a server of its own.
async fn begin(plane: &mut Plane, ports: &mut Range<u16>) -> anyhow::Result<World> {
    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    let way = |node: &Namespace| -> anyhow::Result<PathBuf> {
        let proxy = Proxy::within(node, MORTAL)?;
        plane.kubeconfig("admin", proxy.port(), None)
    };
    let flags = ["--stale-after", &format!("{}s", STALE_AFTER.as_secs())];
    let mut world = World::start(plane, SETTLE, &flags, way).await?;
    world.agent.settle()?;
    // A server that has just begun does not give every kind at once.
    while world.hear(next(ports)?)?.each_ref().map(said) != KEPT {}
    for record in world.hear_that(next(ports)?, KEPT)? {
        ensure!(age(&record)? < STALE_AFTER, "old at once: {}", record.line);
    }
    Ok(world)
}

fn next(ports: &mut Range<u16>) -> anyhow::Result<u16> {
    ports.next().context("no port is left")
}

/// Ends it; what was claimed was known after that time, and lately.
async fn end(world: World, plane: &mut Plane, after: Timestamp) -> anyhow::Result<()> {
    let told = world.finish().await?;
    plane.kill(MORTAL)?;
    for claim in told
        .iter()
        .filter(|record| CLAIMED.contains(&record.assessment()))
    {
        ensure!(as_of(claim)? > after, "claimed as of then: {}", claim.line);
        ensure!(
            age(claim)? < STALE_AFTER,
            "claimed too late: {}",
            claim.line
        );
    }
    Ok(())
}

/// The server is killed, stays away for longer than what is known may be old, and is there again.
pub(crate) async fn is_told() -> anyhow::Result<()> {
    let (mut plane, mut ports) = (plane().await?, PORTS);
    let mut world = begin(&mut plane, &mut ports).await?;
    let mut port = || next(&mut ports);

    plane.kill(MORTAL)?;
    world.until_agent_says("what was known stays").await?;
    let mut away = world.hear_that(port()?, KEPT)?.to_vec();
    enforce(&world.node, &[ALWAYS_OPEN])?;
    away.extend(world.hear_that(port()?, STALE)?);
    enforce(&world.node, &[ALWAYS_SHUT])?;
    // What the kernel itself says needs nobody else.
    away.extend(world.hear_that(port()?, KEPT)?);
    let last = as_of(away.first().context("no record")?)?;
    for record in &away {
        ensure!(as_of(record)? == last, "not as of {last}: {}", record.line);
    }
    ensure!(age(away.last().context("no record")?)? > STALE_AFTER);

    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    enforce(&world.node, &[ALWAYS_OPEN])?;
    // Every watch has to be back: the last of them may come seconds later.
    while world.hear(port()?)?.each_ref().map(said) != CLAIMED {}
    end(world, &mut plane, last).await
}

/// Its connections stay open, and nothing comes: nobody takes that for a quiet cluster.
pub(crate) async fn hangs() -> anyhow::Result<()> {
    let (mut plane, mut ports) = (plane().await?, PORTS);
    let mut world = begin(&mut plane, &mut ports).await?;
    let mut port = || next(&mut ports);

    plane.signal(MORTAL, Signal::STOP)?;
    let hung = Timestamp::now();
    let mut told = world.hear_that(port()?, KEPT)?.to_vec();
    enforce(&world.node, &[ALWAYS_OPEN])?;
    told.extend(world.hear_that(port()?, STALE)?);
    // What it said before may be heard a moment later.
    let last = hung + SignedDuration::from_secs(1);
    for record in &told {
        ensure!(as_of(record)? < last, "heard after {last}: {}", record.line);
    }
    ensure!(age(told.last().context("no record")?)? > STALE_AFTER);

    plane.signal(MORTAL, Signal::CONT)?;
    while world.hear(port()?)?.each_ref().map(said) != CLAIMED {}
    end(world, &mut plane, last).await
}
