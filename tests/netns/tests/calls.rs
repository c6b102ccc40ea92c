//! The calls of processes, seen in cgroups of the test's own: who called, for what, and whether that was denied.

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use netns::agent::{Agent, Setup};
use netns::balancer;
use netns::caller::{self, Way};
use netns::cgroup::Cgroup;
use netns::ground::{Ground, LIMIT, is, none_says};
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::stopper::{self, Call};
use netns::traffic::Servers;
use netns::{child, service, trials};

const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const CONTAINER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// A pod on the network of its node.
const HOST_POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: exporter, namespace: kasm, uid: 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9}
spec: {nodeName: node-1, hostNetwork: true, containers: [{name: exporter, image: exporter}]}
status: {phase: Running, podIP: 192.0.2.10, podIPs: [{ip: 192.0.2.10}]}
";

fn main() {
    // These tests start themselves again as processes that make one call.
    if caller::is_one() {
        return;
    }
    trials::conclude(Ok(vec![
        // On other kernels `cargo xtask test vm` runs this one.
        trials::test("calls are told as far as this kernel shows them", told),
        trials::test("a process on its node's network is its pod's", host_pod),
        trials::test("who denies at the root and comes later is followed", later),
        trials::test("a load balancer at the root leaves the Service", balanced),
        trials::test("what fails and is no denial is no drop", no_backend),
        trials::test("each way of calling is one attempt", ways),
        trials::test("a folder that is no cgroup is said", no_cgroup),
    ]))
}

/// A node whose agent watches calls, and the cgroup of a container. What is dropped last is made first.
struct Scene {
    agent: Agent,
    _servers: Servers,
    ground: Ground,
    container: Cgroup,
    _pod: Cgroup,
    _pods: Cgroup,
    root: Cgroup,
}

impl Scene {
    fn new(name: &str) -> anyhow::Result<Self> {
        Self::after(name, |_, _| Ok(()))
    }

    /// Something is done before the agent comes.
    fn after(
        name: &str,
        first: impl FnOnce(&Ground, &Cgroup) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut ground = Ground::new()?;
        let root = Cgroup::make(name)?;
        let pods = root.below("kubepods")?;
        let pod = pods.below(&format!("pod{UID}"))?;
        let container = pod.below(CONTAINER)?;
        fs::write(ground.cluster.path().join("host.yaml"), HOST_POD)?;
        first(&ground, &root)?;
        let setup: Setup = ground.setup()?.with_calls(root.path());
        let mut agent = Agent::start(&setup, &ground.node.namespace)?;
        ground.add_pods(&agent, |_| true)?;
        let servers = ground.servers()?;
        agent.settle()?;
        Ok(Self {
            agent,
            _servers: servers,
            ground,
            container,
            _pod: pod,
            _pods: pods,
            root,
        })
    }

    fn allowed(&self) -> anyhow::Result<(Row, SocketAddr)> {
        let row = self.ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
        let at = SocketAddr::new(self.ground.scenario.address(&row.to, Family::V4)?, row.port);
        Ok((row, at))
    }

    /// One call out of the container, from a pod.
    fn call(&self, from: &str, way: Way, to: SocketAddr) -> anyhow::Result<i32> {
        let namespace = self.ground.node.namespace_of(from)?;
        caller::run(namespace, self.container.path(), way, to)
    }

    /// Whether this kernel tells of denials; it must say so either way.
    fn tells_denials(&self) -> anyhow::Result<bool> {
        let said = self.agent.stderr();
        let tells = said.contains("calls of processes yes, denials yes");
        ensure!(
            tells || said.contains("calls of processes yes, denials no ("),
            "it does not say what it sees of calls:\n{said}"
        );
        Ok(tells)
    }

    fn wait(&mut self, what: &str, is_it: impl Fn(&Record) -> bool) -> anyhow::Result<Record> {
        let found = |records: &[Record]| records.iter().find(|it| is_it(it)).cloned();
        self.agent
            .wait_until(LIMIT, |records| found(records).is_some())?;
        found(self.agent.records()).ok_or_else(|| {
            let lines: Vec<&str> = self.agent.records().iter().map(|it| &*it.line).collect();
            anyhow!(
                "no record {what}:\n{}\nthe agent said:\n{}",
                lines.join("\n"),
                self.agent.stderr()
            )
        })
    }
}

/// The name that the kernel has of this very program's processes.
fn own_command() -> anyhow::Result<String> {
    let this = std::env::current_exe()?;
    let name = this.file_name().unwrap_or_default().to_string_lossy();
    Ok(name.chars().take(15).collect())
}

fn told() -> anyhow::Result<()> {
    let mut scene = Scene::new("told")?;
    let (row, at) = scene.allowed()?;
    ensure!(scene.call(&row.from, Way::Connect, at)? == 0);
    let record = scene.wait("of the call that went through", |record| is(record, &row))?;
    ensure!(record.assessment() == "allowed", "{}", record.line);
    for (pointer, wanted) in [
        ("/process/command", own_command()?.as_str()),
        ("/process/pod/uid", UID),
        ("/process/container", CONTAINER),
    ] {
        let found = record.text(pointer);
        ensure!(found == Some(wanted), "`{pointer}` in {}", record.line);
    }
    let denial = stopper::in_cgroup(&scene.container.open()?, row.port, Call::Connect)?;
    ensure!(scene.call(&row.from, Way::Connect, at)? == libc::EPERM);
    let tells = scene.tells_denials()?;
    if tells {
        let denied = scene.wait("of the denial", |it| it.outcome() == "dropped")?;
        ensure!(is(&denied, &row), "{}", denied.line);
        ensure!(denied.text("/process/container") == Some(CONTAINER));
        ensure!(denied.assessment() == "unexpected_drop", "{}", denied.line);
    }
    drop(denial);
    let finished = scene.agent.stop()?;
    let of_it = finished.records.iter().filter(|record| is(record, &row));
    let count: u64 = of_it.map(Record::count).sum();
    ensure!(count == 1 + u64::from(tells), "{count} attempts counted");
    Ok(())
}

