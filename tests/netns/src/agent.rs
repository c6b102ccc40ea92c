//! `netverdict agent` as a child process: started, read, ended.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{ended_within, pid_of};
use crate::cleanup;
use crate::metrics::Metrics;
use crate::ns::Namespace;
use crate::record::Record;
pub use crate::setup::{SETTLE, Setup};

/// Longest that the agent may take until it is ready: an emulated machine needs it.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// Longest that is waited for its end; the contract's limit has a test of its own.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running agent. Dropped, it is ended.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    lines: Receiver<String>,
    records: Vec<Record>,
    stderr: Arc<Mutex<String>>,
    /// The same, line by line, for whoever waits for one.
    said: Receiver<String>,
}

/// An agent that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Every record that it wrote.
    pub records: Vec<Record>,
    /// Everything that it told its operator.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
    /// How long it took to end after SIGTERM.
    pub took: Duration,
}

impl Agent {
    /// Starts it in a node's namespace and waits until it says `ready`.
    ///
    /// # Errors
    /// When it cannot be started or is not ready in time; the message holds what it said on stderr.
    pub fn start(setup: &Setup, namespace: &Namespace) -> anyhow::Result<Self> {
        Self::start_when(setup, namespace, |_| Ok(())).map(|(agent, _)| agent)
    }

