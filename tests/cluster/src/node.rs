//! A whole node: controllers, scheduler, container runtime, kubelet and kube-proxy, with an API server beside them.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};

use crate::cilium;
use crate::machine::{self, ADDRESS, CGROUP, Machine};
use crate::plane::Plane;
use crate::wait;

/// The node's name.
pub const NAME: &str = "node-1";
/// The image of the pods, and of what holds their namespaces.
pub const PODS_IMAGE: &str = "localhost/busybox:1";
const PORT: u16 = 6443;
const SOCKET: &str = "/run/containerd/containerd.sock";

/// What joins the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A bridge, with kube-proxy; nobody enforces policies.
    Bridge,
    /// Cilium, which does.
    Cilium(cilium::Datapath),
}

/// A cluster of one node.
pub struct Node {
    plane: Plane,
    machine: Machine,
    /// Folders of programs.
    parts: Vec<PathBuf>,
    kubeconfig: PathBuf,
    children: Vec<(&'static str, Child)>,
}

/// A path that the set-up names in a variable.
///
/// # Errors
/// When it does not.
pub fn named(variable: &str) -> anyhow::Result<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    named.with_context(|| format!("{variable} is not set: run `cargo xtask test cluster`"))
}

impl Node {
    /// Starts it, and waits until it is ready for pods.
    ///
    /// # Errors
    /// When one of its parts does not start, with what that said last.
    pub async fn start(network: Network) -> anyhow::Result<Self> {
        let machine = Machine::start().await?;
        let mut plane = Plane::start().await?;
        let address = format!("--advertise-address={ADDRESS}");
        plane.add(
            PORT,
            &[
                "--bind-address=0.0.0.0",
                &address,
                "--endpoint-reconciler-type=lease",
                "--allow-privileged=true",
                "--kubelet-preferred-address-types=InternalIP",
            ],
        );
        plane.run(PORT)?;
        let mut node = Self {
            kubeconfig: plane.kubeconfig("admin", PORT, None)?,
            parts: vec![named("NETVERDICT_NODE_PARTS")?],
            plane,
            machine,
            children: Vec::new(),
        };
        let plugins = match network {
            Network::Bridge => node.bridge()?,
            Network::Cilium(_) => {
                node.parts.push(cilium::parts()?);
                cilium::plugins(&node)?
            }
        };
        node.runtime(&plugins).await?;
        node.plane.ready(PORT).await?;
        node.controllers()?;
        node.kubelet()?;
        node.proxy()?;
        if let Network::Cilium(datapath) = network {
            cilium::start(&mut node, datapath).await?;
        }
        node.until_ready().await?;
        Ok(node)
    }

    /// Runs kubectl as somebody who may do everything.
    ///
    /// # Errors
    /// When it does not succeed, with what it said.
    pub fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.program("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        machine::run(command.args(words))
    }

