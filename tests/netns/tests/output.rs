//! Whoever takes the records stalls, or has no room: memory is bounded, what is lost is counted, and the hooks go on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use netns::agent::{Agent, Setup};
use netns::frame::{Ends, SYN};
use netns::ground::Ground;
use netns::raw::{Wire, hardware_address};
use netns::scenario::Family;
use netns::trials;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::Value;

/// May go anywhere.
const FROM: [&str; 4] = [
    "kasm/kasm-db-0",
    "kasm/kasm-redis-0",
    "kasm/kasm-agent-0",
    "kasm/kasm-proxy-0",
];
/// Lets everybody in, and listens nowhere: its kernel refuses at once.
const TO: &str = "default/debug";
/// Ports that each asks at a time; each is a conversation, and its record has a kilobyte at least.
const PORTS: u16 = 4000;
const FIRST_PORT: u16 = 10_000;
/// How long nobody reads; half a minute with `--long`.
const STALL: Duration = Duration::from_secs(3);
const LONG_STALL: Duration = Duration::from_secs(30);
/// Until everything that was sent is counted.
const PATIENCE: Duration = Duration::from_secs(60);
/// What may wait for a reader, the tables of so many conversations, and what the allocator keeps.
const MOST_MEMORY_KB: u64 = 128 << 10;
/// The disk that fills.
const DISK: u64 = 1 << 20;

fn main() {
    trials::conclude(Ok(vec![
        trials::test("a pipe that nobody reads for a while", stalled_pipe),
        trials::test("a disk that is full for a while", full_disk),
        trials::test("a pipe whose reader comes late, or never", late_reader),
        trials::test("hostile text obeys nobody on stderr", hostile_text),
    ]))
}

/// A node with all its pods, and an agent that writes elsewhere than to its stdout.
struct Stage {
    ground: Ground,
    agent: Agent,
    sent: u64,
}

impl Stage {
    fn new(setup: impl FnOnce(Setup) -> Setup) -> anyhow::Result<Self> {
        let mut ground = Ground::new()?;
        let setup = setup(ground.setup()?);
        let agent = Agent::start(&setup, &ground.node.namespace)?;
        ground.add_pods(&agent, |_| true)?;
        Ok(Self {
            ground,
            agent,
            sent: 0,
        })
    }

    /// Every sender asks as many ports, and the agent counts every attempt, whether it can tell of it or not.
    fn burst(&mut self, ports: u16) -> anyhow::Result<()> {
        let IpAddr::V4(to) = self.ground.scenario.address(TO, Family::V4)? else {
            bail!("no IPv4 address");
        };
        for from in FROM {
            let IpAddr::V4(source) = self.ground.scenario.address(from, Family::V4)? else {
                bail!("no IPv4 address");
            };
            let first = u32::try_from(self.sent)?;
            syns(&self.ground, from, source, to, first, ports)?;
            self.sent += u64::from(ports);
        }
        self.counted()
    }

    fn counted(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let metrics = self.agent.metrics(&self.ground.node.namespace)?;
            let counted = metrics.sum("netverdict_connections_total", &[]);
            let lost = metrics.sum("netverdict_events_lost_total", &["stage=\"attempts\""]);
            if counted + lost == self.sent {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{} sent, {counted} counted, {lost} lost\n{}",
                self.sent,
                self.agent.stderr()
            );
        }
    }

    fn unwritten(&self) -> anyhow::Result<u64> {
        let metrics = self.agent.metrics(&self.ground.node.namespace)?;
        Ok(metrics.sum("netverdict_events_lost_total", &["stage=\"output\""]))
    }

    fn memory_kb(&self) -> anyhow::Result<u64> {
        let pid = self.agent.pid()?.as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.and_then(|line| line.split_whitespace().next());
        words.context("no VmRSS")?.parse().context("read VmRSS")
    }
}

