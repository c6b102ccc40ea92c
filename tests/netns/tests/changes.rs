//! What changes while netverdict runs: pods, policies, files; and what stays the same: a recording's records.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use netns::agent::{Agent, Finished, Setup};
use netns::enforcer::{Mode, Stop, enforce};
use netns::node::{Node, ReversePath, TEST_PREFIX};
use netns::paths;
use netns::record::Record;
use netns::scenario::{Family, Row, Scenario};
use netns::traffic::{Client, Listen, Protocol, Saw, Server, Servers};
use netns::trials;

/// Longest that a change may take to be seen.
const LIMIT: Duration = Duration::from_secs(15);
/// Between two tries of a client that keeps connecting.
const PAUSE: Duration = Duration::from_millis(150);
/// Anybody, without any capability.
const NOBODY: u32 = 65534;

fn main() {
    trials::conclude(vec![
        trials::test(
            "a pod that comes later is watched from its birth",
            later_pod,
        ),
        trials::test(
            "a pod that goes and comes again is watched again",
            pod_again,
        ),
        trials::test("a pod that was there before is watched", earlier_pod),
        trials::test(
            "allowed turns to blocked with policy and rules",
            turns_blocked,
        ),
        trials::test(
            "allowed turns to unenforced without rules",
            turns_unenforced,
        ),
        trials::test("blocked turns to allowed", turns_allowed),
        trials::test("a broken file keeps its last good state", broken_file),
        trials::test("a recording replays to the same records", replay),
        trials::test("a cut recording replays up to the cut", cut_replay),
        trials::test("a second agent takes over", second_agent),
    ]);
}

/// A node with kasm's pods and one client that counts: kasm-manager-0 to kasm-db-0, which the policies allow.
struct Ground {
    node: Node,
    scenario: Scenario,
    cluster: tempfile::TempDir,
}

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let scenario = Scenario::read("kasm")?;
        Ok(Self {
            node: Node::new(TEST_PREFIX, &[], ReversePath::Open)?,
            cluster: scenario.write()?,
            scenario,
        })
    }

    fn setup(&self) -> anyhow::Result<Setup> {
        Ok(Setup::new(&paths::agent()?, self.cluster.path()))
    }

    fn agent(&self) -> anyhow::Result<Agent> {
        Agent::start(&self.setup()?, &self.node.namespace)
    }

    fn add_pods(&mut self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let mut pods = self.scenario.pod_specs();
        pods.retain(|pod| wanted(&pod.key));
        self.node.add_pods(&pods)
    }

    /// A server for every destination of the rows.
    fn servers(&self) -> anyhow::Result<Servers> {
        let mut listens: Vec<Listen<'_>> = Vec::new();
        for row in &self.scenario.rows {
            let Ok(namespace) = self.node.namespace_of(&row.to) else {
                continue;
            };
            let at = SocketAddr::new(self.scenario.address(&row.to, Family::V4)?, row.port);
            if listens.iter().all(|listen| listen.at != at) {
                listens.push(Listen {
                    namespace,
                    at,
                    protocol: row.protocol,
                    server: Server::Answering,
                });
            }
        }
        Servers::start(&listens)
    }

    fn enforce(&self, rows: &[Row], mode: Mode) -> anyhow::Result<()> {
        enforce(&self.node, &self.scenario, rows, Family::V4, mode)
    }

    fn row(&self, from: &str, to: &str) -> anyhow::Result<Row> {
        self.scenario
            .rows
            .iter()
            .find(|row| row.from == from && row.to == to)
            .cloned()
            .with_context(|| format!("no expectation from {from} to {to}"))
    }

    fn connect(&self, row: &Row) -> anyhow::Result<Saw> {
        let to = SocketAddr::new(self.scenario.address(&row.to, Family::V4)?, row.port);
        let namespace = self.node.namespace_of(&row.from)?;
        Client::open(namespace, to, Protocol::Tcp)?.try_it(PAUSE)
    }

    /// Puts the policies in place the way an editor does: all at once.
    fn write_policies(&self, text: &str) -> anyhow::Result<()> {
        let aside = self.cluster.path().join("policies.new");
        fs::write(&aside, text).context("write new policies")?;
        fs::rename(&aside, self.cluster.path().join("policies.yaml")).context("put them in place")
    }

    fn policies(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.cluster.path().join("policies.yaml")).context("read the policies")
    }

    /// Connects again and again until a record of `row` says `assessment`.
    fn until(&self, agent: &mut Agent, row: &Row, assessment: &str) -> anyhow::Result<()> {
        let seen = agent.records().len();
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            self.connect(row)?;
            let is_it = |record: &Record| is(record, row) && record.assessment() == assessment;
            if agent.wait_until(PAUSE, |records| records.iter().skip(seen).any(is_it))? {
                return Ok(());
            }
        }
        let told: Vec<&str> = agent
            .records()
            .iter()
            .map(|record| record.line.as_str())
            .collect();
        bail!(
            "{} to {} never became `{assessment}`; the records:\n{}\nthe agent said:\n{}",
            row.from,
            row.to,
            told.join("\n"),
            agent.stderr()
        )
    }
}

