//! Connections while a policy or a label is on its way to whoever enforces it: nothing is claimed of them, and what is
//! said before and after is right.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use cluster::proxy::Proxy;
use netns::ns::Namespace;
use serde_json::json;

use super::world::{
    ALWAYS_OPEN, ALWAYS_SHUT, NAMESPACE, OPEN, PORTS, RELAYED, SHUT, World, enforce,
};
use super::{STREAMS, plane};

/// A change is new for so long, and a claim has to hold as long; a test has to notice the change within that time.
const SETTLE: Duration = Duration::from_secs(2);
/// After so long no window holds the start any more.
const STARTED: Duration = Duration::from_millis(2100);
/// It comes, and selects who is open.
const POLICY: &str = "late";
/// No policy selects it.
const FREE: &str = "free";

/// A pod, and what makes it shut, if anything does; a label, a new policy, and a label again.
const PODS: [Ipv4Addr; 3] = [ALWAYS_OPEN, RELAYED, ALWAYS_SHUT];
const SHUT_BEFORE: [Option<&str>; 3] = [None, None, Some(SHUT)];
const SHUT_AFTER: [Option<&str>; 3] = [Some(SHUT), Some(POLICY), None];

impl World {
    /// Tells the API server, and nobody else; the agent knows it when this returns.
    async fn change(&self) -> anyhow::Result<()> {
        for (pod, app) in [("open", SHUT), ("shut", FREE)] {
            let pod = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}");
            let label = json!({"metadata": {"labels": {"app": app}}});
            self.admin.patch(&pod, &label).await?;
        }
        self.admin.policy(NAMESPACE, POLICY, OPEN).await?;
        self.until_equal().await
    }

    /// Calls all at a port where they were not called before.
    fn call_all(&mut self, port: u16) -> anyhow::Result<()> {
        PODS.iter().try_for_each(|ip| self.call_at(*ip, port))
    }

    /// Waits until this is said of them, by reason of those policies.
    fn until_all(
        &mut self,
        port: u16,
        wanted: [&str; 3],
        shut_by: [Option<&str>; 3],
    ) -> anyhow::Result<()> {
        for ((ip, wanted), policy) in PODS.into_iter().zip(wanted).zip(shut_by) {
            let record = self.until_told(ip, port, wanted)?;
            let by = record.text("/verdict/ingress/isolated_by/0/name");
            ensure!(by == policy, "by {by:?}, not {policy:?}: {}", record.line);
        }
        Ok(())
    }
}

/// The enforcer follows too late: soon after the change nothing is claimed, later what is so.
pub(crate) async fn are_in_flux() -> anyhow::Result<()> {
    let plane = plane().await?;
    let way = |node: &Namespace| {
        let proxy = Proxy::within(node, STREAMS)?;
        plane.kubeconfig("admin", proxy.port(), None)
    };
    let mut world = World::start(&plane, SETTLE, &[], way).await?;
    // An open one.
    world.relay(1).await?;
    world.until_equal().await?;
    world.agent.wait_until(STARTED, |_| false)?;
    let [before, soon, later, followed] = [0, 1, 2, 3].map(|number| PORTS.start + number);

    world.call_all(before)?;
    world.until_all(before, ["allowed", "allowed", "blocked"], SHUT_BEFORE)?;

    let told = Instant::now();
    world.change().await?;
    world.call_all(soon)?;
    ensure!(told.elapsed() < SETTLE, "this machine is too slow");
    world.until_all(soon, ["unknown: in_flux"; 3], SHUT_AFTER)?;

    // A claim would have had to hold for as long as the change was new.
    world.call_all(later)?;
    let claims = ["unenforced", "unenforced", "unexpected_drop"];
    world.until_all(later, claims, SHUT_AFTER)?;

    enforce(&world.node, &[ALWAYS_OPEN, RELAYED])?;
    world.call_all(followed)?;
    world.until_all(followed, ["blocked", "blocked", "allowed"], SHUT_AFTER)?;

    let policies = format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies");
    world.admin.delete(&format!("{policies}/{POLICY}")).await?;
    let told = world.finish().await?;
    let claimed = told
        .iter()
        .filter(|record| claims.contains(&record.assessment()));
    ensure!(claimed.count() == 3, "more is claimed than is so");
    Ok(())
}
