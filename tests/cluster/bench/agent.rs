//! The agent whose cost is measured.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::{child, paths};

/// Ticks of processor time a second, as /proc counts them on every Linux.
const TICKS: f64 = 100.0;

/// An agent, and when it said what.
pub(crate) struct Agent {
    child: Child,
    /// When each record of a changed policy came.
    pub(crate) changed: Receiver<Instant>,
    pub(crate) ready: Receiver<Instant>,
}

impl Agent {
    /// The kubeconfig is read at some time after the start.
    pub(crate) fn start(kubeconfig: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(paths::agent()?)
            .args(["agent", "--node", "node-1", "--metrics-listen", "off"])
            .args(["--cluster", "kube", "--kubeconfig"])
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the agent")?;
        let ready = heard(child.stderr.take(), |line| line == "ready");
        let changed = heard(child.stdout.take(), |line| {
            line.contains("\"type\":\"policy_change\"")
        });
        Ok(Self {
            child,
            changed,
            ready,
        })
    }

    /// A line of its status in /proc, MB.
    pub(crate) fn status(&self, field: &str) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).context("read the agent's status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let kilobytes: f64 = number.context("no such field")?.parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Seconds of processor time.
    pub(crate) fn used(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(path).context("read the agent's times")?;
        let fields = text.rsplit_once(") ").context("no times")?.1;
        let times = fields.split(' ').skip(11).take(2);
        let ticks = times.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / TICKS)
    }

    /// Ends it, well.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let code = child::end(&mut self.child, Duration::from_secs(10))?;
        ensure!(code == Some(0), "the agent ended with {code:?}");
        Ok(())
    }
}

/// Tells when lines of a sort come.
fn heard(
    pipe: Option<impl Read + Send + 'static>,
    is_it: impl Fn(&str) -> bool + Send + 'static,
) -> Receiver<Instant> {
    let (into, heard) = channel();
    std::thread::spawn(move || {
        let lines = pipe.map(|pipe| BufReader::new(pipe).lines());
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            if is_it(&line) && into.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    heard
}
