//! One agent against one API server, whichever that is.

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::agent::Agent;

/// How long until a change is judged at the latest, ms.
const JUDGED_MS: f64 = 50.0;
const ROUNDS: usize = 100;
/// A policy changes in each so many rounds.
const WITH_POLICY: usize = 5;
/// Changes at a time.
pub(crate) const BURST: usize = 10;
const BETWEEN: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(120);
/// How often the source is read alone.
const READINGS: usize = 3;

/// An API server with a large cluster in it.
pub(crate) trait Source {
    /// What is said of it in the name of each figure.
    fn name(&self) -> String;

    /// Reads the lists that an agent asks for, and throws them away.
    fn read(&self) -> anyhow::Result<()>;

    /// An agent comes next; gives its kubeconfig.
    fn begin(&mut self) -> anyhow::Result<PathBuf>;

    /// When the agent asked first.
    fn asked(&self) -> Option<Instant>;

    /// Bytes that were sent to the agent so far.
    fn sent(&self) -> u64;

    /// Changes so many pods as come at a time.
    fn change_pods(&self, round: usize) -> anyhow::Result<()>;

    /// Changes a policy.
    fn change_policy(&self, round: usize) -> anyhow::Result<()>;
}

/// What came of the changes.
struct Changes {
    /// From the change of a policy to its record, sorted, ms.
    delays_ms: Vec<f64>,
    /// Changes of pods a second.
    pace: f64,
    /// How much of a core the agent used meanwhile, percent.
    used: f64,
}

pub(crate) fn measured(
    source: &mut impl Source,
    most_mb: Option<f64>,
) -> anyhow::Result<Vec<Value>> {
    let mut alone = Vec::new();
    for _ in 0..READINGS {
        let began = Instant::now();
        source.read()?;
        alone.push(began.elapsed().as_secs_f64());
    }
    alone.sort_by(f64::total_cmp);
    let kubeconfig = source.begin()?;
    let agent = Agent::start(&kubeconfig)?;
    let ready = agent
        .ready
        .recv_timeout(LIMIT)
        .context("not ready in time")?;
    let listed = source.sent();
    let asked = source.asked().context("nobody asked for anything")?;
    let synced = ready.duration_since(asked).as_secs_f64();
    let changes = changes(source, &agent)?;
    let (rest, peak) = (agent.status("VmRSS")?, agent.status("VmHWM")?);
    agent.end()?;
    let of = source.name();
    let name = |what: &str| format!("{what}, {of}");
    Ok(vec![
        figure(&name("first question to ready"), &[synced], "s", None),
        figure(&name("the source alone"), &alone, "s", None),
        figure(&name("bytes asked for"), &[lossy(listed) / 1e6], "MB", None),
        figure(&name("memory"), &[rest], "MB", most_mb),
        // Part of it is the kernel's types, read at the start.
        figure(&name("memory at its most"), &[peak], "MB", None),
        figure(&name("pod changes made"), &[changes.pace], "/s", None),
        figure(
            &name("processor at 100 changes/s"),
            &[changes.used],
            "%",
            None,
        ),
        figure(
            &name("change to record"),
            &changes.delays_ms,
            "ms",
            Some(JUDGED_MS),
        ),
    ])
}

/// Changes pods, and now and then a policy, of which the agent tells.
fn changes(source: &impl Source, agent: &Agent) -> anyhow::Result<Changes> {
    let (used, began) = (agent.used()?, Instant::now());
    let mut delays_ms = Vec::new();
    let mut next = began;
    for round in 1..=ROUNDS {
        source.change_pods(round)?;
        if round % WITH_POLICY == 0 {
            let told = Instant::now();
            source.change_policy(round)?;
            let heard = agent
                .changed
                .recv_timeout(LIMIT)
                .context("no record of a change")?;
            delays_ms.push(heard.duration_since(told).as_secs_f64() * 1000.0);
        }
        next += BETWEEN;
        // The pace is what is measured; meanwhile the agent goes on.
        let left = next.saturating_duration_since(Instant::now());
        let said = agent.ready.recv_timeout(left);
        ensure!(said == Err(RecvTimeoutError::Timeout), "the agent ended");
    }
    delays_ms.sort_by(f64::total_cmp);
    let took = began.elapsed().as_secs_f64();
    Ok(Changes {
        delays_ms,
        pace: lossy(u64::try_from(ROUNDS * BURST)?) / took,
        used: (agent.used()? - used) / took * 100.0,
    })
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
