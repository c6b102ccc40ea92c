//! What netverdict tells the world: JSON lines, metrics, and whether it is well.
//!
//! Everything in a record may come from an attacker (names, labels, kernel text): it goes out only through
//! the serializer and the metrics encoder, which escape it. This room decides nothing: what is written and
//! what is counted comes from the engine.

mod api;
mod batch;
mod file;
mod labels;
mod lines;
mod metrics;
mod ports;
mod process;
mod schema;
mod series;
mod serve;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use node_agent_engine::input::{Port, Span, Stage, Subject};
use node_agent_engine::record::{Connection, Record};

pub use api::{Api, Question, STATE_PATH};
pub use lines::{Lines, Patience};
pub use metrics::Metrics;
pub use schema::SCHEMA_TEXT;
pub use serve::{Health, Server};

/// Why something cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The output file cannot be opened.
    #[error("cannot open output `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Whoever read stdout went away.
    #[error("nobody reads stdout any more")]
    Closed,
    /// The output does not take records, and nobody else says so.
    #[error("cannot write all records: {count} are lost")]
    Unwritten {
        /// How many.
        count: u64,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start writing")]
    Start {
        /// Why.
        source: io::Error,
    },
    /// The address for the metrics cannot be used.
    #[error("cannot listen on `{address}` (--metrics-listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The path for the local socket cannot be used.
    #[error("cannot listen on `{}` (--api-socket)", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The metrics cannot be encoded.
    #[error("cannot encode the metrics")]
    Encode {
        /// Why.
        #[from]
        source: std::fmt::Error,
    },
}

/// Everything that is told.
pub struct Report {
    lines: Lines,
    metrics: Arc<Metrics>,
}

impl Report {
    /// Writes to `lines` and counts in `metrics`.
    #[must_use]
    pub fn new(lines: Lines, metrics: Arc<Metrics>) -> Self {
        Self { lines, metrics }
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// When nobody reads stdout any more.
    pub fn record(&mut self, record: &Record) -> Result<(), Error> {
        self.lines.write(record)
    }

    /// Counts attempts, each once, written or not.
    pub fn counted(&self, connection: &Connection, count: u64, port: Port) {
        self.metrics.connections(connection, count, port);
    }

    /// Counts what was lost.
    pub fn lost(&self, stage: Stage, count: u64) {
        self.metrics.lost(stage, count);
    }

    /// Takes in a span of time.
    pub fn measured(&self, span: Span, ns: u64) {
        self.metrics.measured(span, ns);
    }

    /// Ends the series of what is gone.
    pub fn gone(&self, subject: &Subject) {
        self.metrics.gone(subject);
    }

    /// Hands on what was written since the last time.
    ///
    /// # Errors
    ///
    /// When nobody reads stdout any more.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.lines.flush()
    }

    /// Says that the end begins: what comes now may wait for the reader, a second in all.
    pub fn begin_end(&mut self) {
        self.lines.begin_end(lines::FAREWELL);
    }

    /// Running total of what could not be written: the attempts of a record that counts some, else the record.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lines.lost_total()
    }

    /// Writes what is left, waiting for the reader for what is left of that second.
    ///
    /// # Errors
    ///
    /// When nobody reads stdout any more.
    pub fn finish(self) -> Result<(), Error> {
        self.lines.finish()
    }
}
