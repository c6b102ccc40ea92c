//! Who opened a connection, as a record has it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A process of the reporting node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, as the node counts.
    pub pid: u32,
    /// The name of its command: at most 15 bytes, and the process's own choice.
    pub command: Arc<str>,
    /// The pod that it belongs to, as its cgroup has it; that of a process on its node's network, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ProcessPod>,
    /// The runtime's name of its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<str>>,
}

/// The pod of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPod {
    /// Its namespace; absent for a pod that the cluster has not told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Its name, as `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Its UID.
    pub uid: Arc<str>,
}
