//! How long enforcement takes, against an enforcer whose lag is known: what is measured lies between the last attempt
//! that passed and the first that was stopped.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use netns::agent::{Agent, Setup};
use netns::enforcer::{Mode, Stop, enforce};
use netns::ground::{Ground, LIMIT, is};
use netns::record::Record;
use netns::scenario::{Family, Row};
use netns::traffic::Saw;
use netns::trials;

/// The database, open to everybody, and to nobody.
const OPEN: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: kasm}
spec: {podSelector: {matchLabels: {app: kasm-db}}, policyTypes: [Ingress], ingress: [{}]}
";
const SHUT: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: kasm}
spec: {podSelector: {matchLabels: {app: kasm-db}}, policyTypes: [Ingress]}
";
const DB: &str = "kasm/kasm-db-0";
/// Each is stopped so long after the change.
const LAGS: [(&str, Duration); 3] = [
    ("kasm/kasm-api-0", Duration::from_millis(500)),
    ("kasm/kasm-manager-0", Duration::from_millis(1_000)),
    ("kasm/kasm-agent-0", Duration::from_millis(2_000)),
];
/// When a young pod tries what it may not.
const AGES: [(&str, Duration); 2] = [
    ("kasm/kasm-db-0", Duration::from_millis(200)),
    ("kasm/kasm-proxy-0", Duration::from_millis(1_500)),
];
/// Longer than any lag here: what passes in it is in flux.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two attempts: a client has no more than some hundred ports.
const PAUSE: Duration = Duration::from_millis(20);
/// Clocks are read on both sides of what they measure.
const CLOCKS: f64 = 0.01;

fn main() {
    trials::conclude(Ok(vec![
        trials::test("the enforcement delay is the enforcer's lag", enforcement),
        trials::test("the start window is the pod's age", start_window),
    ]))
}

fn unhurried(ground: &Ground) -> anyhow::Result<Setup> {
    Ok(Setup {
        settle: SETTLE,
        ..ground.setup()?
    })
}

/// Seconds since the epoch, as records have the time.
fn now() -> anyhow::Result<f64> {
    Ok(SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs_f64())
}

fn enforcement() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.write_policies(OPEN)?;
    let mut agent = Agent::start(&unhurried(&ground)?, &ground.node.namespace)?;
    ground.add_pods(&agent, |key| {
        key == DB || LAGS.iter().any(|(pod, _)| *pod == key)
    })?;
    let _servers = ground.servers()?;
    agent.settle()?;
    let rows: Vec<Row> = LAGS
        .iter()
        .map(|(pod, _)| ground.row(pod, DB))
        .collect::<anyhow::Result<_>>()?;
    for row in &rows {
        ensure!(ground.connect(row)? == Saw::Answer, "it is stopped already");
    }
    ground.write_policies(SHUT)?;
    let change = until_changed(&mut agent)?;
    let heard = Instant::now();
    let mut before = (0, 0.0);
    for (index, (pod, lag)) in LAGS.iter().enumerate() {
        let stopped = rows.get(..=index).context("a row for each")?;
        let passed = pass_until(&ground, &mut agent, stopped, heard + *lag)?;
        enforce(
            &ground.node,
            &ground.scenario,
            stopped,
            Family::V4,
            Mode::Everything(Stop::Drop),
        )?;
        let row = rows.get(index).context("a row for each")?;
        let saw = ground.connect(row)?;
        let tried = now()?;
        ensure!(saw == Saw::Nothing, "{pod} saw {saw:?}");
        let (count, sum) = measured(&agent, &ground, before.0 + 1)?;
        let found = sum - before.1;
        let lag = lag.as_secs_f64();
        eprintln!(
            "enforcement delay: lag {lag:.3} s, measured {found:.3} s, error {:+.3} s",
            found - lag
        );
        let (least, most) = (passed - change - CLOCKS, tried - change + CLOCKS);
        ensure!(
            count == before.0 + 1 && (least..most).contains(&found),
            "{pod}: {found} s is not from {least} s to {most} s ({count} are measured)"
        );
        before = (count, sum);
    }
    agent.stop().map(drop)
}

/// Waits for a change of the policies; gives when the agent read it.
fn until_changed(agent: &mut Agent) -> anyhow::Result<f64> {
    let is_change = |record: &Record| record.kind() == "policy_change";
    agent.wait_until(LIMIT, |records| records.iter().any(is_change))?;
    let change = agent.records().iter().find(|record| is_change(record));
    let change = change.context("no change is told of")?;
    let time: jiff::Timestamp = change.text("/time").context("it has no time")?.parse()?;
    Ok(time.as_duration().as_secs_f64())
}

/// Connects by the last of the rows until then; gives when the last attempt began.
fn pass_until(
    ground: &Ground,
    agent: &mut Agent,
    rows: &[Row],
    end: Instant,
) -> anyhow::Result<f64> {
    let row = rows.last().context("a row")?;
    loop {
        let began = now()?;
        ensure!(ground.connect(row)? == Saw::Answer, "it is stopped already");
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(began);
        }
        agent.wait_until(PAUSE.min(left), |_| false)?;
    }
}

/// How many delays are measured, and their sum, as soon as there are so many.
fn measured(agent: &Agent, ground: &Ground, count: u64) -> anyhow::Result<(u64, f64)> {
    let name = "netverdict_enforcement_delay_seconds";
    let end = Instant::now() + LIMIT;
    loop {
        let metrics = agent.metrics(&ground.node.namespace)?;
        let value = |part: &str| {
            let begin = format!("{name}_{part} ");
            let line = metrics.0.lines().find(|line| line.starts_with(&begin))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        let found = value("count").context("no such metric")? as u64;
        let sum = value("sum").context("no such metric")?;
        if found >= count || Instant::now() > end {
            return Ok((found, sum));
        }
    }
}

fn start_window() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = Agent::start(&unhurried(&ground)?, &ground.node.namespace)?;
    let young = "default/debug";
    ground.add_pods(&agent, |key| AGES.iter().any(|(pod, _)| *pod == key))?;
    let _servers = ground.servers()?;
    agent.settle()?;
    let before = Instant::now();
    ground.add_pods(&agent, |key| key == young)?;
    let after = Instant::now();
    let mut brackets = Vec::new();
    for (to, age) in AGES {
        let row = ground.row(young, to)?;
        let left = (before + age).saturating_duration_since(Instant::now());
        agent.wait_until(left, |_| false)?;
        let least = after.elapsed().as_secs_f64() - CLOCKS;
        let saw = ground.connect(&row)?;
        ensure!(saw == Saw::Answer, "{young} saw {saw:?}");
        brackets.push((row, least, before.elapsed().as_secs_f64() + CLOCKS));
    }
    let found = |records: &[Record], row: &Row| {
        let record = records.iter().find(|record| is(record, row))?;
        record.value.pointer("/start_window_s")?.as_f64()
    };
    agent.wait_until(LIMIT, |records| {
        brackets
            .iter()
            .all(|(row, ..)| found(records, row).is_some())
    })?;
    for (row, least, most) in &brackets {
        let found = found(agent.records(), row);
        let lines: Vec<&str> = agent.records().iter().map(|it| it.line.as_str()).collect();
        let found = found.with_context(|| format!("no start window:\n{}", lines.join("\n")))?;
        eprintln!(
            "start window: age {:.3} s, measured {found:.3} s, error {:+.3} s",
            (least + most) / 2.0,
            found - (least + most) / 2.0
        );
        ensure!(
            (*least..*most).contains(&found),
            "{}: {found} s is not from {least} s to {most} s",
            row.to
        );
    }
    agent.stop().map(drop)
}
