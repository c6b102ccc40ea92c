//! The demo: a node of network namespaces, real connections, and what netverdict says about them.

mod stage;
mod story;
mod summary;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anstream::{eprintln, println};
use anyhow::{Context, ensure};
use clap::Parser;
use netns::agent::{Agent, Setup};
use netns::{cleanup, paths};
use owo_colors::OwoColorize;

use crate::stage::Stage;

/// Shows netverdict on real packets, on a node made of network namespaces.
///
/// Needs root. Touches no interface, route or firewall rule of this machine, and removes everything it made.
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary `netverdict` [default: the one built beside this program]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Where the records go; manifests and rules are put beside it
    #[arg(long, value_name = "FILE", default_value = "target/demo/records.jsonl")]
    output: PathBuf,
    /// Leave everything up after the story, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Only remove what a killed demo left behind
    #[arg(long)]
    clean: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        // Whoever reads the signals removes everything and ends the process.
        Err(_) if cleanup::is_interrupted() => loop {
            std::thread::park();
        },
        Err(error) => {
            cleanup::undo_all();
            eprintln!("{} {error:#}", "demo:".red().bold());
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "it makes network namespaces: run it as root"
    );
    let swept = cleanup::sweep(stage::PREFIX)?;
    if arguments.clean {
        match swept.len() {
            0 => println!("Nothing was left behind."),
            count => println!("Removed {count} network namespaces."),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let binary = match &arguments.agent {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("find the agent `{}`", path.display()))?,
        None => paths::agent()?,
    };
    let began = Instant::now();
    println!("{}", "netverdict demo".bold());
    println!("{}", stage::INTRODUCTION);
    let mut stage = Stage::new(&arguments.output)?;
    let mut agent = Agent::start(&Setup::new(&binary, &stage.cluster), stage.node())?;
    stage.fill()?;
    println!(
        "{}",
        format!(
            "Up and watching after {:.1} s.\n",
            began.elapsed().as_secs_f64()
        )
        .dimmed()
    );

    let mut told = story::Told::new(&arguments.output)?;
    let outcome = story::tell(&stage, &mut agent, &mut told)?;
    println!("{}", summary::table(&outcome));
    println!("{}", summary::counts(&outcome).bold());
    let elapsed = began.elapsed().as_secs_f64();
    println!(
        "{} records in {} ({elapsed:.1} s)",
        told.records().len(),
        arguments.output.display().bold()
    );
    let missing = outcome.missing();
    if arguments.keep {
        println!("\n{}", stage.invitation(&binary));
        while let Some(record) = agent.next(Duration::from_secs(24 * 3600))? {
            told.tell(record)?;
        }
    } else {
        told.take_rest(agent.stop()?.records)?;
        println!("{}", "To explore: the same with --keep.".dimmed());
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("\n{}", "The story did not go as it should:".red().bold());
    for line in missing {
        eprintln!("  {line}");
    }
    Ok(ExitCode::FAILURE)
}
