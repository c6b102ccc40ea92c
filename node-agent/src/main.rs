//! The binary: arguments in, exit code out.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use netverdict::agent;
use netverdict::args::{Cli, Command};
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
    let ended = match command {
        Command::Agent(args) => match args.settings(Surroundings::look()) {
            Ok(settings) => agent::run(settings),
            Err(usage) => usage.exit(),
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", printable(&error));
            ExitCode::from(agent::exit_code(&error))
        }
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
