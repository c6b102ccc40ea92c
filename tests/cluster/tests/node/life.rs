//! A cluster's life by kubectl, while its pods talk: what is said of them is right before each change and after it, and
//! nothing that is false is said in between.

use anyhow::{Context, bail, ensure};
use cluster::machine::call;
use cluster::node::Node;
use cluster::wait;
use serde_json::{Value, json};

use super::deployed::{AGENT, enforce, nothing_false, records, rolled_out, state};
use super::{inside, node};

/// How many pods may speak before they are watched.
const POSSIBLE: usize = 5;

/// What is told of the client's connections, one change after the other.
struct Story<'a> {
    node: &'a Node,
    /// How many records were there before the last change.
    told: usize,
}

impl Story<'_> {
    /// Changes the cluster, and then what enforces it.
    fn change(
        &mut self,
        words: &[&str],
        enforced: impl Fn(&Node) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.told = records(self.node)?.len();
        self.node.kubectl(words)?;
        enforced(self.node)
    }

    /// Waits until it is told.
    async fn until(&self, what: &str, wanted: &[(&str, Value)]) -> anyhow::Result<Value> {
        let is_it = |record: &Value| {
            let mut wanted = wanted.iter();
            wanted.all(|(pointer, value)| record.pointer(pointer) == Some(value))
        };
        let last = || {
            let records = records(self.node).unwrap_or_default();
            let since: Vec<_> = records
                .iter()
                .skip(self.told)
                .map(Value::to_string)
                .collect();
            format!("{what}; told since the change:\n{}", since.join("\n"))
        };
        wait::until(last, async || {
            Ok(records(self.node)?.iter().skip(self.told).any(is_it))
        })
        .await?;
        let mut since = records(self.node)?.into_iter().skip(self.told);
        since.find(is_it).context("it was told")
    }
}

/// A policy that lets the web server's clients in from somewhere.
fn lets_in(name: &str, from: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [from]}]}})
}

fn open(_: &Node) -> anyhow::Result<()> {
    call("nft flush chain ip enforcer forward").map(drop)
}

fn client() -> (&'static str, Value) {
    let client = json!({"kind": "Deployment", "name": "client"});
    ("/source/workload", client)
}

fn allowed() -> (&'static str, Value) {
    ("/assessment", json!("allowed"))
}

fn allowed_by(policy: &str) -> (&'static str, Value) {
    let pointer = "/verdict/ingress/allowed_by/policy/name";
    (pointer, json!(policy))
}

/// The name of the one web server that is not on its way out.
fn web(node: &Node) -> anyhow::Result<String> {
    let pods = node.get(&["pods", "-n", "shop", "-l", "app=web"])?;
    let pods = pods.pointer("/items").and_then(Value::as_array);
    let mut lives = pods
        .context("no pods")?
        .iter()
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
    let name = lives
        .next()
        .and_then(|pod| pod.pointer("/metadata/name")?.as_str());
    name.map(str::to_owned).context("no web server")
}

pub(crate) async fn is_told() -> anyhow::Result<()> {
    let node = node().await?;
    // As deployed it writes problems only.
    let all = [
        "set",
        "env",
        "-n",
        "netverdict",
        AGENT,
        "NETVERDICT_LOG=all",
    ];
    node.kubectl(&all)?;
    rolled_out(&node, "netverdict", AGENT)?;
    let mut story = Story {
        node: &node,
        told: 0,
    };
    labels(&mut story).await?;
    pods_and_policies(&mut story).await?;
    let records = records(&node)?;
    nothing_false(&records)?;
    println!("{} records, none of them false", records.len());
    node.kubectl(&["delete", "namespace", "shop", "--timeout=60s"])?;
    let held = async || {
        let held = state(&node)?;
        let is_of_it = |held: &Value| held["namespace"] == "shop" || held["name"] == "shop";
        Ok(!held.iter().any(is_of_it))
    };
    wait::until(|| "nothing of it is held".to_owned(), held).await
}

/// Labels of a pod and of a namespace decide, and no longer decide.
async fn labels(story: &mut Story<'_>) -> anyhow::Result<()> {
    let friends = json!({"podSelector": {"matchLabels": {"role": "friend"}}});
    let team = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}});
    story
        .node
        .apply(&[lets_in("friends", &friends), lets_in("team", &team)])?;
    let pods = ["label", "pods", "-n", "shop", "-l", "app=client"];

    story.change(&[&pods[..], &["role=friend"]].concat(), open)?;
    let wanted = [client(), allowed(), allowed_by("friends")];
    story.until("a friend is let in", &wanted).await?;

    story.change(&[&pods[..], &["role-"]].concat(), enforce)?;
    let wanted = [
        client(),
        ("/assessment", json!("blocked")),
        ("/verdict/ingress/nearest/policy/name", json!("friends")),
        (
            "/verdict/ingress/nearest/missed/0/wanted",
            json!("role=friend"),
        ),
    ];
    story.until("a friend no more", &wanted).await?;

    story.change(&["label", "namespace", "shop", "team=a"], open)?;
    let wanted = [client(), allowed(), allowed_by("team")];
    story.until("its namespace is let in", &wanted).await?;
    Ok(())
}

/// A pod has a successor; what isolated it goes.
async fn pods_and_policies(story: &mut Story<'_>) -> anyhow::Result<()> {
    let node = story.node;
    let old = web(node)?;
    story.change(&["delete", "pods", "-n", "shop", &old], |_| Ok(()))?;
    rolled_out(node, "shop", "deployment/web")?;
    let new = web(node)?;
    ensure!(new != old, "{old} is not replaced");
    let to_new = ("/destination/name", json!(new));
    let wanted = [client(), allowed(), to_new.clone()];
    story.until("the successor is called", &wanted).await?;

    let policies = ["delete", "networkpolicies", "-n", "shop", "--all"];
    story.change(&policies, |_| Ok(()))?;
    let free = ("/verdict/ingress/reason", json!("not_isolated"));
    let wanted = [client(), allowed(), to_new, free];
    story.until("nothing isolates it", &wanted).await?;

    delivered(story).await
}

/// That it came there, though nothing comes back, says who sees all that is dropped in that pod.
async fn delivered(story: &mut Story<'_>) -> anyhow::Result<()> {
    let node = story.node;
    let port = [("/destination/port", json!(inside::PORT))];
    for _ in 0..POSSIBLE {
        let _silent = inside::send(node, "web", "client")?;
        let told = story.until("a datagram", &port).await?;
        let is = |pointer, word| told.pointer(pointer).and_then(Value::as_str) == Some(word);
        if !is("/unknown_because", "orientation") {
            let is_delivered = is("/assessment", "allowed") && is("/outcome/outcome", "delivered");
            ensure!(is_delivered, "{told}");
            return Ok(());
        }
        // On a busy machine a pod may speak before it is watched, and the datagram be part of an older conversation.
        let used = web(node)?;
        story.change(&["delete", "pods", "-n", "shop", &used], |_| Ok(()))?;
        rolled_out(node, "shop", "deployment/web")?;
    }
    bail!("{POSSIBLE} pods have spoken before they were watched")
}