    /// Starts it and waits for nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(setup: &Setup, namespace: &Namespace) -> anyhow::Result<Self> {
        Self::spawn(setup, namespace)
    }

    /// The same, with `heard` called after each line that it says until then; gives back all of it.
    ///
    /// # Errors
    /// As [`Agent::start`], and when `heard` fails.
    pub fn start_when(
        setup: &Setup,
        namespace: &Namespace,
        mut heard: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Self, String)> {
        let agent = Self::spawn(setup, namespace)?;
        let end = Instant::now() + READY_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match agent.said.recv_timeout(left) {
                Ok(line) if line == "ready" => {
                    let stderr = agent.stderr();
                    return Ok((agent, stderr));
                }
                Ok(_) => heard(&agent.stderr())?,
                Err(RecvTimeoutError::Timeout) => bail!(
                    "the agent was not ready after {READY_LIMIT:?}; it said:\n{}",
                    agent.stderr()
                ),
                Err(RecvTimeoutError::Disconnected) => bail!(
                    "the agent ended before it was ready; it said:\n{}",
                    agent.stderr()
                ),
            }
        }
    }

    fn spawn(setup: &Setup, namespace: &Namespace) -> anyhow::Result<Self> {
        let mut child = setup
            .command(namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start `ip netns exec`")?;
        cleanup::remember_process(pid_of(&child)?);
        let (said_tx, said) = channel();
        let stderr = Arc::new(Mutex::new(String::new()));
        if let Some(pipe) = child.stderr.take() {
            let into = Arc::clone(&stderr);
            std::thread::spawn(move || listen(pipe, &into, &said_tx));
        }
        let (lines_tx, lines) = channel();
        if let Some(pipe) = child.stdout.take() {
            std::thread::spawn(move || pass_on(pipe, &lines_tx));
        }
        Ok(Self {
            child,
            lines,
            records: Vec::new(),
            stderr,
            said,
        })
    }

    /// What it has told its operator so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its process.
    ///
    /// # Errors
    /// Never, on Linux.
    pub fn pid(&self) -> anyhow::Result<Pid> {
        pid_of(&self.child)
    }

    /// What it tells Prometheus now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self, namespace: &Namespace) -> anyhow::Result<Metrics> {
        let said = self.stderr();
        let address = said
            .split("serving metrics address=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .context("it does not say where its metrics are")?;
        Metrics::ask(namespace, address)
    }

    /// Waits until it watches that interface.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn watches(&self, link: &str) -> anyhow::Result<()> {
        let said = format!("interface is watched name={link}");
        let end = Instant::now() + READY_LIMIT;
        while !self.stderr().lines().any(|line| line.ends_with(&said)) {
            let left = end.saturating_duration_since(Instant::now());
            if self.said.recv_timeout(left).is_err() {
                bail!(
                    "`{link}` is not watched; the agent said:\n{}",
                    self.stderr()
                );
            }
        }
        Ok(())
    }

    /// What it wrote, as far as it was waited for.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The next record; `None` when none came within `limit`, or it ended.
    ///
    /// # Errors
    /// When a record breaks the schema.
    pub fn next(&mut self, limit: Duration) -> anyhow::Result<Option<&Record>> {
        let Ok(line) = self.lines.recv_timeout(limit) else {
            return Ok(None);
        };
        self.records.push(Record::read(&line)?);
        Ok(self.records.last())
    }

    /// Reads records until `enough` holds; says whether it did within `limit`.
    ///
    /// # Errors
    /// When a record breaks the schema.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        mut enough: impl FnMut(&[Record]) -> bool,
    ) -> anyhow::Result<bool> {
        let end = Instant::now() + limit;
        while !enough(&self.records) {
            let left = end.saturating_duration_since(Instant::now());
            if self.next(left)?.is_none() {
                return Ok(enough(&self.records));
            }
        }
        Ok(true)
    }

    /// Lets the settle time pass, reading what is written meanwhile: here time itself is the condition.
    ///
    /// # Errors
    /// When a record breaks the schema.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        self.wait_until(SETTLE * 2, |_| false).map(drop)
    }

    /// Ends it with SIGKILL: it can clean up nothing. Gives back what it had written.
    ///
    /// # Errors
    /// When it cannot be killed, or wrote a record that breaks the schema.
    pub fn kill(mut self) -> anyhow::Result<Vec<Record>> {
        self.child.kill().context("kill the agent")?;
        self.child.wait().context("wait for the agent")?;
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv() {
            lines.push(line);
        }
        // The last line may be cut short.
        let last = lines.pop();
        lines.extend(last.filter(|last| last.ends_with('}')));
        for line in &lines {
            self.records.push(Record::read(line)?);
        }
        Ok(std::mem::take(&mut self.records))
    }

    /// Ends it with SIGTERM, and holds it to exit code 0.
    ///
    /// # Errors
    /// When it breaks the contract, or wrote a record that breaks the schema.
    pub fn stop(mut self) -> anyhow::Result<Finished> {
        let began = Instant::now();
        kill_process(pid_of(&self.child)?, Signal::TERM).context("send SIGTERM to the agent")?;
        if !ended_within(&self.child, STOP_LIMIT)? {
            bail!(
                "the agent still ran {STOP_LIMIT:?} after SIGTERM; it said:\n{}",
                self.stderr()
            );
        }
        let took = began.elapsed();
        let status = self.child.wait().context("wait for the agent")?;
        while let Ok(line) = self.lines.recv() {
            self.records.push(Record::read(&line)?);
        }
        if !status.success() {
            bail!("the agent ended with {status}; it said:\n{}", self.stderr());
        }
        Ok(Finished {
            records: std::mem::take(&mut self.records),
            stderr: self.stderr(),
            status,
            took,
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(pid) = pid_of(&self.child) {
            if matches!(self.child.try_wait(), Ok(None)) {
                let _ = kill_process(pid, Signal::TERM);
                if !ended_within(&self.child, STOP_LIMIT).unwrap_or(false) {
                    drop(self.child.kill());
                }
                drop(self.child.wait());
            }
            cleanup::forget_process(pid);
        }
    }
}

/// Keeps what the agent says, and passes it on while somebody waits for it.
fn listen(pipe: impl Read, into: &Mutex<String>, said: &Sender<String>) {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        {
            let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
            into.push_str(&line);
            into.push('\n');
        }
        let _ = said.send(line);
    }
}

fn pass_on(pipe: impl Read, to: &Sender<String>) {
    let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
    while lines.next().is_some_and(|line| to.send(line).is_ok()) {}
}
