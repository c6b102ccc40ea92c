//! Servers that die, forget, and connections that break: afterwards everything is as it is.

use std::time::Duration;

use anyhow::ensure;
use cluster::admin::Admin;
use cluster::ground;
use cluster::mirror::Mirror;
use cluster::proxy::Proxy;
use serde_json::json;

use super::{MORTAL, PAGES, STREAMS, furnish, plane};

/// A server that is killed again and again while the cluster changes.
pub(crate) async fn restarts() -> anyhow::Result<()> {
    let times = if ground::is_long() { 20 } else { 3 };
    let mut plane = plane().await?;
    let steady = plane.admin(STREAMS).await?;
    steady.namespace("chaos", json!({})).await?;
    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    let kubeconfig = plane.kubeconfig("admin", MORTAL, None)?;
    let mut mirror = Mirror::synced(&kubeconfig).await?;
    for time in 0..times {
        plane.kill(MORTAL)?;
        mirror
            .until("away", |mirror| !mirror.server.is_current())
            .await?;
        turn_over(&steady, time).await?;
        plane.run(MORTAL)?;
        mirror.until_equal(&steady).await?;
    }
    let away = |notice: &&String| notice.contains("cannot be reached");
    let told = mirror.notices.iter().filter(away).count();
    ensure!(
        told >= times,
        "told {told} of {times} times: {:?}",
        mirror.notices
    );
    ensure!(mirror.idle.is_empty(), "told twice: {:?}", mirror.idle);
    plane.kill(MORTAL)
}

/// Pods come, go and change while nobody is told.
async fn turn_over(admin: &Admin, time: usize) -> anyhow::Result<()> {
    let label = json!({"metadata": {"labels": {"time": time.to_string()}}});
    admin.patch("/api/v1/namespaces/chaos", &label).await?;
    for pod in 0..5 {
        let name = format!("t{time}-{pod}");
        let ip = format!("10.42.{time}.{}", pod + 1);
        admin.pod("chaos", &name, &ip).await?;
        if time > 0 {
            let old = format!("/api/v1/namespaces/chaos/pods/t{}-{pod}", time - 1);
            admin.delete(&old).await?;
        }
    }
    Ok(())
}

/// What happened while a watch was away cannot be told any more.
pub(crate) async fn compaction() -> anyhow::Result<()> {
    let mut plane = plane().await?;
    let steady = plane.admin(STREAMS).await?;
    steady.namespace("past", json!({})).await?;
    steady.pod("past", "gone", "10.42.9.1").await?;
    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    let proxy = Proxy::start(MORTAL)?;
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", proxy.port(), None)?).await?;
    mirror.until_equal(&steady).await?;
    let before = mirror.deltas;
    proxy.block();
    mirror
        .until("away", |mirror| !mirror.server.is_current())
        .await?;
    steady.delete("/api/v1/namespaces/past/pods/gone").await?;
    steady.pod("past", "new", "10.42.9.1").await?;
    plane.compact()?;
    // A new server remembers nothing from before.
    plane.kill(MORTAL)?;
    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    proxy.open();
    mirror.until_equal(&steady).await?;
    ensure!(mirror.idle.is_empty(), "told twice: {:?}", mirror.idle);
    // A new list tells what changed and nothing else: some versions of two pods.
    let told = mirror.deltas - before;
    ensure!((2..=5).contains(&told), "{told} deltas for two pods");
    plane.kill(MORTAL)
}

/// Connections that end anywhere: within the handshake, a list, an object.
pub(crate) async fn cuts() -> anyhow::Result<()> {
    let plane = plane().await?;
    let steady = plane.admin(STREAMS).await?;
    furnish(&steady).await?;
    steady.namespace("cuts", json!({})).await?;
    let proxy = Proxy::start(STREAMS)?;
    let mut mirror = Mirror::start(&plane.kubeconfig("admin", proxy.port(), None)?).await?;
    mirror.until("synced", |mirror| mirror.synced).await?;
    for (round, bytes) in [1_000, 4_500, 6_000, 9_000, 30_000].into_iter().enumerate() {
        proxy.cut_after(bytes);
        let before = proxy.cuts();
        for pod in 0..4 {
            let ip = format!("10.42.{}.{pod}", 20 + round);
            steady.pod("cuts", &format!("r{round}-{pod}"), &ip).await?;
            mirror.listen_for(Duration::from_millis(150)).await?;
        }
        let path = format!("/api/v1/namespaces/cuts/pods/r{round}-0");
        steady.delete(&path).await?;
        // So little is reached in any case.
        if bytes <= 6_000 {
            mirror.until("cut", |_| proxy.cuts() > before).await?;
        }
    }
    proxy.open();
    mirror.until_equal(&steady).await?;
    ensure!(mirror.idle.is_empty(), "told twice: {:?}", mirror.idle);
    Ok(())
}

/// An etcd that is set back to what it held before: everything is as it says now.
pub(crate) async fn restored() -> anyhow::Result<()> {
    let mut plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("back", json!({})).await?;
    admin.pod("back", "then", "10.42.8.1").await?;
    plane.keep().await?;
    plane.ready(STREAMS).await?;
    admin.delete("/api/v1/namespaces/back/pods/then").await?;
    for number in 0..10 {
        let ip = format!("10.42.8.{}", number + 1);
        admin.pod("back", &format!("later-{number}"), &ip).await?;
    }
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", STREAMS, None)?).await?;
    mirror.until_equal(&admin).await?;
    plane.kill(STREAMS)?;
    plane.kill(PAGES)?;
    mirror
        .until("away", |mirror| !mirror.server.is_current())
        .await?;
    plane.restore().await?;
    plane.run(STREAMS)?;
    plane.run(PAGES)?;
    plane.ready(STREAMS).await?;
    plane.ready(PAGES).await?;
    mirror.until_equal(&admin).await?;
    ensure!(mirror.objects.contains_key("Pod back/then"));
    ensure!(!mirror.objects.contains_key("Pod back/later-0"));
    admin.delete("/api/v1/namespaces/back/pods/then").await
}
