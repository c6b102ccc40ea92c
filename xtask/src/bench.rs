//! `cargo xtask bench`: what netverdict costs, as a table and as a file.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use comfy_table::Table;
use serde::{Deserialize, Serialize};

use crate::Found;
use crate::build::{self, Profile};
use crate::kwok;
use crate::servers;
use crate::setup::{self, Purpose};
use crate::shell::{self, House, Lacking};

/// How a program that measures is run; its package and name follow.
const RUN: [&str; 4] = ["run", "--quiet", "--release", "--package"];

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The benches to run; all when none is named
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Measure longer where that shows more: ten minutes of truth instead of 90 seconds
    #[arg(long)]
    long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// What the kernel programs cost a packet, against an empty one (root)
    Kernel,
    /// Verdicts, changes and memory of the engine with a large cluster
    Engine,
    /// What the agent costs pods and memory, and how fast it judges and tells (root)
    Line,
    /// Whether what it claims is so, and what it misses, while everything changes (root)
    Truth,
    /// What the agent costs with a large cluster from an API server that only sends, and from a real one (root)
    Cluster,
}

/// The file that a bench leaves.
#[derive(Debug, Deserialize, Serialize)]
struct Report {
    figures: Vec<Figure>,
}

/// One measured figure.
#[derive(Debug, Deserialize, Serialize)]
struct Figure {
    name: String,
    min: f64,
    median: f64,
    max: f64,
    unit: String,
    /// The promise, where there is one: the median is held against it.
    bound: Option<f64>,
    held: Option<bool>,
}

/// Runs the benches; a promise that is not held is something found.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<Found> {
    let benches = if arguments.benches.is_empty() {
        Bench::value_variants()
    } else {
        &arguments.benches
    };
    let mut found = Found::Nothing;
    for bench in benches {
        let report = match bench {
            Bench::Kernel => kernel(house)?,
            Bench::Engine => example(house, "node-agent-engine", "bench_engine")?,
            Bench::Line => line(house)?,
            Bench::Truth => truth(house, arguments.long)?,
            Bench::Cluster => cluster(house)?,
        };
        let name = bench
            .to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default();
        leave(house, &name, &report)?;
        anstream::println!("{}", table(&report));
        if report
            .figures
            .iter()
            .any(|figure| figure.held == Some(false))
        {
            found = Found::Something;
        }
    }
    Ok(found)
}

fn kernel(house: &House) -> anyhow::Result<Report> {
    need_root("the kernel bench loads kernel programs")?;
    setup::ensure(&[Purpose::Build])?;
    example(house, "node-agent", "bench_kernel")
}

/// Runs a package's example that prints figures.
fn example(house: &House, package: &str, name: &str) -> anyhow::Result<Report> {
    let mut command = house.cargo();
    figures(command.args(RUN).args([package, "--example", name]))
}

fn line(house: &House) -> anyhow::Result<Report> {
    need_root("the line bench makes network namespaces and loads kernel programs")?;
    setup::ensure(&[Purpose::Build, Purpose::Namespaces])?;
    let agent = build::agent(house, Profile::Release)?;
    let mut all = example(house, "node-agent", "bench_replay")?;
    let mut live = house.cargo();
    live.args(RUN).args(["netns", "--bin", "bench"]);
    all.figures
        .extend(figures(live.env("NETVERDICT_BIN", agent))?.figures);
    Ok(all)
}

fn truth(house: &House, long: bool) -> anyhow::Result<Report> {
    need_root("the bench of truth makes network namespaces and loads kernel programs")?;
    setup::ensure(&[Purpose::Build, Purpose::Namespaces])?;
    let agent = build::agent(house, Profile::Release)?;
    let mut command = house.cargo();
    command.args(RUN).args(["netns", "--bin", "truth", "--"]);
    command.args(long.then_some("--long"));
    figures(command.env("NETVERDICT_BIN", agent))
}

fn cluster(house: &House) -> anyhow::Result<Report> {
    need_root("the cluster bench makes a network namespace and loads kernel programs")?;
    setup::ensure(&[
        Purpose::Build,
        Purpose::Namespaces,
        Purpose::Servers,
        Purpose::Kwok,
    ])?;
    // What is deployed: the C library is most of what an agent with few pods takes.
    let agent = build::static_agent(house)?;
    let mut command = house.cargo();
    command.args(RUN).args(["cluster", "--bin", "scale"]);
    match (servers::find(), kwok::find()) {
        (Some(servers), Some(kwok)) => {
            command.env("NETVERDICT_SERVERS", servers);
            command.env("NETVERDICT_KWOK", kwok);
        }
        _ => anstream::eprintln!(
            "bench: no figures from a real API server: that needs {} and {}, and Go (https://go.dev/dl) to build them",
            servers::title(),
            kwok::title()
        ),
    }
    figures(command.env("NETVERDICT_BIN", agent))
}

fn need_root(why: &str) -> anyhow::Result<()> {
    if shell::is_root() {
        return Ok(());
    }
    Err(Lacking(format!("{why}: run it as root")).into())
}

/// Runs a program that prints figures.
fn figures(command: &mut Command) -> anyhow::Result<Report> {
    let shown = shell::shown(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}, see above", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("read the figures of `{shown}`"))
}

fn leave(house: &House, name: &str, report: &Report) -> anyhow::Result<()> {
    let folder = house.target.join("bench");
    let file = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(report).context("write figures")?;
    fs::create_dir_all(&folder).with_context(|| format!("make folder `{}`", folder.display()))?;
    fs::write(&file, text + "\n").with_context(|| format!("write `{}`", file.display()))?;
    anstream::eprintln!("bench: figures are in {}", file.display());
    Ok(())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["figure", "median", "min", "max", "unit", "bound", "held"]);
    for Figure {
        name,
        min,
        median,
        max,
        unit,
        bound,
        held,
    } in &report.figures
    {
        let held = match held {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let number = |value: &f64| match value.abs() {
            small if small < 10.0 => format!("{value:.3}"),
            _ => format!("{value:.1}"),
        };
        let bound = bound.as_ref().map(number).unwrap_or_default();
        table.add_row([
            name.clone(),
            number(median),
            number(min),
            number(max),
            unit.clone(),
            bound,
            held.to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_contract_names_them() {
        let text = r#"{"figures":[
            {"name":"ack","min":0.5,"median":1,"max":3,"unit":"ns","bound":3,"held":true},
            {"name":"empty","min":20,"median":21,"max":25,"unit":"ns","bound":null,"held":null}]}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        let printed = table(&report).to_string();
        assert!(
            printed
                .lines()
                .nth(1)
                .is_some_and(|line| line.contains("1.000") && line.contains("yes")),
            "{printed}"
        );
        assert_eq!(report.figures.len(), 2);
    }
}
