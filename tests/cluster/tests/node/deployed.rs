//! `deploy/kustomize/base`, applied as people do.

use std::path::Path;

use anyhow::{Context, ensure};
use cluster::machine::call;
use cluster::node::{Node, PODS_IMAGE, named};
use cluster::wait;
use netns::{bpf, paths};
use serde_json::{Value, json};

use super::node;

pub(crate) const AGENT: &str = "daemonset/netverdict";

fn base() -> String {
    let base = paths::project().join("deploy/kustomize/base");
    base.display().to_string()
}

fn workload(name: &str, command: &Value) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "a", "image": PODS_IMAGE, "imagePullPolicy": "Never", "command": command}]}}}})
}

/// A server behind a Service, and a client that calls it again and again.
fn furnish(node: &Node) -> anyhow::Result<()> {
    let server = json!(["/busybox", "httpd", "-f", "-p", "8080", "-h", "/"]);
    let call =
        "while true; do /busybox nc -w 1 $WEB_SERVICE_HOST 80 < /dev/null; /busybox sleep 1; done";
    let client = json!(["/busybox", "sh", "-c", call]);
    node.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        workload("web", &server),
    ])?;
    rolled_out(node, "shop", "deployment/web")?;
    // Its pods find the Service in their environment.
    node.apply(&[workload("client", &client)])?;
    rolled_out(node, "shop", "deployment/client")
}

pub(crate) fn rolled_out(node: &Node, namespace: &str, what: &str) -> anyhow::Result<()> {
    let told = node.kubectl(&["rollout", "status", "-n", namespace, what, "--timeout=60s"]);
    told.map(drop).with_context(|| {
        let pods = node.kubectl(&["describe", "pods", "-n", namespace]);
        format!("{what} is not there: {}", pods.unwrap_or_default())
    })
}

pub(crate) async fn becomes_ready() -> anyhow::Result<()> {
    let node = node().await?;
    let imported = node.import(&named("NETVERDICT_IMAGE")?)?;
    ensure!(imported.contains("netverdict"), "{imported}");
    furnish(&node)?;
    node.kubectl(&["apply", "-k", &base()])?;
    rolled_out(&node, "netverdict", AGENT)
}

/// What the agent wrote so far; what it says to its operator is left out.
pub(crate) fn records(node: &Node) -> anyhow::Result<Vec<Value>> {
    let log = node.kubectl(&["logs", "-n", "netverdict", AGENT])?;
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let records = lines.map(serde_json::from_str);
    records.collect::<Result<_, _>>().context("read records")
}

/// What would be wrong in a cluster where every policy is kept.
pub(crate) fn nothing_false(records: &[Value]) -> anyhow::Result<()> {
    for record in records {
        let assessment = &record["assessment"];
        ensure!(
            assessment != "unenforced" && assessment != "unexpected_drop",
            "{record}"
        );
    }
    Ok(())
}

/// Stops what the policy denies, by hand: no CNI here enforces.
pub(crate) fn enforce(node: &Node) -> anyhow::Result<()> {
    let pods = node.get(&["pods", "-n", "shop", "-l", "app=web"])?;
    let ip = pods
        .pointer("/items/0/status/podIP")
        .and_then(Value::as_str)
        .context("a pod without an address")?;
    for line in [
        "nft add table ip enforcer",
        "nft add chain ip enforcer forward { type filter hook forward priority 0 ; }",
        &format!("nft add rule ip enforcer forward ip daddr {ip} ip saddr != 10.42.0.1 drop"),
    ] {
        call(line)?;
    }
    Ok(())
}

pub(crate) async fn tells() -> anyhow::Result<()> {
    let node = node().await?;
    node.apply(&[
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": "shop"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
    ])?;
    enforce(&node)?;
    let what = || {
        format!(
            "a record; the log says: {:?}",
            node.kubectl(&["logs", "-n", "netverdict", AGENT])
        )
    };
    let is_blocked = |record: &Value| record["assessment"] == "blocked";
    wait::until(what, async || Ok(records(&node)?.iter().any(is_blocked))).await?;
    let records = records(&node)?;
    let blocked = records
        .iter()
        .find(|record| is_blocked(record))
        .context("no record")?;
    let policy = json!("default-deny");
    for (pointer, wanted) in [
        ("/node", json!(cluster::node::NAME)),
        (
            "/source/workload",
            json!({"kind": "Deployment", "name": "client"}),
        ),
        ("/source/namespace", json!("shop")),
        (
            "/destination/workload",
            json!({"kind": "Deployment", "name": "web"}),
        ),
        ("/destination/port", json!(8080)),
        ("/verdict/ingress/isolated_by/0/name", policy),
        ("/verdict/ingress/reason", json!("no_rule_matched")),
        ("/outcome/outcome", json!("dropped")),
        ("/direction", json!("ingress")),
    ] {
        ensure!(
            blocked.pointer(pointer) == Some(&wanted),
            "{pointer} is not {wanted}: {blocked}"
        );
    }
    nothing_false(&records)
}

