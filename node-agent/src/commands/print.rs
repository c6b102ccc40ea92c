//! Standard output: a reader that goes away early is no failure.

use std::io::{self, BufWriter, ErrorKind, Write};

use comfy_table::{Table, presets};
use node_agent_engine::verdict::Decision;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use serde_json::Serializer;

use super::Error;
use crate::shown::{self, Harmless};

/// Standard output until its reader goes away; what follows is dropped.
pub(super) struct Printer {
    /// Absent once nobody reads.
    out: Option<BufWriter<anstream::AutoStream<io::StdoutLock<'static>>>>,
}

impl Printer {
    /// Colours go where a terminal is, and `NO_COLOR` is not set.
    pub(super) fn new() -> Self {
        Self::of(anstream::AutoStream::auto(io::stdout().lock()))
    }

    /// For what has no colours: nobody has to look for them.
    pub(super) fn without_colours() -> Self {
        Self::of(anstream::AutoStream::always_ansi(io::stdout().lock()))
    }

    fn of(out: anstream::AutoStream<io::StdoutLock<'static>>) -> Self {
        Self {
            out: Some(BufWriter::with_capacity(1 << 16, out)),
        }
    }

    /// Writes one line or several, whatever they name made harmless.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Error> {
        self.coloured_line(&shown::lines(text))
    }

    /// Writes a line that has colours; what others wrote of it was made harmless before.
    pub(super) fn coloured_line(&mut self, text: &str) -> Result<(), Error> {
        self.write(|out| writeln!(out, "{text}"))
    }

    /// Writes a table whose first column is a verdict, which gets its colour.
    pub(super) fn table(&mut self, table: &Table) -> Result<(), Error> {
        for line in table.lines() {
            self.coloured_line(&first_word_coloured(line.trim_end()))?;
        }
        Ok(())
    }

    /// Writes a value as one line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.write(|out| {
            value.serialize(&mut Serializer::with_formatter(
                &mut *out,
                Harmless::default(),
            ))?;
            out.write_all(b"\n")
        })
    }

    /// Writes what is made for being shown already.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write(|out| out.write_all(bytes))
    }

    /// Writes what is still in the buffer.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.write(|out| out.flush())
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        match write(out) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                // Dropping it whole would try to write once more.
                if let Some(out) = self.out.take() {
                    let _ = out.into_parts();
                }
                Ok(())
            }
            Err(source) => Err(Error::Write { source }),
        }
    }
}

/// A table without lines, its header in capitals.
pub(super) fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.into_iter().map(str::to_uppercase));
    table
}

/// A table's row: each cell is one line, whatever it names made harmless.
pub(super) fn row(cells: impl IntoIterator<Item = String>) -> Vec<String> {
    let cells = cells.into_iter();
    cells.map(|cell| shown::text(&cell).into_owned()).collect()
}

/// Says on stderr what does not keep the command from its work.
pub(super) fn warn(text: &str) {
    anstream::eprintln!("warning: {}", shown::text(text));
}

/// The word for a decision.
pub(super) fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::Denied => "denied",
        Decision::Unknown => "unknown",
    }
}

/// Only the first word: a pod may well be called `denied`.
fn first_word_coloured(line: &str) -> String {
    let decisions = [Decision::Allowed, Decision::Denied, Decision::Unknown];
    let found = decisions.into_iter().find_map(|decision| {
        let rest = line.trim_start().strip_prefix(word(decision))?;
        rest.starts_with(' ').then_some((decision, rest))
    });
    match found {
        Some((decision, rest)) => format!(" {}{rest}", coloured(decision)),
        None => line.to_owned(),
    }
}

/// The word for a decision, in its colour.
pub(super) fn coloured(decision: Decision) -> String {
    let word = word(decision);
    match decision {
        Decision::Allowed => word.green().to_string(),
        Decision::Denied => word.red().to_string(),
        Decision::Unknown => word.yellow().to_string(),
    }
}