/// Whether a record is about the row's two pods.
fn is(record: &Record, row: &Row) -> bool {
    let end = |side: &str| {
        let text = |field: &str| record.text(&format!("/{side}/{field}")).unwrap_or_default();
        format!("{}/{}", text("namespace"), text("name"))
    };
    end("source") == row.from && end("destination") == row.to
}

fn none_says(finished: &Finished, words: &[&str]) -> anyhow::Result<()> {
    match finished
        .records
        .iter()
        .find(|record| words.contains(&record.assessment()))
    {
        Some(record) => bail!("a false claim: {}", record.line),
        None => Ok(()),
    }
}

fn later_pod() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(|key| key != "default/debug")?;
    let servers = ground.servers()?;
    let denied = ground.row("default/debug", "kasm/kasm-db-0")?;
    let allowed = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    ground.until(&mut agent, &allowed, "allowed")?;
    ground.add_pods(|key| key == "default/debug")?;
    ground.until(&mut agent, &denied, "blocked")?;
    drop(servers);
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn pod_again() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    ground.node.remove_pod("default/debug");
    ground.add_pods(|key| key == "default/debug")?;
    // A known kind speaks again after its window: what counts is that the attempts are still seen.
    let first = attempts(agent.records(), &row);
    ground.connect(&row)?;
    let counted = agent.wait_until(LIMIT, |records| attempts(records, &row) > first)?;
    let finished = agent.stop()?;
    ensure!(
        counted || attempts(&finished.records, &row) > first,
        "the pod that came again was not seen"
    );
    none_says(&finished, &["unenforced", "unexpected_drop"])
}

fn attempts(records: &[Record], row: &Row) -> u64 {
    records
        .iter()
        .filter(|record| is(record, row))
        .map(Record::count)
        .sum()
}

fn earlier_pod() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let mut agent = ground.agent()?;
    let row = ground.row("kasm/kasm-agent-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &row, "unenforced")?;
    agent.stop().map(drop)
}

/// The policies without the rule that lets the manager into the database.
fn without_manager(policies: &str) -> anyhow::Result<String> {
    let rule = "    - podSelector:\n        matchLabels: {app: kasm-manager}\n";
    let kept = policies.replacen(rule, "", 1);
    ensure!(
        kept != policies,
        "kasm's policies have changed: no rule for the manager"
    );
    Ok(kept)
}

fn turns_blocked() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-manager-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &row, "allowed")?;
    ground.write_policies(&without_manager(&ground.policies()?)?)?;
    ground.enforce(std::slice::from_ref(&row), Mode::Everything(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    // Between file and rules lies a moment that proves nothing against anybody.
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn turns_unenforced() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-manager-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &row, "allowed")?;
    ground.write_policies(&without_manager(&ground.policies()?)?)?;
    ground.until(&mut agent, &row, "unenforced")?;
    none_says(&agent.stop()?, &["blocked", "unexpected_drop"])
}