    /// Gives kubectl objects to apply.
    ///
    /// # Errors
    /// When it does not succeed, with what it said.
    pub fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = self.plane.folder().join("apply.json");
        fs::write(&file, list.to_string()).context("write objects")?;
        self.kubectl(&["apply", "-f", &file.display().to_string()])?;
        Ok(())
    }

    /// An object as JSON; nothing when it is not there.
    ///
    /// # Errors
    /// When kubectl fails otherwise.
    pub fn get(&self, words: &[&str]) -> anyhow::Result<Value> {
        let words = [&["get", "-o", "json", "--ignore-not-found"], words].concat();
        let text = self.kubectl(&words)?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).context("read what kubectl says")
    }

    /// Imports an image into the runtime.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn import(&self, image: &Path) -> anyhow::Result<String> {
        self.ctr(&["images", "import", &image.display().to_string()])
    }

    /// Calls the runtime.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn ctr(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.program("ctr"));
        machine::run(command.args(["-n", "k8s.io"]).args(words))
    }

    /// What a part said last.
    #[must_use]
    pub fn log(&self, part: &str) -> String {
        self.plane.log(&format!("{part}.log"))
    }

    /// Ends everything, and removes what it made.
    ///
    /// # Errors
    /// When something cannot be ended.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        // The kubelet first: it would start anew what ends.
        for (_, mut child) in self.children.drain(..).rev() {
            drop(child.kill());
            drop(child.wait());
        }
        let ended = self.machine.end().await;
        self.plane.end();
        ended
    }

    /// The file of a part.
    pub(crate) fn program(&self, part: &str) -> PathBuf {
        let files = self.parts.iter().map(|folder| folder.join(part));
        let found = files.into_iter().find(|file| file.is_file());
        found.unwrap_or_else(|| PathBuf::from(part))
    }

    /// Where its parts write what they say.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.plane.folder()
    }

    /// The kubeconfig of somebody who may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn start_part(&mut self, part: &'static str, words: &[String]) -> anyhow::Result<()> {
        let mut command = Command::new(self.program(part));
        command.args(words);
        self.start_command(part, command)
    }

    pub(crate) fn start_command(
        &mut self,
        part: &'static str,
        mut command: Command,
    ) -> anyhow::Result<()> {
        let log = self.plane.folder().join(format!("{part}.log"));
        let log = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::split_paths(&path);
        let path = env::join_paths(self.parts.iter().cloned().chain(path))?;
        let child = command
            // The runtime looks for its shim and for runc there, Cilium for its compiler.
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {part}"))?;
        self.children.push((part, child));
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let file = self.plane.folder().join(name);
        fs::write(&file, text).with_context(|| format!("write {name}"))?;
        Ok(file.display().to_string())
    }

    /// Describes the bridge, and gives the folder of the plugins that make it.
    fn bridge(&self) -> anyhow::Result<PathBuf> {
        let network = json!({"cniVersion": "0.4.0", "name": "test", "plugins": [{
            "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.42.0.0/24"}]]}}]});
        fs::create_dir_all("/etc/cni/net.d").context("make the CNI's folder")?;
        fs::write("/etc/cni/net.d/10-test.conflist", network.to_string())
            .context("write the CNI's configuration")?;
        let bridge = self.program("bridge");
        let folder = bridge.parent().context("find the CNI's plugins")?;
        Ok(folder.to_owned())
    }

    async fn runtime(&mut self, plugins: &Path) -> anyhow::Result<()> {
        let root = self.plane.folder().join("containerd");
        let configuration = format!(
            "version = 2\n\
             root = {root:?}\n\
             state = \"/run/containerd\"\n\
             [grpc]\naddress = {SOCKET:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n\
             sandbox_image = {PODS_IMAGE:?}\n\
             disable_apparmor = true\n\
             restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
             bin_dir = {plugins:?}\n\
             conf_dir = \"/etc/cni/net.d\"\n"
        );
        let file = self.write("containerd.toml", &configuration)?;
        self.start_part("containerd", &["--config".to_owned(), file])?;
        wait::until(
            || self.log("containerd"),
            async || Ok(self.ctr(&["version"]).is_ok()),
        )
        .await?;
        self.import(&named("NETVERDICT_PODS_IMAGE")?)?;
        Ok(())
    }

    fn controllers(&mut self) -> anyhow::Result<()> {
        let folder = self.plane.folder().display().to_string();
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        let common = [kubeconfig, "--leader-elect=false".to_owned()];
        let more = [
            format!("--service-account-private-key-file={folder}/accounts.key"),
            format!("--root-ca-file={folder}/ca.crt"),
            "--allocate-node-cidrs=true".to_owned(),
            "--cluster-cidr=10.42.0.0/16".to_owned(),
            "--service-cluster-ip-range=10.43.0.0/16".to_owned(),
        ];
        let words = [&common[..], &more].concat();
        self.start_part("kube-controller-manager", &words)?;
        self.start_part("kube-scheduler", &common)
    }

    fn kubelet(&mut self) -> anyhow::Result<()> {
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{CGROUP}"), "failCgroupV1": false,
            "failSwapOn": false, "enforceNodeAllocatable": ["pods"],
            "containerRuntimeEndpoint": format!("unix://{SOCKET}"), "resolvConf": "",
            "clusterDomain": "cluster.local", "clusterDNS": ["10.43.0.10"],
            "evictionHard": {"memory.available": "100Mi"}, "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": false, "protectKernelDefaults": true,
        });
        let file = self.write("kubelet.json", &configuration.to_string())?;
        let words = [
            format!("--config={file}"),
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={ADDRESS}"),
        ];
        self.start_part("kubelet", &words)
    }

    fn proxy(&mut self) -> anyhow::Result<()> {
        let configuration = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "mode": "nftables", "clusterCIDR": "10.42.0.0/16", "hostnameOverride": NAME,
            "clientConnection": {"kubeconfig": self.kubeconfig}, "bindAddress": ADDRESS,
            // The machine's own limit stays.
            "conntrack": {"maxPerCore": 0},
        });
        let file = self.write("kube-proxy.json", &configuration.to_string())?;
        self.start_part("kube-proxy", &[format!("--config={file}")])
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let what = || {
            format!(
                "the node is ready; the kubelet said:\n{}",
                self.log("kubelet")
            )
        };
        wait::until(what, async || {
            let node = self.get(&["node", NAME])?;
            let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
            let is_ready =
                |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            Ok(conditions.is_some_and(|conditions| conditions.iter().any(is_ready)))
        })
        .await
    }
}
