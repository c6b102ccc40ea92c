//! The binary: arguments in, exit code out.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use netverdict::agent;
use netverdict::args::{Cli, Command};
use netverdict::commands::{self, Found, evaluate, explain, lint, reach, state};
use netverdict::config::{self, Read, variables};
use netverdict::settings::Surroundings;
use netverdict::shown::{self, Stderr};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Cli { command } = match read() {
        Ok(cli) => cli,
        Err(config::Error::Usage(usage)) => usage.exit(),
        Err(error) => {
            eprintln!("error: {}", printable(&anyhow::Error::from(error)));
            return ExitCode::from(2);
        }
    };
    log_to_stderr();
    match run(command) {
        Ok(Found::Nothing) => ExitCode::SUCCESS,
        Ok(Found::Something) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", printable(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// 3 when something is lacking that is not given on the command line.
fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(commands::Error::NoAgent { .. }) => 3,
        Some(_) | None => agent::exit_code(error),
    }
}

/// Says what was given and changes nothing.
fn read() -> Result<Cli, config::Error> {
    let Read { cli, mut remarks } = config::command_line(std::env::args_os())?;
    if let Command::Agent(_) = cli.command {
        let names = std::env::vars_os().map(|(name, _)| name);
        remarks.extend(variables::check(names)?);
    }
    for remark in remarks {
        eprintln!("warning: {remark}");
    }
    Ok(cli)
}

fn run(command: Command) -> anyhow::Result<Found> {
    Ok(match command {
        Command::Agent(args) => {
            match args.settings(Surroundings::look()) {
                Ok(settings) => agent::run(settings)?,
                Err(usage) => usage.exit(),
            }
            Found::Nothing
        }
        Command::Evaluate(args) => evaluate::run(*args)?,
        Command::Lint(args) => lint::run(*args)?,
        Command::Explain(args) => explain::run(*args)?,
        Command::Reach(args) => reach::run(*args)?,
        Command::State(args) => state::run(*args)?,
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

/// Names of files and objects are others' text.
fn printable(error: &anyhow::Error) -> String {
    shown::message(&format!("{error:#}"))
}

/// What operators read; `RUST_LOG` narrows or widens it.
fn log_to_stderr() {
    // The client's own warnings tell of streams that end, which is usual and said in our words.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off"));
    let has_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Stderr { has_colour })
        .with_ansi(has_colour)
        .init();
}