fn host_pod() -> anyhow::Result<()> {
    let mut scene = Scene::new("host")?;
    let (row, at) = scene.allowed()?;
    let node = &scene.ground.node.namespace;
    let called = caller::run(node, scene.container.path(), Way::Connect, at)?;
    ensure!(called == 0, "it failed with {called}");
    let record = scene.wait("of the node's own", |record| {
        record.text("/source/kind") == Some("node")
            && record.number("/destination/port") == Some(row.port.into())
    })?;
    ensure!(
        record.text("/process/pod/name") == Some("exporter")
            && record.text("/process/pod/namespace") == Some("kasm"),
        "{}",
        record.line
    );
    scene.agent.stop()?;
    Ok(())
}

fn later() -> anyhow::Result<()> {
    let mut scene = Scene::new("later")?;
    if !scene.tells_denials()? {
        return Ok(());
    }
    let (row, at) = scene.allowed()?;
    let _denial = stopper::in_cgroup(&scene.root.open()?, row.port, Call::Connect)?;
    let end = Instant::now() + LIMIT;
    loop {
        ensure!(scene.call(&row.from, Way::Connect, at)? == libc::EPERM);
        let is_it = |record: &Record| is(record, &row) && record.outcome() == "dropped";
        let is_told = |records: &[Record]| records.iter().any(is_it);
        if scene.agent.wait_until(netns::agent::SETTLE, is_told)? {
            break;
        }
        ensure!(Instant::now() < end, "nothing is told of who came later");
    }
    scene.agent.stop()?;
    Ok(())
}

/// As Cilium's: its programs are at the root, and the pods' processes below.
fn balanced() -> anyhow::Result<()> {
    let mut kept = None;
    let mut service = None;
    let mut scene = Scene::after("balanced", |ground, root| {
        let row = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
        let at = SocketAddr::new(ground.scenario.address(&row.to, Family::V4)?, row.port);
        service = Some(service::told(ground, &row)?);
        kept = Some(balancer::in_cgroup(&root.open()?, row.port, at)?);
        Ok(())
    })?;
    let (row, _) = scene.allowed()?;
    let to = service.context("a Service was made")?;
    ensure!(scene.call(&row.from, Way::Connect, to)? == 0);
    let record = scene.wait("of the Service", |record| is(record, &row))?;
    ensure!(
        record.text("/service/name") == Some("db")
            && record.text("/service/ip") == Some(service::ADDRESS),
        "{}",
        record.line
    );
    none_says(&scene.agent.stop()?, &["unenforced", "unexpected_drop"])
}

/// A socket load balancer without a backend says that the host is unreachable: nobody enforces anything.
fn no_backend() -> anyhow::Result<()> {
    let mut scene = Scene::new("unreachable")?;
    if !scene.tells_denials()? {
        return Ok(());
    }
    let (row, at) = scene.allowed()?;
    let folder = scene.container.open()?;
    let _failing = stopper::unreachable_in_cgroup(&folder, row.port)?;
    ensure!(scene.call(&row.from, Way::Connect, at)? == libc::EHOSTUNREACH);
    let record = scene.wait("of the failure", |record| is(record, &row))?;
    ensure!(record.assessment() == "unanswered", "{}", record.line);
    none_says(&scene.agent.stop()?, &["blocked", "unexpected_drop"])
}

fn ways() -> anyhow::Result<()> {
    let mut scene = Scene::new("ways")?;
    if !scene.tells_denials()? {
        return Ok(());
    }
    let (row, at) = scene.allowed()?;
    let denial = stopper::in_cgroup(&scene.container.open()?, row.port, Call::Connect)?;
    for way in [Way::Connect, Way::ConnectMapped, Way::ConnectLater] {
        ensure!(scene.call(&row.from, way, at)? == libc::EPERM, "{way:?}");
    }
    drop(denial);
    for way in [Way::ConnectMapped, Way::ConnectLater] {
        ensure!(scene.call(&row.from, way, at)? == 0, "{way:?}");
    }
    let count = |records: &[Record], outcome: &str| {
        let of_it = records
            .iter()
            .filter(|it| is(it, &row) && it.outcome() == outcome);
        of_it.map(Record::count).sum::<u64>()
    };
    let all = |records: &[Record]| (count(records, "dropped"), count(records, "answered"));
    scene
        .agent
        .wait_until(LIMIT, |records| all(records) == (3, 2))?;
    let finished = scene.agent.stop()?;
    let found = all(&finished.records);
    ensure!(found == (3, 2), "{found:?} were dropped and answered");
    let of_v6 = |record: &&Record| is(record, &row) && record.text("/family") != Some("IPv4");
    ensure!(finished.records.iter().filter(of_v6).count() == 0);
    Ok(())
}

fn no_cgroup() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let folder = ground.cluster.path();
    let mut command = std::process::Command::new(netns::paths::agent()?);
    command.args(["agent", "--metrics-listen", "off", "--cluster"]);
    command.arg(folder).arg("--cgroup-root").arg(folder);
    let ended = child::run(&mut command, LIMIT)?;
    ensure!(
        ended.code == Some(3) && ended.stderr.contains("cgroups of the second version"),
        "{ended:?}"
    );
    Ok(())
}
