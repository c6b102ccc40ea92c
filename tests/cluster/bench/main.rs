//! What the agent costs with a large cluster from an API server that does nothing but send: time until it knows it,
//! memory, processor time while pods change, how soon a change is judged, and the bytes that were asked for.
//!
//! Prints figures as `cargo xtask bench cluster` keeps them.

mod objects;
mod server;

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cluster::ground;
use netns::{child, paths};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use objects::{Objects, Size, event};
use server::Server;

/// The second is what is promised for; what comes with it is in proportion.
const SIZES: [Size; 2] = [
    Size {
        pods: 1_000,
        policies: 100,
    },
    Size {
        pods: 100_000,
        policies: 10_000,
    },
];
/// Most memory at those sizes, MB.
const MOST_MB: [f64; 2] = [30.0, 150.0];
/// How long until a change is judged at the latest, ms.
const JUDGED_MS: f64 = 50.0;
const ROUNDS: usize = 20;
/// Ten changes at a time.
const BURST: usize = 10;
const BETWEEN: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(120);
/// Ticks of processor time a second, as /proc counts them on every Linux.
const TICKS: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    ground::enter()?;
    let mut figures = Vec::new();
    for (size, most) in SIZES.into_iter().zip(MOST_MB) {
        figures.extend(measured(size, most)?);
    }
    println!("{}", json!({ "figures": figures }));
    Ok(())
}

/// An agent, and when it said what.
struct Agent {
    child: Child,
    /// When each record of a changed policy came.
    changed: Receiver<Instant>,
    ready: Receiver<Instant>,
    /// It is read at some time after the start.
    _kubeconfig: NamedTempFile,
}

impl Agent {
    fn start(server: &Server) -> anyhow::Result<Self> {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "users": [{"name": "a", "user": {}}],
            "clusters": [{"name": "a", "cluster": {"server": format!("http://127.0.0.1:{}", server.port)}}]});
        let file = NamedTempFile::new().context("make a kubeconfig")?;
        fs::write(&file, config.to_string()).context("write a kubeconfig")?;
        let mut child = Command::new(paths::agent()?)
            .args(["agent", "--node", "node-1", "--metrics-listen", "off"])
            .args(["--cluster", "kube", "--kubeconfig"])
            .arg(file.path())
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
            _kubeconfig: file,
        })
    }

    fn status(&self, field: &str) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).context("read the agent's status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let kilobytes: f64 = number.context("no such field")?.parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Seconds of processor time.
    fn used(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(path).context("read the agent's times")?;
        let fields = text.rsplit_once(") ").context("no times")?.1;
        let times = fields.split(' ').skip(11).take(2);
        let ticks = times.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / TICKS)
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

fn measured(size: Size, most_mb: f64) -> anyhow::Result<Vec<Value>> {
    let server = Server::start(Objects::new(size))?;
    let alone = source_alone(&server)?;
    server.shared.sent.store(0, Ordering::Relaxed);
    let mut agent = Agent::start(&server)?;
    let ready = agent
        .ready
        .recv_timeout(LIMIT)
        .context("not ready in time")?;
    let asked = server.shared.asked.get().context("nobody asked for pods")?;
    let synced = ready.duration_since(*asked).as_secs_f64();
    let listed = server.shared.sent.load(Ordering::Relaxed);
    let (used, began) = (agent.used()?, Instant::now());
    let mut delays = changes(&server, &agent)?;
    let share = (agent.used()? - used) / began.elapsed().as_secs_f64() * 100.0;
    let (rest, peak) = (agent.status("VmRSS")?, agent.status("VmHWM")?);
    let code = child::end(&mut agent.child, Duration::from_secs(10))?;
    ensure!(code == Some(0), "the agent ended with {code:?}");
    delays.sort_by(f64::total_cmp);
    let pods = size.pods;
    let name = |what: &str| format!("{what}, {pods} pods");
    Ok(vec![
        figure(&name("first question to ready"), &[synced], "s", None),
        figure(&name("the source alone"), &[alone], "s", None),
        figure(&name("bytes asked for"), &[lossy(listed) / 1e6], "MB", None),
        figure(&name("memory"), &[rest], "MB", Some(most_mb)),
        // Part of it is the kernel's types, read at the start.
        figure(&name("memory at its most"), &[peak], "MB", None),
        figure(&name("processor at 100 changes/s"), &[share], "%", None),
        figure(&name("change to record"), &delays, "ms", Some(JUDGED_MS)),
    ])
}

/// How long it takes to send all pods to somebody who throws them away.
fn source_alone(server: &Server) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).context("reach the server")?;
    stream.write_all(b"GET /api/v1/pods?sendInitialEvents=true HTTP/1.1\r\n\r\n")?;
    for line in BufReader::with_capacity(1 << 16, stream).split(b'\n') {
        if line?.starts_with(b"{\"type\":\"BOOKMARK\"") {
            return Ok(began.elapsed().as_secs_f64());
        }
    }
    anyhow::bail!("the list did not end")
}

/// Changes pods, and now and then a policy, of which the agent tells. Gives how long that took each time, ms.
fn changes(server: &Server, agent: &Agent) -> anyhow::Result<Vec<f64>> {
    let shared = &server.shared;
    let size = shared.objects.size;
    let mut delays = Vec::new();
    let mut next = Instant::now();
    for round in 1..=ROUNDS * 5 {
        let mut lines = Vec::new();
        for pod in 0..BURST {
            let number = (round * BURST + pod) * 7919 % size.pods;
            shared.objects.pod("MODIFIED", number, round, &mut lines)?;
        }
        shared.tell("pods", &lines);
        if round % 5 == 0 {
            let mut line = Vec::new();
            event(
                "MODIFIED",
                &shared.objects.policy(round % size.policies, round),
                &mut line,
            )?;
            let told = Instant::now();
            shared.tell("networkpolicies", &line);
            let heard = agent
                .changed
                .recv_timeout(LIMIT)
                .context("no record of a change")?;
            delays.push(heard.duration_since(told).as_secs_f64() * 1000.0);
        }
        next += BETWEEN;
        // The pace is what is measured; meanwhile the agent goes on.
        let left = next.saturating_duration_since(Instant::now());
        let said = agent.ready.recv_timeout(left);
        ensure!(said == Err(RecvTimeoutError::Timeout), "the agent ended");
    }
    Ok(delays)
}

fn lossy(count: u64) -> f64 {
    // Exact up to 2^53.
    count as f64
}

fn figure(name: &str, sorted: &[f64], unit: &str, bound: Option<f64>) -> Value {
    let at = |place: usize| sorted.get(place).copied();
    let median = at(sorted.len() / 2);
    let held = bound.zip(median).map(|(bound, median)| median <= bound);
    json!({"name": name, "min": at(0), "median": median, "max": sorted.last(), "unit": unit,
        "bound": bound, "held": held})
}
