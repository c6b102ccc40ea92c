//! `deploy/kustomize/k3s`, made of the base as `kubectl apply -k` does.

use std::process::Command;

use anyhow::Context;
use cluster::machine::run;
use cluster::node::named;
use netns::paths;
use serde_json::{Value, json};

/// Where K3s keeps the CNI's configuration, and where the agent looks for it.
const CONFIGURATION: &str = "/var/lib/rancher/k3s/agent/etc/cni/net.d";

fn rendered(folder: &str) -> anyhow::Result<Vec<Value>> {
    let kubectl = named("NETVERDICT_NODE_PARTS")?.join("kubectl");
    let folder = paths::project().join("deploy/kustomize").join(folder);
    let text = run(Command::new(kubectl).arg("kustomize").arg(folder))?;
    Ok(serde_saphyr::from_multiple(&text)?)
}

/// What is called `cni` in a list of a DaemonSet's.
fn cni<'a>(objects: &'a mut [Value], list: &str) -> anyhow::Result<&'a mut Value> {
    let mut daemon_sets = objects.iter_mut().filter(|it| it["kind"] == "DaemonSet");
    let daemon_set = daemon_sets.next().context("no DaemonSet")?;
    let list = daemon_set
        .pointer_mut(list)
        .and_then(Value::as_array_mut)
        .with_context(|| format!("no {list}"))?;
    let mut found = list.iter_mut().filter(|it| it["name"] == "cni");
    found.next().context("none is called cni")
}

/// The agent sees one folder of the node in the place of another, and may write it as little; all else is the same.
pub(crate) async fn is_the_base_elsewhere() -> anyhow::Result<()> {
    let mut wanted = rendered("base")?;
    let volume = cni(&mut wanted, "/spec/template/spec/volumes")?;
    *volume = json!({"name": "cni", "hostPath": {"path": CONFIGURATION}});
    let mount = cni(&mut wanted, "/spec/template/spec/containers/0/volumeMounts")?;
    *mount = json!({"name": "cni", "mountPath": CONFIGURATION, "readOnly": true});
    let found = rendered("k3s")?;
    anyhow::ensure!(found == wanted, "{found:#?}\nis not\n{wanted:#?}");
    Ok(())
}