/// What the agent holds.
pub(crate) fn state(node: &Node) -> anyhow::Result<Vec<Value>> {
    let state = node.kubectl(&[
        "exec",
        "-n",
        "netverdict",
        AGENT,
        "--",
        "/netverdict",
        "state",
    ])?;
    let held = state.lines().map(serde_json::from_str);
    held.collect::<Result<_, _>>().context("read the state")
}

/// Its state names the pods as kubectl does, with the policy that now selects them.
pub(crate) async fn is_asked() -> anyhow::Result<()> {
    let node = node().await?;
    let held = state(&node)?;
    let pods = node.get(&["pods", "-n", "shop"])?;
    let pods = pods.pointer("/items").and_then(Value::as_array);
    let pods = pods.context("no pods")?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    let policies = json!([{"kind": "NetworkPolicy", "namespace": "shop", "name": "default-deny"}]);
    for pod in pods {
        let uid = pod.pointer("/metadata/uid");
        let found = held.iter().find(|held| held.get("uid") == uid);
        let found = found.with_context(|| format!("{pod} is not held"))?;
        ensure!(found.get("type") == Some(&json!("pod")), "{found}");
        ensure!(
            found.pointer("/owns/0") == pod.pointer("/status/podIP"),
            "{found}"
        );
        ensure!(found.get("ingress") == Some(&policies), "{found}");
        ensure!(found.get("egress") == Some(&json!([])), "{found}");
    }
    Ok(())
}

/// How many programs hang on each interface of the node's but the loopback.
fn hanging() -> anyhow::Result<Vec<(String, u32)>> {
    let links: Vec<Value> = serde_json::from_str(&call("ip -json link")?)?;
    let mut hanging = Vec::new();
    for link in &links {
        let name = link["ifname"].as_str().unwrap_or_default().to_owned();
        let index = link["ifindex"].as_u64().context("an interface's index")?;
        hanging.push((name, bpf::hanging(u32::try_from(index)?)?));
    }
    Ok(hanging)
}

fn is_of_a_pod(interface: &str) -> bool {
    interface.starts_with("veth")
}

/// Both directions of every pod's interface, once, and nothing else.
fn hooks_are_right() -> anyhow::Result<bool> {
    let hanging = hanging()?;
    let right = |(name, count): &(String, u32)| *count == if is_of_a_pod(name) { 2 } else { 0 };
    Ok(hanging.iter().any(|(name, _)| is_of_a_pod(name)) && hanging.iter().all(right))
}

/// Nothing but what the kernel itself puts into every such file system.
fn no_pins() -> anyhow::Result<()> {
    for pin in Path::new("/sys/fs/bpf").read_dir()? {
        let name = pin?.file_name();
        let is_kernels = name == "maps.debug" || name == "progs.debug";
        ensure!(is_kernels, "{} is left", name.display());
    }
    Ok(())
}

pub(crate) async fn restarts() -> anyhow::Result<()> {
    let node = node().await?;
    nothing_false(&records(&node)?)?;
    node.kubectl(&["rollout", "restart", "-n", "netverdict", AGENT])?;
    rolled_out(&node, "netverdict", AGENT)?;
    wait::until(
        || format!("each pod has its hooks once: {:?}", hanging()),
        async || hooks_are_right(),
    )
    .await?;
    let is_blocked = |record: &Value| record["assessment"] == "blocked";
    let what = || "the new one tells, too".to_owned();
    wait::until(what, async || Ok(records(&node)?.iter().any(is_blocked))).await?;
    nothing_false(&records(&node)?)?;
    no_pins()
}

pub(crate) async fn goes() -> anyhow::Result<()> {
    let node = node().await?;
    node.kubectl(&["delete", "-k", &base(), "--timeout=60s"])?;
    let left = async || {
        let pods = node.get(&["pods", "-n", "netverdict"])?;
        let items = pods.get("items").and_then(Value::as_array);
        Ok(items.is_none_or(Vec::is_empty))
    };
    wait::until(|| "its pods are gone".to_owned(), left).await?;
    for (name, count) in hanging()? {
        ensure!(count == 0, "{count} programs are left on {name}");
    }
    let qdiscs = call("tc qdisc show")?;
    ensure!(!qdiscs.contains("clsact"), "{qdiscs}");
    no_pins()
}
