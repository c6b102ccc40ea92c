//! A real API server, filled as a cluster of some size is: nodes and pods are made here, and kwok says of them that they
//! run. At the end all of it is thrown away with etcd's files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cluster::admin::Admin;
use cluster::plane::{ALONE, Plane};
use cluster::proxy::Proxy;
use futures_util::future::try_join_all;
use futures_util::{AsyncBufReadExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::measure::{BURST, Source};
use crate::objects::{IN_NAMESPACE, KINDS, OF_APP, Objects, pod_name};

const PORT: u16 = 6443;
/// Requests at a time while it is filled.
const AT_ONCE: usize = 16;
/// How long kwok may take for all pods.
const ALL_RUN: Duration = Duration::from_secs(600);
/// A list that ends, and goes on with changes.
const STREAMED: &str =
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
/// What only a server writes, and what is of another server.
const NOT_OURS: [&str; 5] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
];

/// The server with all that is in it.
pub(crate) struct Real {
    runtime: Runtime,
    objects: Objects,
    admin: Admin,
    /// Reads lists on the same way as the agent.
    reader: Admin,
    /// The agent's way.
    proxy: Proxy,
    // Ended first.
    _kwok: Kwok,
    plane: Plane,
}

impl Real {
    pub(crate) fn start(kwok: &Path, objects: Objects) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let start = async {
            let mut plane = Plane::start().await?;
            plane.add(PORT, &[ALONE]);
            plane.run(PORT)?;
            let admin = plane.ready(PORT).await?;
            let kwok = Kwok::start(kwok, &plane)?;
            let began = Instant::now();
            fill(&admin, &objects).await?;
            eprintln!(
                "scale: {} pods run after {:.0} s",
                objects.size.pods,
                began.elapsed().as_secs_f64()
            );
            let proxy = Proxy::start(PORT)?;
            let reader = Admin::new(&plane.kubeconfig("admin", proxy.port(), None)?).await?;
            anyhow::Ok((plane, admin, kwok, proxy, reader))
        };
        let (plane, admin, kwok, proxy, reader) = runtime.block_on(start)?;
        Ok(Self {
            runtime,
            objects,
            admin,
            reader,
            proxy,
            _kwok: kwok,
            plane,
        })
    }
}

impl Source for Real {
    fn name(&self) -> String {
        format!("{} pods of a real server", self.objects.size.pods)
    }

    fn read(&self) -> anyhow::Result<()> {
        let lists = KINDS.map(async |(path, plural)| {
            let path = format!("{path}/{plural}?{STREAMED}");
            let mut lines = self.reader.stream(&path).await?;
            let mut line = Vec::new();
            while !line.starts_with(b"{\"type\":\"BOOKMARK\"") {
                line.clear();
                let read = lines.read_until(b'\n', &mut line).await?;
                ensure!(read > 0, "the list of {plural} did not end");
            }
            Ok(())
        });
        self.runtime.block_on(try_join_all(lists)).map(drop)
    }

    fn begin(&mut self) -> anyhow::Result<PathBuf> {
        // Nothing was counted yet on a way of its own.
        self.proxy = Proxy::start(PORT)?;
        self.plane.kubeconfig("admin", self.proxy.port(), None)
    }

    fn asked(&self) -> Option<Instant> {
        self.proxy.first()
    }

    fn sent(&self) -> u64 {
        self.proxy.bytes()
    }

    fn change_pods(&self, round: usize) -> anyhow::Result<()> {
        let label = json!({"metadata": {"labels": {"round": round.to_string()}}});
        let changes = (0..BURST).map(async |place| {
            let number = self.objects.changed(round, place);
            let namespace = number / IN_NAMESPACE;
            let name = pod_name(number);
            let path = format!("/api/v1/namespaces/ns-{namespace}/pods/{name}");
            self.admin.patch(&path, &label).await
        });
        self.runtime.block_on(try_join_all(changes)).map(drop)
    }

    fn change_policy(&self, round: usize) -> anyhow::Result<()> {
        let number = round % self.objects.size.policies;
        let policy = self.objects.policy(number, round);
        let text = |field: &str| policy.pointer(field).and_then(Value::as_str);
        let namespace = text("/metadata/namespace").context("a policy without namespace")?;
        let name = text("/metadata/name").context("a policy without name")?;
        let path =
            format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}");
        let change = json!({"spec": policy.get("spec")});
        self.runtime.block_on(self.admin.patch(&path, &change))
    }
}

/// kwok as a child process. Dropped, it is ended.
struct Kwok(Child);