/// One SYN to each port, from a port of its own: answered by a RST.
fn syns(
    ground: &Ground,
    from: &str,
    source: Ipv4Addr,
    to: Ipv4Addr,
    first: u32,
    ports: u16,
) -> anyhow::Result<()> {
    let pod = ground.node.pod(from)?;
    let wire = Wire::open(&pod.namespace, "eth0")?;
    let ends = Ends {
        to: hardware_address(&ground.node.namespace, &pod.link)?,
        from: hardware_address(&pod.namespace, "eth0")?,
    };
    let client_port = 1024 + u16::try_from(first / 4 % 60_000)?;
    for number in 0..ports {
        let port = FIRST_PORT + number;
        let sequence = first + u32::from(number);
        let frame = ends.tcp((source, client_port), (to, port), sequence, SYN);
        // A full queue is a moment's matter.
        while wire.send(&frame).is_err() {}
    }
    Ok(())
}

/// What the records of a file come to.
#[derive(Debug, Default)]
struct Sums {
    attempts: u64,
    lost: BTreeMap<String, u64>,
    torn: u64,
}

impl Sums {
    fn add(&mut self, line: &str) {
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            self.torn += 1;
            return;
        };
        let count = record.get("count").and_then(Value::as_u64).unwrap_or(0);
        let text = |key| record.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "connection" => self.attempts += count,
            "lost" => *self.lost.entry(text("stage").to_owned()).or_default() += count,
            _ => {}
        }
    }

    /// Every attempt that was made was told, or said to be lost; and only the output lost any.
    fn check(&self, sent: u64) -> anyhow::Result<()> {
        let at = |stage| self.lost.get(stage).copied().unwrap_or(0);
        let (output, attempts) = (at("output"), at("attempts"));
        ensure!(output > 0, "nothing was lost: this tests nothing: {self:?}");
        ensure!(
            self.attempts + output + attempts == sent,
            "{sent} sent, but {self:?}"
        );
        Ok(())
    }
}

/// Counts what comes out of a pipe until its end, on a thread of its own.
fn reader(pipe: fs::File) -> JoinHandle<Sums> {
    std::thread::spawn(move || {
        let mut sums = Sums::default();
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            sums.add(&line);
        }
        sums
    })
}

fn fifo(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("records.fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("make a FIFO")?;
    Ok(path)
}

/// Opens a FIFO's reading end without waiting for a writer; reading it waits.
fn open_reader(path: &Path) -> anyhow::Result<fs::File> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits())?;
    let pipe = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .context("open a FIFO")?;
    rustix::fs::fcntl_setfl(&pipe, OFlags::empty()).context("let reading wait")?;
    Ok(pipe)
}

fn stalled_pipe() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = fifo(folder.path())?;
    let pipe = open_reader(&path)?;
    let mut stage = Stage::new(|setup| setup.output(&path))?;
    // Nobody reads: first the pipe fills, then what may wait.
    stage.burst(PORTS)?;
    let is_long = std::env::var_os("NETVERDICT_LONG").is_some();
    let until = Instant::now() + if is_long { LONG_STALL } else { STALL };
    while Instant::now() < until || stage.unwritten()? == 0 {
        stage.burst(50)?;
        ensure!(
            Instant::now() < until + PATIENCE,
            "nothing was lost: this tests nothing"
        );
        let memory = stage.memory_kb()?;
        ensure!(memory < MOST_MEMORY_KB, "the agent has {memory} KiB");
    }
    let sums = reader(pipe);
    stage.burst(PORTS / 4)?;
    let sent = stage.sent;
    stage.agent.stop()?;
    let sums = sums.join().map_err(|_| anyhow!("the reader panicked"))?;
    ensure!(sums.torn == 0, "half lines: {sums:?}");
    sums.check(sent)
}

