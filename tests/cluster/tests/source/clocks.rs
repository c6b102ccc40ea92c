//! Real connections while policies and labels change, the enforcer follows late, and the API server's clock is not the
//! node's: what a window holds is what came within it by the node's own clock.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cluster::clock::Clock;
use cluster::ground;
use cluster::plane::plain_kubeconfig;
use jiff::SignedDuration;
use netns::ns::Namespace;
use serde_json::json;

use super::traffic::judged;
use super::world::{ALWAYS_OPEN, ALWAYS_SHUT, NAMESPACE, RELAYED, SHUT, World, enforce, key};
use super::{STREAMS, plane};

/// No policy selects it but the one that comes and goes.
const TURNED: &str = "turned";
/// Longer than the enforcer needs, and so short that what the clocks differ by would put a change out of every window.
const SETTLE: Duration = Duration::from_millis(1500);
/// Between two calls.
const BETWEEN: Duration = Duration::from_millis(10);
/// When the enforcer follows.
const LATE: Duration = Duration::from_millis(500);
/// After so long no window holds the change any more.
const SETTLED: Duration = Duration::from_millis(3200);

/// What is told to the API server.
#[derive(Clone, Copy, Debug)]
enum Change {
    Relabelled(&'static str),
    PolicyMade,
    PolicyGone,
}

impl World {
    async fn tell(&self, pod: &str, change: Change) -> anyhow::Result<()> {
        let policies = format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies");
        match change {
            Change::Relabelled(app) => {
                let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}");
                let label = json!({"metadata": {"labels": {"app": app}}});
                self.admin.patch(&path, &label).await
            }
            Change::PolicyMade => self.admin.policy(NAMESPACE, TURNED, TURNED).await,
            Change::PolicyGone => self.admin.delete(&format!("{policies}/{TURNED}")).await,
        }
    }

    /// Calls again and again, and reads what is written meanwhile: here time itself is the condition.
    fn call_for(&mut self, span: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            for ip in [ALWAYS_OPEN, RELAYED] {
                self.call_one(ip)?;
            }
            self.agent.wait_until(BETWEEN, |_| false)?;
        }
        self.call_one(ALWAYS_SHUT)
    }
}

/// One pod is opened and shut in every way, and the enforcer is late each time.
pub(crate) async fn differ(ahead: SignedDuration) -> anyhow::Result<()> {
    let rounds = if ground::is_long() { 5 } else { 1 };
    let plane = plane().await?;
    let mut clock = None;
    let way = |node: &Namespace| {
        let server = plane.kubeconfig("admin", STREAMS, None)?;
        let other = clock.insert(Clock::within(node, &server, ahead)?);
        let path = plane.folder().join(format!("by-clock-{}", other.port()));
        fs::write(&path, plain_kubeconfig(other.port()).to_string())
            .context("write a kubeconfig")?;
        Ok(path)
    };
    let mut world = World::start(&plane, SETTLE, &[], way).await?;
    // More connections than a pod of tests usually makes.
    let client = &world.node.pod(&key("client"))?.namespace;
    client.sysctl(&[("ipv4/ip_local_port_range", "10000 60000")])?;
    let changes = [
        (Change::Relabelled(TURNED), &[ALWAYS_SHUT][..]),
        (Change::PolicyMade, &[ALWAYS_SHUT, RELAYED]),
        (Change::PolicyGone, &[ALWAYS_SHUT]),
        (Change::Relabelled(SHUT), &[ALWAYS_SHUT, RELAYED]),
        (Change::Relabelled(TURNED), &[ALWAYS_SHUT]),
    ];
    for round in 0..rounds {
        // A shut pod, each time where an open one was.
        let pod = world.relay(round * 2).await?;
        world.call_for(SETTLED)?;
        for (change, shut) in changes {
            world.tell(&pod, change).await?;
            world.call_for(LATE)?;
            enforce(&world.node, shut)?;
            world.call_for(SETTLED)?;
        }
    }
    world.until_equal().await?;
    let told = world.end().await?;
    let moved = clock.map(|clock| clock.moved()).unwrap_or_default();
    println!("by the other clock: {moved} times");
    ensure!(moved > 0, "nobody saw that clock");
    let in_flux = told
        .iter()
        .any(|record| record.text("/unknown_because") == Some("in_flux"));
    ensure!(in_flux, "no change was seen in its window");
    judged(&told)
}