impl Kwok {
    fn start(folder: &Path, plane: &Plane) -> anyhow::Result<Self> {
        let log = File::create(plane.folder().join("kwok.log")).context("make kwok's log")?;
        let child = Command::new(folder.join("kwok"))
            .arg("--manage-all-nodes=true")
            .arg("--config")
            .arg(folder.join("stages.yaml"))
            .arg("--kubeconfig")
            .arg(plane.kubeconfig("admin", PORT, None)?)
            // Where it would look for settings of somebody else's.
            .env("HOME", plane.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start kwok")?;
        Ok(Self(child))
    }
}

impl Drop for Kwok {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Makes everything, and waits until all pods run.
async fn fill(admin: &Admin, objects: &Objects) -> anyhow::Result<()> {
    make(admin, objects, "namespaces", |number| {
        Ok(objects.namespace(number))
    })
    .await?;
    make(admin, objects, "nodes", |number| {
        let mut node = objects.node(number);
        let spec = json!({"podCIDR": format!("10.42.{number}.0/24"), "podCIDRs": [format!("10.42.{number}.0/24")]});
        if let Some(node) = node.as_object_mut() {
            node.insert("spec".to_owned(), spec);
        }
        Ok(node)
    })
    .await?;
    make(admin, objects, "networkpolicies", |number| {
        Ok(objects.policy(number, 0))
    })
    .await?;
    make(admin, objects, "services", |number| {
        let mut service = objects.service(number);
        // They are the server's to give.
        for given in ["clusterIP", "clusterIPs"] {
            take(&mut service, "spec", given);
        }
        Ok(service)
    })
    .await?;
    make(admin, objects, "pods", |number| {
        let mut event = Vec::new();
        objects.pod("ADDED", number, 0, &mut event)?;
        let mut event: Value = serde_json::from_slice(&event)?;
        let pod = event.get_mut("object").context("an event without a pod")?;
        if let Some(pod) = pod.as_object_mut() {
            pod.remove("status");
        }
        Ok(pod.take())
    })
    .await?;
    let running = timeout(ALL_RUN, running(admin, objects.size.pods)).await;
    let addresses = running.with_context(|| format!("not all run after {ALL_RUN:?}"))??;
    make(admin, objects, "endpointslices", |number| {
        let pods = number * OF_APP..(number + 1) * OF_APP;
        let addresses = pods.filter_map(|pod| addresses.get(&pod_name(pod)).cloned());
        Ok(objects.slice(number, &addresses.collect::<Vec<_>>()))
    })
    .await
}

/// Makes all objects of a kind.
async fn make(
    admin: &Admin,
    objects: &Objects,
    plural: &str,
    object: impl Fn(usize) -> anyhow::Result<Value>,
) -> anyhow::Result<()> {
    let kind = KINDS.into_iter().find(|(_, name)| *name == plural);
    let (path, _) = kind.with_context(|| format!("no such kind: {plural}"))?;
    let numbers = (0..objects.count(plural)).map(anyhow::Ok);
    let one = async |number: usize| {
        let mut object = object(number)?;
        for field in NOT_OURS {
            take(&mut object, "metadata", field);
        }
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str);
        let path = match namespace {
            Some(namespace) => format!("{path}/namespaces/{namespace}/{plural}"),
            None => format!("{path}/{plural}"),
        };
        admin.create(&path, &object).await
    };
    stream::iter(numbers)
        .try_for_each_concurrent(AT_ONCE, one)
        .await
}

fn take(object: &mut Value, part: &str, field: &str) {
    if let Some(part) = object.get_mut(part).and_then(Value::as_object_mut) {
        part.remove(field);
    }
}

/// Waits until so many pods run; gives the address of each by its name.
async fn running(admin: &Admin, pods: usize) -> anyhow::Result<BTreeMap<String, String>> {
    let path = "/api/v1/pods?watch=true&resourceVersion=0&fieldSelector=status.phase%3DRunning";
    let mut lines = admin.stream(path).await?;
    let mut addresses = BTreeMap::new();
    let mut line = Vec::new();
    while addresses.len() < pods {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).await?;
        ensure!(read > 0, "the watch ended with {} pods", addresses.len());
        let event: Value = serde_json::from_slice(&line).context("read an event")?;
        let text = |field: &str| event.pointer(field).and_then(Value::as_str);
        if let (Some(name), Some(address)) =
            (text("/object/metadata/name"), text("/object/status/podIP"))
        {
            addresses.insert(name.to_owned(), address.to_owned());
        }
    }
    Ok(addresses)
}