fn full_disk() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("records.jsonl");
    let mut stage = Stage::new(|setup| setup.with_disk(folder.path(), DISK).output(&file))?;
    // The agent alone sees that disk; its process leads there.
    let pid = stage.agent.pid()?.as_raw_nonzero();
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let theirs = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let ballast = theirs(&folder.path().join("ballast"));
    fs::write(&ballast, vec![0; usize::try_from(DISK / 2)?]).context("fill half of the disk")?;
    stage.burst(PORTS / 8)?;
    let end = Instant::now() + PATIENCE;
    while !stage.agent.stderr().contains("No space left on device") {
        ensure!(Instant::now() < end, "a full disk was not mentioned");
        stage.burst(50)?;
    }
    ensure!(
        stage.agent.stderr().contains("records.jsonl"),
        "it does not say which file: {}",
        stage.agent.stderr()
    );
    while stage.unwritten()? == 0 {
        ensure!(Instant::now() < end, "nothing is said to be lost");
    }
    fs::remove_file(&ballast).context("make room")?;
    while !stage.agent.stderr().contains("records are written again") {
        ensure!(Instant::now() < end, "it never wrote again");
        stage.burst(10)?;
    }
    let sent = stage.sent;
    // Opened before the end: the disk goes with the process.
    let written = fs::File::open(theirs(&file)).context("open the records")?;
    stage.agent.stop()?;
    let mut sums = Sums::default();
    for line in BufReader::new(written).lines() {
        sums.add(&line?);
    }
    ensure!(sums.torn <= 1, "more than the one line that the disk cut");
    sums.check(sent)
}

/// Whoever opens a FIFO waits for its reader: that is the thread that writes, and neither the hooks nor a signal wait.
fn late_reader() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = fifo(folder.path())?;
    let mut stage = Stage::new(|setup| setup.output(&path))?;
    stage.burst(50)?;
    let sums = reader(open_reader(&path)?);
    stage.burst(50)?;
    let sent = stage.sent;
    stage.agent.stop()?;
    let sums = sums.join().map_err(|_| anyhow!("the reader panicked"))?;
    ensure!(sums.attempts == sent, "{sent} sent, but {sums:?}");
    let stage = Stage::new(|setup| setup.output(&path))?;
    stage.agent.stop().map(drop)
}

/// Files and objects whose names a terminal would obey.
fn hostile_text() -> anyhow::Result<()> {
    let hostile = "\u{1b}[31m\u{202e}\u{9b}2J\nready\n";
    let ground = Ground::new()?;
    let policy = "apiVersion: networking.k8s.io/v1\n\
         kind: NetworkPolicy\n\
         metadata: {namespace: \"kasm\", name: \"x\\e[31m\\u202e\\x9b2J\\nready\\n\", annotations: {netverdict.io/log: \"\\e\\u202e\\nready\\n\"}}\n\
         spec: {podSelector: {}}\n";
    let file = ground.cluster.path().join(format!("{hostile}.yaml"));
    fs::write(&file, policy).context("write a policy")?;
    for validation in ["--no-validation", ""] {
        let mut setup = ground.setup()?;
        setup
            .flags
            .extend((!validation.is_empty()).then(|| validation.to_owned()));
        let agent = Agent::start(&setup, &ground.node.namespace)?;
        let metrics = agent.metrics(&ground.node.namespace)?.0;
        let stderr = agent.stop()?.stderr;
        ensure!(
            stderr.contains("202e"),
            "it says nothing of the policy: this tests nothing:\n{stderr}"
        );
        let readies = stderr.lines().filter(|line| *line == "ready").count();
        ensure!(readies == 1, "it is ready {readies} times:\n{stderr}");
        for (what, text) in [("stderr", stderr), ("the metrics", metrics)] {
            let is_hostile =
                |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202e}');
            // The head of an HTTP answer ends its lines with both.
            let text = text.replace("\r\n", "\n");
            ensure!(!text.contains(is_hostile), "{what}:\n{text:?}");
        }
    }
    Ok(())
}
