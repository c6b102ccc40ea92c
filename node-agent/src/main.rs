//! The binary: arguments in, exit code out.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use netverdict::agent;
use netverdict::args::{Cli, Command};
use netverdict::commands::{Found, evaluate, explain, lint, reach};
use netverdict::config;
use netverdict::settings::Surroundings;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Cli { command } = match config::command_line(std::env::args_os()) {
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
            ExitCode::from(agent::exit_code(&error))
        }
    }
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

/// Names of files and objects are others' text: what a terminal would obey is shown as its number.
fn printable(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let shown = |letter: char| match letter {
        '\n' | '\t' => letter.to_string(),
        letter if letter.is_control() => letter.escape_unicode().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(shown).collect()
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
