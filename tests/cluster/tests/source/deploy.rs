//! What is deployed, held against what an API server takes.

use std::fs;

use anyhow::{Context, ensure};
use cluster::plane::Plane;
use netns::paths;
use serde_json::{Value, json};

use super::access::until_granted;
use super::{STREAMS, plane};

/// Who the agent is to the API server.
pub(super) const ACCOUNT: &str = "system:serviceaccount:netverdict:netverdict";

/// The objects of the base, each in a file of its own.
fn objects() -> anyhow::Result<Vec<Value>> {
    let folder = paths::project().join("deploy/kustomize/base");
    let read = |name: &str| -> anyhow::Result<Value> {
        let text = fs::read_to_string(folder.join(name)).with_context(|| format!("read {name}"))?;
        serde_saphyr::from_str(&text).with_context(|| format!("read {name}"))
    };
    let names = read("kustomization.yaml")?;
    let names = names.get("resources").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(read).collect()
}

/// The deployed account's token; it has its rights at the servers of these ports.
pub(super) async fn account(plane: &Plane, ports: &[u16]) -> anyhow::Result<String> {
    let admin = plane.admin(STREAMS).await?;
    let objects = objects()?;
    for object in objects.iter().filter(|object| kind(object) != "DaemonSet") {
        admin.create(path(object)?, object).await?;
    }
    let role = objects.iter().find(|object| kind(object) == "ClusterRole");
    let role = role.context("no role")?;
    for port in ports {
        until_granted(&plane.admin(*port).await?, ACCOUNT, role).await?;
    }
    admin.token("netverdict", "netverdict").await
}

/// Every field is known to the server, and nothing is asked for beyond what the agent needs.
pub(crate) async fn is_taken() -> anyhow::Result<()> {
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    admin.namespace("netverdict", json!({})).await?;
    let objects = objects()?;
    for object in &objects {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", path(object)?);
        admin.create(&path, object).await?;
    }
    let daemon_set = objects.iter().find(|object| kind(object) == "DaemonSet");
    let pod = daemon_set.and_then(|daemon_set| daemon_set.pointer("/spec/template/spec"));
    let at = |pointer: &str| pod.and_then(|pod| pod.pointer(pointer));
    let security = "/containers/0/securityContext";
    for (pointer, wanted) in [
        (
            format!("{security}/capabilities"),
            json!({"drop": ["ALL"], "add": ["BPF", "PERFMON", "NET_ADMIN"]}),
        ),
        (format!("{security}/readOnlyRootFilesystem"), json!(true)),
        (
            format!("{security}/seccompProfile"),
            json!({"type": "RuntimeDefault"}),
        ),
        ("/hostNetwork".to_owned(), json!(true)),
    ] {
        ensure!(
            at(&pointer) == Some(&wanted),
            "{pointer}: {:?}",
            at(&pointer)
        );
    }
    Ok(())
}

/// Where objects of its kind are made.
fn path(object: &Value) -> anyhow::Result<&'static str> {
    Ok(match kind(object) {
        "Namespace" => "/api/v1/namespaces",
        "ServiceAccount" => "/api/v1/namespaces/netverdict/serviceaccounts",
        "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "DaemonSet" => "/apis/apps/v1/namespaces/netverdict/daemonsets",
        other => anyhow::bail!("{other} is not expected"),
    })
}

fn kind(object: &Value) -> &str {
    let kind = object.get("kind").and_then(Value::as_str);
    kind.unwrap_or_default()
}
