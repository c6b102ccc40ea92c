//! What is there is told, and what changes, once.

use anyhow::ensure;
use cluster::admin::Admin;
use cluster::mirror::Mirror;
use cluster::wait;
use node_agent_engine::input::Ground;
use node_agent_engine::model::{Delta, ObjectKey};
use serde_json::json;

use super::{CILIUM, STREAMS, furnish, plane};

/// Changes of every sort while somebody watches.
pub(crate) async fn follows(port: u16) -> anyhow::Result<()> {
    let plane = plane().await?;
    let admin = plane.admin(port).await?;
    furnish(&admin).await?;
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", port, None)?).await?;
    mirror.until_equal(&admin).await?;
    ensure!(mirror.objects.contains_key("NetworkPolicy many/p519"));
    let listed = mirror.deltas;
    ensure!(
        listed == mirror.objects.len(),
        "{listed} deltas for {} objects",
        mirror.objects.len()
    );
    change(&admin).await?;
    mirror.until_equal(&admin).await?;
    ensure!(mirror.deltas > listed, "nothing was told");
    ensure!(mirror.idle.is_empty(), "told twice: {:?}", mirror.idle);
    ensure!(mirror.notices.is_empty(), "told: {:?}", mirror.notices);
    // As it was, for the next.
    admin.delete("/api/v1/namespaces/shop/pods/late").await
}

async fn change(admin: &Admin) -> anyhow::Result<()> {
    let pods = "/api/v1/namespaces/shop/pods";
    admin.pod("shop", "late", "10.42.0.12").await?;
    let label = json!({"metadata": {"labels": {"tier": "back"}}});
    admin.patch(&format!("{pods}/db"), &label).await?;
    admin.patch("/api/v1/namespaces/shop", &label).await?;
    admin.delete(&format!("{pods}/web")).await?;
    let policies = "/apis/networking.k8s.io/v1/namespaces/many/networkpolicies";
    admin.delete(&format!("{policies}/p7")).await?;
    let spec = json!({"spec": {"policyTypes": ["Ingress", "Egress"]}});
    admin.patch(&format!("{policies}/p8"), &spec).await
}

/// An address that many pods have one after the other ends with the last.
pub(crate) async fn one_address() -> anyhow::Result<()> {
    const ADDRESS: &str = "10.42.0.77";
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("relay", json!({})).await?;
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", STREAMS, None)?).await?;
    for number in 0..50 {
        admin.pod("relay", &format!("p{number}"), ADDRESS).await?;
        if number < 49 {
            let path = format!("/api/v1/namespaces/relay/pods/p{number}");
            admin.delete(&path).await?;
        }
    }
    mirror.until_equal(&admin).await?;
    let owners = mirror.objects.values().filter(|delta| match delta {
        Delta::Pod(pod) => pod.ips.iter().any(|ip| ip.to_string() == ADDRESS),
        _ => false,
    });
    ensure!(owners.count() == 1, "the address has not one owner");
    ensure!(mirror.objects.contains_key("Pod relay/p49"));
    admin.delete("/api/v1/namespaces/relay/pods/p49").await
}

/// A namespace's labels are those of the one that lives.
pub(crate) async fn namespace_again() -> anyhow::Result<()> {
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("again", json!({"team": "a"})).await?;
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", STREAMS, None)?).await?;
    admin.delete_namespace("again").await?;
    admin.namespace("again", json!({"team": "b"})).await?;
    mirror.until_equal(&admin).await?;
    match mirror.objects.get("Namespace again") {
        Some(Delta::Namespace(namespace)) => {
            ensure!(
                namespace
                    .labels
                    .get("team")
                    .is_some_and(|team| &**team == "b")
            );
        }
        other => anyhow::bail!("{other:?}"),
    }
    admin.delete_namespace("again").await
}

/// A kind of policy that is not evaluated yet comes and goes; whoever needs a claim confirmed does not wait until the
/// server's groups are looked at the next time.
pub(crate) async fn later_kind() -> anyhow::Result<()> {
    const KIND: &str = "CiliumNetworkPolicy";
    let definition =
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ciliumnetworkpolicies.cilium.io";
    let policies = "/apis/cilium.io/v2/namespaces/later/ciliumnetworkpolicies";
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("later", json!({})).await?;
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", STREAMS, None)?).await?;
    admin.install(KIND, CILIUM, "v2", "Namespaced").await?;
    let policy = json!({"apiVersion": "cilium.io/v2", "kind": KIND, "metadata": {"name": "p"},
        "spec": {"endpointSelector": {}, "ingress": [{}]}});
    admin.create(policies, &policy).await?;
    let told = |mirror: &Mirror| mirror.objects.contains_key("CiliumNetworkPolicy later/p");
    mirror.ask(vec![Ground::Pod(ObjectKey {
        namespace: "later".into(),
        name: "nobody".into(),
    })]);
    mirror.until("confirmed", Mirror::is_confirmed).await?;
    ensure!(told(&mirror), "confirmed before it was told");
    mirror.until_equal(&admin).await?;
    admin.delete(definition).await?;
    mirror.until("gone", |mirror| !told(mirror)).await
}

/// A group whose own server is away keeps nobody waiting: what its policies say is not known, and that is told.
pub(crate) async fn group_away() -> anyhow::Result<()> {
    const CALICO: [&str; 2] = ["networkpolicies", "globalnetworkpolicies"];
    const STAND_INS: [&str; 2] = [
        "NetworkPolicy.projectcalico.org /*",
        "GlobalNetworkPolicy.projectcalico.org /*",
    ];
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    let service = json!({"metadata": {"name": "v3.projectcalico.org"}, "spec": {
        "group": "projectcalico.org", "version": "v3", "groupPriorityMinimum": 1000, "versionPriority": 15,
        "insecureSkipTLSVerify": true, "service": {"namespace": "calico", "name": "nobody"}}});
    admin.create(services, &service).await?;
    // The server looks after its services, and has the group by then.
    let is_away = async || {
        let text = admin
            .text(&format!("{services}/v3.projectcalico.org"))
            .await?;
        let is_noted = text.contains("\"ServiceNotFound\"");
        Ok(is_noted && admin.text("/apis").await?.contains("\"projectcalico.org\""))
    };
    wait::until(|| "the group is away".to_owned(), is_away).await?;
    let mut mirror = Mirror::synced(&plane.kubeconfig("admin", STREAMS, None)?).await?;
    let known = STAND_INS.map(|name| mirror.objects.contains_key(name));
    ensure!(known == [true; 2], "told: {:?}", mirror.objects.keys());
    mirror
        .until("current", |mirror| mirror.server.is_current())
        .await?;
    for plural in CALICO {
        let said = format!("watching {plural}.projectcalico.org: ");
        let of_it = mirror.notices.iter().filter(|told| told.starts_with(&said));
        ensure!(of_it.count() == 1, "told: {:?}", mirror.notices);
    }
    admin
        .delete(&format!("{services}/v3.projectcalico.org"))
        .await?;
    let gone = |mirror: &Mirror| {
        !STAND_INS
            .iter()
            .any(|name| mirror.objects.contains_key(*name))
    };
    mirror.until("gone", gone).await
}
