//! What the command line means, validated: taken apart completely by those who act on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;

/// How hooks are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attach {
    /// As the kernel allows.
    Auto,
    /// tcx, kernel 6.6 and later.
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Log {
    /// Blocked, unenforced and unexpected drops.
    Problems,
    /// Whatever policy denies.
    Denied,
    /// Every connection.
    All,
}

/// Who enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Found out.
    Auto,
    /// Nothing is known of it.
    Generic,
    /// K3s and others with kube-router's policy controller.
    KubeRouter,
    /// Calico.
    Calico,
    /// Cilium.
    Cilium,
}

/// Where the metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

/// What an object does that the API server would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It is skipped, and said.
    Skip,
    /// It ends the agent before it starts.
    Strict,
    /// It counts, as far as it makes sense.
    Off,
}

impl Validation {
    /// What `--strict` and `--no-validation` ask for.
    #[must_use]
    pub fn of(strict: bool, no_validation: bool) -> Self {
        match (strict, no_validation) {
            (true, _) => Self::Strict,
            (false, true) => Self::Off,
            (false, false) => Self::Skip,
        }
    }
}

/// Where the cluster is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// Files and folders of manifests.
    Files(Vec<PathBuf>),
    /// A Kubernetes API server.
    Api {
        /// File that says where it is, when it is not the usual one or the pod's own account.
        kubeconfig: Option<PathBuf>,
        /// Context in that file, when it is not its current one.
        context: Option<String>,
    },
}

/// A span of time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nanoseconds(pub u64);

/// Where the inputs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This machine.
    Live {
        /// Who tells of the cluster.
        cluster: Cluster,
        /// Where all that is consumed is written.
        record: Option<PathBuf>,
    },
    /// A recording.
    Replay(PathBuf),
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// The end of a file.
    File {
        /// The file.
        path: PathBuf,
        /// When it makes room for a new one; never, if nothing is said.
        rotate: Option<Rotate>,
    },
}

/// When the output file makes room for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// Before it would be larger, bytes.
    pub bytes: u64,
    /// How many old ones are kept.
    pub keep: u32,
}

/// Spans of time that the core works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// Repeats are folded this long at first.
    pub window: Nanoseconds,
    /// A change must have stood this long.
    pub settle: Nanoseconds,
    /// Claims are held this long.
    pub confirm: Nanoseconds,
    /// A new pod's first packets wait this long.
    pub grace: Nanoseconds,
    /// Nothing is claimed after this long without word from the cluster.
    pub stale_after: Nanoseconds,
}

/// What the agent was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the inputs come from.
    pub source: Source,
    /// What refused objects do.
    pub validation: Validation,
    /// This node's name.
    pub node: Arc<str>,
    /// The cluster's name; empty when it has none.
    pub cluster_name: Arc<str>,
    /// Patterns of interface names; empty for every pod's.
    pub interfaces: Vec<String>,
    /// How hooks are attached.
    pub attach: Attach,
    /// The cgroup whose processes' calls are watched; none when absent.
    pub cgroup_root: Option<PathBuf>,
    /// Where records go.
    pub output: Output,
    /// Where the metrics are served.
    pub metrics: Listen,
    /// Where it can be asked; nowhere when absent.
    pub api_socket: Option<PathBuf>,
    /// What is written.
    pub log: Log,
    /// Spans of time.
    pub spans: Spans,
    /// Who enforces.
    pub profile: Profile,
    /// Size of the ring buffer, bytes, when it is not the usual one.
    pub ring_bytes: Option<u32>,
    /// Size of the table of attempts, entries, when it is not the usual one.
    pub attempts: Option<u32>,
}

/// What the machine says about itself, where flags say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The host's name.
    pub host_name: String,
    /// The agent runs in a pod.
    pub in_pod: bool,
}

impl Surroundings {
    /// Asks the machine.
    #[must_use]
    pub fn look() -> Self {
        let host_name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self {
            host_name,
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}
