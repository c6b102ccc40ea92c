//! A claim is confirmed by what the API server has stored, and by nothing else.

use std::time::Duration;

use anyhow::ensure;
use cluster::mirror::Mirror;
use cluster::proxy::Proxy;
use node_agent_engine::input::Ground;
use node_agent_engine::model::ObjectKey;
use serde_json::json;

use super::{STREAMS, plane};

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "sure".into(),
        name: name.into(),
    }
}

/// Pods and Services that are as they were told, and one that neither side knows.
pub(crate) async fn agrees() -> anyhow::Result<()> {
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("sure", json!({})).await?;
    admin.pod("sure", "a", "10.42.3.1").await?;
    admin.policy("sure", "p", "a").await?;
    admin.service("sure", "a", 80).await?;
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", STREAMS, None)?).await?;
    let known = ["a", "unheard-of"].map(|name| Ground::Pod(key(name)));
    let nobodys = Ground::Stranger("203.0.113.9".parse()?);
    let grounds = known.into_iter().chain([Ground::Service(key("a"))]);
    mirror.ask(grounds.chain([nobodys]).collect());
    mirror.until("confirmed", Mirror::is_confirmed).await
}

/// An address is nobody's only as long as no pod has it as its first, and none that was not told of as its second.
pub(crate) async fn strangers() -> anyhow::Result<()> {
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("far", json!({})).await?;
    admin
        .dual_pod("far", "known", ["10.42.7.1", "fd00:7::1"])
        .await?;
    let nobodys = Ground::Stranger("203.0.113.9".parse()?);
    for (name, ips, asked) in [
        ("by-first", ["10.42.7.2", "fd00:7::2"], "10.42.7.2"),
        ("by-second", ["10.42.7.3", "fd00:7::3"], "fd00:7::3"),
    ] {
        let proxy = Proxy::start(STREAMS)?;
        let mut mirror = Mirror::synced(&plane.kubeconfig("admin", proxy.port(), None)?).await?;
        proxy.block();
        mirror
            .until("away", |mirror| !mirror.server.is_current())
            .await?;
        admin.dual_pod("far", name, ips).await?;
        // Long enough for the watch's next try to be later than the reading.
        mirror.listen_for(Duration::from_millis(1500)).await?;
        let told = mirror.deltas;
        proxy.open();
        let asked = Ground::Stranger(asked.parse()?);
        mirror.ask(vec![asked.clone()]);
        if name == "by-first" {
            mirror.until("told", |mirror| mirror.deltas > told).await?;
            mirror.ask(vec![asked.clone(), nobodys.clone()]);
            let is_read = |mirror: &Mirror| mirror.confirmed.contains(&nobodys);
            mirror.until("read", is_read).await?;
            ensure!(!mirror.confirmed.contains(&asked), "{name}: a pod has it");
            continue;
        }
        mirror.until("confirmed", Mirror::is_confirmed).await?;
        ensure!(mirror.deltas > told, "{name}: confirmed before it was told");
    }
    Ok(())
}

/// Whatever a claim rests on keeps it from being confirmed when it changed while the watch was cut, until the watch
/// has told it. What rests on nothing of it is confirmed before.
pub(crate) async fn behind() -> anyhow::Result<()> {
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("sure", json!({})).await?;
    admin.pod("sure", "a", "10.42.3.1").await?;
    let label = json!({"metadata": {"labels": {"round": "x"}}});
    let pod = "/api/v1/namespaces/sure/pods/a";
    let policy = "/apis/networking.k8s.io/v1/namespaces/sure/networkpolicies/late";
    let service = "/api/v1/namespaces/sure/services/late";
    for round in [
        "pod",
        "namespace",
        "policy",
        "policy gone",
        "service",
        "service gone",
    ] {
        let proxy = Proxy::start(STREAMS)?;
        let mut mirror = Mirror::synced(&plane.kubeconfig("admin", proxy.port(), None)?).await?;
        proxy.block();
        mirror
            .until("away", |mirror| !mirror.server.is_current())
            .await?;
        match round {
            "pod" => admin.patch(pod, &label).await?,
            "namespace" => admin.patch("/api/v1/namespaces/sure", &label).await?,
            "policy" => admin.policy("sure", "late", "a").await?,
            "policy gone" => admin.delete(policy).await?,
            "service" => admin.service("sure", "late", 80).await?,
            _ => admin.delete(service).await?,
        }
        mirror.ask(vec![Ground::Pod(key("a")), Ground::Service(key("late"))]);
        mirror.listen_for(Duration::from_millis(600)).await?;
        ensure!(
            mirror.confirmed.is_empty(),
            "{round}: confirmed by a server that is away"
        );
        let told = mirror.deltas;
        proxy.open();
        mirror.until("confirmed", Mirror::is_confirmed).await?;
        ensure!(
            mirror.deltas > told,
            "{round}: confirmed before it was told"
        );
    }
    Ok(())
}
