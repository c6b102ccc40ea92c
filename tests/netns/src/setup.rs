//! How the agent is started under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::ns::Namespace;

/// Policies count as settled, and claims as confirmed, after this time.
pub const SETTLE: Duration = Duration::from_millis(300);

/// How to start it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// The node that it is told to be.
    pub node: String,
    /// Folder of manifests.
    pub cluster: PathBuf,
    /// Where records go; `-` is read by the test itself.
    pub output: PathBuf,
    /// A command that ends in running the agent's, which is added to its words.
    pub wrapped_in: Vec<String>,
    /// How long a new pod's first packets wait for the cluster.
    pub grace: Duration,
    /// How long policies need to settle and claims to hold.
    pub settle: Duration,
    /// How long repeats of a kind are folded.
    pub window: Duration,
    /// Flags beyond those that every test needs.
    pub flags: Vec<String>,
    /// It sees the machine's cgroups, which `ip netns exec` hides.
    pub sees_cgroups: bool,
    /// What the agent may do.
    pub capabilities: Capabilities,
}

impl Setup {
    /// The flags of every test: everything is written, and no waiting time is longer than it must be.
    #[must_use]
    pub fn new(binary: &Path, cluster: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            node: "node-1".to_owned(),
            cluster: cluster.to_owned(),
            output: PathBuf::from("-"),
            wrapped_in: Vec::new(),
            capabilities: Capabilities::default(),
            grace: SETTLE,
            settle: SETTLE,
            window: Duration::from_secs(1),
            flags: Vec::new(),
            sees_cgroups: false,
        }
    }

    /// The product's own waiting times.
    #[must_use]
    pub fn unhurried(self) -> Self {
        Self {
            grace: Duration::from_secs(2),
            settle: Duration::from_secs(5),
            window: Duration::from_secs(10),
            ..self
        }
    }

    /// Records go to that file instead.
    #[must_use]
    pub fn output(mut self, file: &Path) -> Self {
        self.output = file.to_owned();
        self
    }

    /// The agent, and nobody else, has an empty file system of so many bytes on a folder.
    #[must_use]
    pub fn with_disk(mut self, folder: &Path, bytes: u64) -> Self {
        let mount = format!("mount -t tmpfs -o size={bytes} tmpfs \"$0\" && exec \"$@\"");
        let words = ["unshare", "--mount", "sh", "-c", &mount];
        self.wrapped_in = words.map(str::to_owned).to_vec();
        self.wrapped_in.push(folder.display().to_string());
        self
    }

    /// The agent may read the kernel's symbols, and need not learn them.
    #[must_use]
    pub fn with_symbols(mut self) -> Self {
        self.capabilities.add("syslog");
        self
    }

    /// One more flag, or a flag and its value.
    #[must_use]
    pub fn flag(mut self, words: &[&str]) -> Self {
        self.flags
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(crate) fn command(&self, namespace: &Namespace) -> Command {
        let [settle, grace, window] =
            [self.settle, self.grace, self.window].map(|time| format!("{}ms", time.as_millis()));
        let exec = namespace.exec(self.sees_cgroups);
        let mut words = self.wrapped_in.iter().chain(&exec);
        let mut command = Command::new(words.next().map_or("ip", String::as_str));
        command
            .args(words)
            .args(self.capabilities.words())
            .arg(&self.binary)
            .args(["agent", "--node", &self.node, "--output"])
            .arg(&self.output)
            .args(["--log", "all", "--window", &window, "--settle", &settle])
            .args(["--confirm", &settle, "--grace", &grace])
            .args(["--metrics-listen", "127.0.0.1:0", "--cluster"])
            .arg(&self.cluster)
            .args(&self.flags)
            .env("RUST_LOG", "info,netverdict::capture=debug");
        command
    }
}
