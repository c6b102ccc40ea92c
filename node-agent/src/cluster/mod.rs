//! The cluster, read from files, which hold what `kubectl get -o yaml` prints, or from an API server.
//!
//! This room reads, compares and watches. What an object means, and whether the API server would take it, is
//! the engine's to say: it comes in as a [`Decode`]. It never judges a connection, and one bad object or file
//! never stops it once it runs.

pub mod api;
mod documents;
mod files;
mod manifests;
mod notice;
mod places;
mod reading;
mod root;
mod still;
mod union;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use node_agent_engine::k8s;
use node_agent_engine::model::Delta;
use serde_json::Value;

pub use files::Files;
pub use manifests::{Manifest, Manifests};
pub use notice::Notice;
pub use places::Place;
pub use reading::Reading;
pub use watch::Watch;

use crate::settings::Validation;
use crate::shown;

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

impl Options {
    /// Lets the engine decode, as strictly as is asked for.
    #[must_use]
    pub fn new(validation: Validation, empty: Empty) -> Self {
        let (validation, refused) = match validation {
            Validation::Skip => (k8s::Validation::Strict, Refused::Skip),
            Validation::Strict => (k8s::Validation::Strict, Refused::Fail),
            Validation::Off => (k8s::Validation::Off, Refused::Skip),
        };
        let options = k8s::Decode {
            validation,
            ..k8s::Decode::default()
        };
        let decode = move |object: &Value| {
            k8s::decode(object, &options)
                .map_err(|rejections| rejections.into_iter().map(Refusal::from).collect())
        };
        Self {
            decode: Box::new(decode),
            refused,
            empty,
        }
    }
}

impl From<k8s::Rejection> for Refusal {
    fn from(rejection: k8s::Rejection) -> Self {
        let k8s::Rejection {
            object,
            field,
            rule,
            message,
        } = rejection;
        Self {
            object,
            field,
            rule: rule.to_owned(),
            message,
        }
    }
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
    #[error("cannot read {}", shown::File(path))]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path given by the user is neither a file nor a folder.
    #[error("{} is neither a file nor a folder", shown::File(path))]
    Special {
        /// The path.
        path: PathBuf,
    },
    /// A folder without content, where content is needed.
    #[error(
        "{} holds nothing to read: no .yaml, .yml or .json file, or no content",
        shown::File(path)
    )]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// A file is neither YAML nor JSON.
    #[error("{} is no YAML or JSON: {}", shown::File(file), shown::text(message))]
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
    /// There is no kubeconfig, and this is no pod.
    #[error(
        "no API server is known: this is no pod with a service account, and there is no kubeconfig ({message}); \
         name one with --kubeconfig FILE or KUBECONFIG"
    )]
    NoKubeconfig {
        /// Why not.
        message: String,
    },
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig: {message}")]
    Kubeconfig {
        /// Why not.
        message: String,
    },
    /// The kubeconfig does not have that context.
    #[error("the kubeconfig has no {}", no_context(wanted.as_deref(), known))]
    Context {
        /// What was asked for; absent when nothing was and none is current.
        wanted: Option<String>,
        /// Those that it has.
        known: String,
    },
    /// The API server cannot be used now.
    #[error("API server {server}: {message}")]
    Server {
        /// Its address.
        server: String,
        /// What is wrong.
        message: String,
    },
    /// Not everything that is needed may be read.
    #[error(
        "the API server forbids to read what is needed (403); add these rules to the ClusterRole:\n{rules}"
    )]
    Forbidden {
        /// The missing rules, as YAML.
        rules: String,
    },
    /// The API server lacks a kind that every newer one has.
    #[error("the API server is too old: it has no {kind}; Kubernetes 1.21 is the oldest that has")]
    TooOld {
        /// The kind.
        kind: String,
    },
    /// The files cannot be watched.
    #[error("cannot watch {}", shown::File(path))]
    Unwatchable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
}

impl Error {
    /// Whether the machine lacks the API server, rather than the input being wrong.
    #[must_use]
    pub fn is_lacking(&self) -> bool {
        match self {
            Self::NoKubeconfig { .. }
            | Self::Server { .. }
            | Self::Forbidden { .. }
            | Self::TooOld { .. } => true,
            Self::Unreadable { .. }
            | Self::Special { .. }
            | Self::Nothing { .. }
            | Self::Malformed { .. }
            | Self::Refused { .. }
            | Self::Kubeconfig { .. }
            | Self::Context { .. }
            | Self::Unwatchable { .. } => false,
        }
    }
}

fn no_context(wanted: Option<&str>, known: &str) -> String {
    match wanted {
        _ if known.is_empty() => "contexts: it names no cluster".to_owned(),
        Some(wanted) => format!("context `{wanted}`; it has: {known}"),
        None => format!("current context; name one with --context: {known}"),
    }
}
