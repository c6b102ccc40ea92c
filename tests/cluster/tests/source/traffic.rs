//! Real connections while servers die and an address passes from pod to pod: nothing that is claimed is false, and at the
//! end the agent holds what a fresh list says.

use anyhow::{Context, ensure};
use cluster::ground;
use cluster::proxy::Proxy;
use cluster::wait;
use netns::agent::SETTLE;
use netns::ns::Namespace;
use netns::record::Record;

use super::world::World;
use super::{MORTAL, plane};

/// Where streams are cut: within a handshake, among small objects, and within the one that [`World::enlarge`] makes so long
/// that nothing else reaches there.
const CUT_AFTER: [u64; 3] = [1_000, 6_000, 100_000];

/// Nothing passed that a policy forbids, and nothing was stopped that it allows: to say so would be false.
pub(super) fn judged(records: &[Record]) -> anyhow::Result<()> {
    let how_many = |assessment: &str| {
        let of_it = records
            .iter()
            .filter(|record| record.text("/assessment") == Some(assessment));
        of_it.count()
    };
    for assessment in ["unenforced", "unexpected_drop"] {
        let found = records
            .iter()
            .find(|record| record.text("/assessment") == Some(assessment));
        ensure!(
            found.is_none(),
            "it is false: {}",
            found.map_or("", |record| &record.line)
        );
    }
    ensure!(
        how_many("blocked") > 0 && how_many("allowed") > 0,
        "nothing was seen"
    );
    println!(
        "judged: {} allowed, {} blocked, {} unknown records",
        how_many("allowed"),
        how_many("blocked"),
        how_many("unknown")
    );
    Ok(())
}

pub(crate) async fn chaos() -> anyhow::Result<()> {
    let (restarts, pods) = if ground::is_long() { (20, 50) } else { (3, 10) };
    let mut plane = plane().await?;
    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    let way = |node: &Namespace| {
        let proxy = Proxy::within(node, MORTAL)?;
        plane.kubeconfig("admin", proxy.port(), None)
    };
    let mut world = World::start(&plane, SETTLE, &[], way).await?;
    for pod in 0..pods {
        world.relay(pod).await?;
        world.call()?;
        if pod == pods / 2 {
            world = world.replace_agent()?;
            world.call()?;
        }
        if pod * restarts % pods >= restarts {
            continue;
        }
        plane.kill(MORTAL)?;
        world.call()?;
        plane.run(MORTAL)?;
        world.call()?;
        plane.ready(MORTAL).await?;
    }
    world.until_equal().await?;
    let told = world.end().await?;
    plane.kill(MORTAL)?;
    judged(&told)
}

/// Streams end within an object, and what happened while the server was away can no longer be told.
pub(crate) async fn torn() -> anyhow::Result<()> {
    let mut plane = plane().await?;
    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    let mut proxy = None;
    let way = |node: &Namespace| {
        let proxy = proxy.insert(Proxy::within(node, MORTAL)?);
        plane.kubeconfig("admin", proxy.port(), None)
    };
    let mut world = World::start(&plane, SETTLE, &[], way).await?;
    let proxy = proxy.context("nobody asked the way")?;
    for (pod, bytes) in CUT_AFTER.into_iter().enumerate() {
        let before = proxy.cuts();
        proxy.cut_after(bytes);
        world.enlarge("open", pod).await?;
        world.relay(pod).await?;
        world.call()?;
        let what = || format!("a stream ends after {bytes} bytes");
        wait::until(what, async || Ok(proxy.cuts() > before)).await?;
        proxy.open();
        world.until_equal().await?;
        world.call()?;
    }
    proxy.block();
    world.relay(CUT_AFTER.len()).await?;
    world.call()?;
    plane.compact()?;
    // A new server remembers nothing from before.
    plane.kill(MORTAL)?;
    plane.run(MORTAL)?;
    world.call()?;
    plane.ready(MORTAL).await?;
    proxy.open();
    world.until_equal().await?;
    let told = world.end().await?;
    plane.kill(MORTAL)?;
    judged(&told)
}
