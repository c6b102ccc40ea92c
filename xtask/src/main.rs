//! The house's own commands: set-up, build, demo, tests and checks.
//!
//! `cargo xtask` is the one way in, for people and for CI. Exit codes are those of `netverdict` itself:
//! 0 done, 1 something was found, 2 bad usage, 3 the machine lacks something.

mod bench;
mod build;
mod cilium;
mod debian;
mod demo;
mod image;
mod kernels;
mod kwok;
mod lint;
mod man;
mod node;
mod recipe;
mod servers;
mod setup;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use shell::{House, Lacking};

/// Builds, tests and checks netverdict.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Brings this machine to where everything builds and tests
    Setup(setup::Arguments),
    /// Builds the agent, with the kernel programs inside it
    Build(build::Arguments),
    /// Writes the agent as an OCI archive, without a container engine
    Image(image::Arguments),
    /// Shows netverdict at work on real packets in network namespaces of its own (root)
    Demo(demo::Arguments),
    /// Runs the tests: all of them, or the sorts that are named
    Test(test::Arguments),
    /// Checks format, lints, the rules of the house and dependencies: what CI runs
    Lint,
    /// Checks the rules of the house: dependencies, absences, sizes
    Tidy,
    /// Writes the man pages
    Man(man::Arguments),
    /// Measures what netverdict costs (root)
    Bench(bench::Arguments),
}

/// What a finished task says about what it looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Something,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.task) {
        Ok(Found::Nothing) => ExitCode::SUCCESS,
        Ok(Found::Something) => ExitCode::from(1),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Lacking>() { 3 } else { 2 })
        }
    }
}

fn run(task: Task) -> anyhow::Result<Found> {
    let house = House::find()?;
    match task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Build(arguments) => build::run(&house, &arguments),
        Task::Image(arguments) => image::run(&house, &arguments),
        Task::Demo(arguments) => demo::run(&house, &arguments),
        Task::Test(arguments) => test::run(&house, &arguments),
        Task::Lint => lint::run(&house),
        Task::Tidy => tidy::run(&house),
        Task::Man(arguments) => man::run(&house, &arguments),
        Task::Bench(arguments) => bench::run(&house, &arguments),
    }
}