fn turns_allowed() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let policies = ground.policies()?;
    ground.write_policies(&without_manager(&policies)?)?;
    let mut agent = ground.agent()?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-manager-0", "kasm/kasm-db-0")?;
    ground.enforce(std::slice::from_ref(&row), Mode::Everything(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    ground.write_policies(&policies)?;
    ground.enforce(&[], Mode::NotEnforced)?;
    ground.until(&mut agent, &row, "allowed")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn broken_file() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = ground.agent()?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-agent-0", "kasm/kasm-db-0")?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    ground.until(&mut agent, &row, "blocked")?;
    let broken = format!("{}\n---\nkind: [", ground.policies()?);
    ground.write_policies(&broken)?;
    let end = Instant::now() + LIMIT;
    while !agent.stderr().contains("policies.yaml") {
        ensure!(Instant::now() < end, "a broken file was not mentioned");
        ground.connect(&row)?;
    }
    let other = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &other, "blocked")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

/// All rows once, half of them enforced, with a recording.
fn recorded(ground: &mut Ground, file: &Path) -> anyhow::Result<Vec<Record>> {
    let name = file.to_str().context("a file name in UTF-8")?;
    let setup = ground.setup()?.flag(&["--record", name]);
    let mut agent = Agent::start(&setup, &ground.node.namespace)?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let rows = ground.scenario.rows.clone();
    let half = rows.get(..rows.len() / 2).unwrap_or_default();
    ground.enforce(half, Mode::Enforced(Stop::Drop))?;
    agent.settle()?;
    for row in &rows {
        ground.connect(row)?;
    }
    let count = rows.len();
    agent.wait_until(LIMIT, |records| {
        rows.iter()
            .filter(|row| records.iter().any(|record| is(record, row)))
            .count()
            == count
    })?;
    let records = agent.stop()?.records;
    ensure!(
        records.len() >= count,
        "only {} records of {count} rows",
        records.len()
    );
    Ok(records)
}

/// Replays as somebody without any privilege.
fn replayed(folder: &Path, file: &Path) -> anyhow::Result<Vec<String>> {
    let binary = folder.join("netverdict");
    fs::copy(paths::agent()?, &binary).context("copy the agent")?;
    open_to_all(folder, 0o755)?;
    open_to_all(file, 0o644)?;
    let output = Command::new(&binary)
        .args([
            "agent",
            "--output",
            "-",
            "--metrics-listen",
            "127.0.0.1:0",
            "--replay",
        ])
        .arg(file)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .context("start the replay")?;
    ensure!(
        output.status.success(),
        "the replay ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("records in UTF-8")?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn open_to_all(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("open `{}` to all", path.display()))
}

fn replay() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("recording");
    let live = recorded(&mut Ground::new()?, &file)?;
    let again = replayed(folder.path(), &file)?;
    let live: Vec<&str> = live.iter().map(|record| record.line.as_str()).collect();
    ensure!(
        live == again,
        "live, {} records:\n{}\nreplayed, {}:\n{}",
        live.len(),
        live.join("\n"),
        again.len(),
        again.join("\n")
    );
    Ok(())
}

fn cut_replay() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("recording");
    let live = recorded(&mut Ground::new()?, &file)?;
    let whole = fs::metadata(&file)?.len();
    fs::OpenOptions::new()
        .write(true)
        .open(&file)?
        .set_len(whole * 9 / 10)
        .context("cut the recording")?;
    let again = replayed(folder.path(), &file)?;
    ensure!(
        again.len() <= live.len() && !again.is_empty(),
        "{} records of a cut recording, {} of the whole",
        again.len(),
        live.len()
    );
    Ok(())
}

fn second_agent() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.add_pods(|_| true)?;
    let _servers = ground.servers()?;
    let row = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    for _ in 0..2 {
        let mut agent = ground.agent()?;
        ground.until(&mut agent, &row, "allowed")?;
        agent.stop()?;
        ensure!(
            ground.connect(&row)? == Saw::Answer,
            "traffic stopped with the agent"
        );
    }
    Ok(())
}
