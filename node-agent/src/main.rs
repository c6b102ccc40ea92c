//! The binary: arguments in, exit code out.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;
use netverdict::agent;
use netverdict::args::{Cli, Command};
use netverdict::commands::{Found, evaluate, explain, lint, reach};
use netverdict::settings::Surroundings;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    log_to_stderr();
    match run(command) {
        Ok(Found::Nothing) => ExitCode::SUCCESS,
        Ok(Found::Something) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(agent::exit_code(&error))
        }
    }
}

fn run(command: Command) -> anyhow::Result<Found> {
    Ok(match command {
        Command::Agent(args) => {
            agent::run(args.settings(Surroundings::look()))?;
            Found::Nothing
        }
        Command::Evaluate(args) => evaluate::run(*args)?,
        Command::Lint(args) => lint::run(*args)?,
        Command::Explain(args) => explain::run(*args)?,
        Command::Reach(args) => reach::run(*args)?,
        Command::Completions { shell } => completions(shell)?,
    })
}

/// Made in memory first: clap's own writing would not survive a reader that goes away.
fn completions(shell: Shell) -> anyhow::Result<Found> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "netverdict", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Found::Nothing),
    }
}

/// What operators read; `RUST_LOG` narrows or widens it.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let has_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_colour)
        .init();
}
