//! The cluster, read from files: what `kubectl get -o yaml` prints, in files and folders.
//!
//! This room reads, compares and watches. What an object means, and whether the API server would take it, is
//! the engine's to say: it comes in as a [`Decode`]. It never judges a connection, and one bad object or file
//! never stops it once it runs.

mod documents;
mod files;
mod notice;
mod root;
mod still;
mod union;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use node_agent_engine::model::Delta;
use serde_json::Value;

pub use files::{Files, Reading};
pub use notice::Notice;
pub use watch::Watch;

/// Makes the inner form of one Kubernetes object; empty for a kind that plays no part.
pub type Decode = Box<dyn Fn(&Value) -> Result<Vec<Delta>, Vec<Refusal>> + Send>;

/// Why the API server would not take an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The object, `NetworkPolicy kasm/allow-db`; empty when it has no kind.
    pub object: String,
    /// Path of the field, `spec.egress[0].to[0]`; empty for the object as a whole.
    pub field: String,
    /// Number of the rule it breaks, `V3` or `R43`; empty when there is none.
    pub rule: String,
    /// What is wrong with it.
    pub message: String,
}

/// How files are read.
pub struct Options {
    /// Makes objects of documents; whether it validates is its own matter (`--no-validation`).
    pub decode: Decode,
    /// What a refused object does to the first reading.
    pub refused: Refused,
    /// What it means that there is nothing to read.
    pub empty: Empty,
}

/// What a refused object does to the first reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is skipped, and said.
    Skip,
    /// It ends the reading (`--strict`).
    Fail,
}

/// What it means that a path holds no file of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// Content may come later: the agent waits.
    Wait,
    /// There is nothing to answer from.
    Fail,
}

/// Why the cluster cannot be read, or not be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path given by the user cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path given by the user is neither a file nor a folder.
    #[error("`{}` is neither a file nor a folder", path.display())]
    Special {
        /// The path.
        path: PathBuf,
    },
    /// A folder without content, where content is needed.
    #[error("`{}` holds no .yaml, .yml or .json file", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// A file is neither YAML nor JSON.
    #[error("`{}` is no YAML or JSON: {message}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// An object that the API server would refuse, with `--strict`.
    #[error("{notice}")]
    Refused {
        /// Where, what and why.
        notice: Box<Notice>,
    },
    /// The files cannot be watched.
    #[error("cannot watch `{}`", path.display())]
    Unwatchable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
}
