//! A small shop in a folder of its own, and the binary asked about it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Who is there: web on 10.0.0.1 and fd00::1, api (two pods of a Deployment), db, a finished job; a node.
pub(crate) const CLUSTER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: api-6d-a
  namespace: shop
  labels: {app: api, pod-template-hash: 6d}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: api-6d, uid: u, controller: true}]
spec: {nodeName: node-1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata:
  name: api-6d-b
  namespace: shop
  labels: {app: api, pod-template-hash: 6d}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: api-6d, uid: u, controller: true}]
spec: {nodeName: node-2, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{name: postgres, containerPort: 5432}]}]}
status: {podIP: 10.0.0.4}
---
apiVersion: v1
kind: Pod
metadata: {name: job-0, namespace: shop, labels: {app: job}}
status: {podIP: 10.0.0.4, phase: Succeeded}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.4, ports: [{port: 55432, targetPort: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.4]}]
ports: [{port: 5432, protocol: TCP}]
"#;

/// Everybody is isolated both ways; api may go to db on postgres, web to the world but for 10.0.0.0/8.
pub(crate) const POLICIES: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: postgres}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 5432}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]
    ports: [{port: 443}]
"#;

/// A folder with a cluster in it.
pub(crate) struct World {
    folder: TempDir,
}

/// What the binary said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn shop() -> Self {
        Self::of(&[("cluster.yaml", CLUSTER), ("policies.yaml", POLICIES)])
    }

    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(world.cluster()).unwrap();
        for (name, text) in files {
            fs::write(world.cluster().join(name), text).unwrap();
        }
        world
    }

    pub(crate) fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// Puts a file beside the cluster.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a command on this cluster, its flags separated by blanks.
    pub(crate) fn run(&self, command: &str, flags: &str) -> Said {
        self.run_with(command, flags, "")
    }

    pub(crate) fn run_with(&self, command: &str, flags: &str, stdin: &str) -> Said {
        let cluster = self.cluster();
        let mut words = vec![
            OsStr::new(command),
            OsStr::new("--cluster"),
            cluster.as_os_str(),
        ];
        words.extend(flags.split_whitespace().map(OsStr::new));
        run(&words, stdin)
    }
}

/// Runs the binary to its end.
pub(crate) fn run(words: &[impl AsRef<OsStr>], stdin: &str) -> Said {
    let mut child = Command::new(binary())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read what it does not need.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    Said {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_netverdict"))
}

impl Said {
    /// It did what it was asked, with this exit code and nothing on stderr.
    #[track_caller]
    pub(crate) fn well(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stderr, "");
        self
    }

    /// It refused: nothing on stdout, and a line with these words on stderr.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        let mut lines = self.stderr.lines();
        let found = lines.any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line says {words:?}:\n{}", self.stderr);
    }

    /// Its lines of JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The folder of shared data: `NETVERDICT_SHARED`, else beside the project.
pub(crate) fn shared() -> PathBuf {
    std::env::var_os("NETVERDICT_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")),
        PathBuf::from,
    )
}
