//! What the command line answers without hooks: parse, ask the engine, print.
//!
//! Nothing is decided here, and nothing is printed before everything that was given could be read. Results go
//! to stdout, all else to stderr.

pub mod connections;
mod ends;
pub mod evaluate;
pub mod explain;
mod inline;
mod input;
mod isolating;
pub mod lint;
mod names;
mod print;
pub mod reach;
mod records;
mod source;
pub mod state;

use std::io;
use std::path::PathBuf;

use crate::cluster;
use crate::shown;

/// What a command says by its exit code when it could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that was looked for: exit code 0.
    Nothing,
    /// Something that was looked for: exit code 1.
    Something,
}

impl Found {
    /// Something, once it is.
    fn or(self, is_something: bool) -> Self {
        if is_something { Self::Something } else { self }
    }
}

/// Why a command cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster cannot be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A file cannot be read.
    #[error("cannot read {}", shown::File(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A connection makes no sense, or not in this cluster.
    #[error("{place}: {problem}")]
    Connection {
        /// Where it was written.
        place: connections::Place,
        /// What is wrong with it.
        problem: connections::Problem,
    },
    /// A list of connections without any: a test that expects nothing would pass whatever policies say.
    #[error("{} holds no connection", shown::File(path))]
    NoConnection {
        /// The file.
        path: PathBuf,
    },
    /// The file of names is not what it should be.
    #[error(
        "{}: {message}; expected {{\"example.org\": [\"192.0.2.1\"]}}",
        shown::File(path)
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No agent answers, or not as it should.
    #[error(
        "no agent answers at `{}` (is one running with `--api-socket`, and is this root?)",
        shown::text(&socket.to_string_lossy())
    )]
    NoAgent {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Results cannot be written.
    #[error("cannot write to stdout")]
    Write {
        /// Why.
        source: io::Error,
    },
}
