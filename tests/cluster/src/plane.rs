//! etcd and API servers as child processes.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use netns::child;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::ground::LIMIT;
use crate::{pki, wait};

const ETCD: u16 = 2379;

/// Who may ask, by token, and their groups; `admin` may do everything, the others what tests let them.
const USERS: [(&str, &str); 8] = [
    ("admin", "system:masters"),
    ("nobody", "agents"),
    ("without-namespaces", "agents"),
    ("without-nodes", "agents"),
    ("without-pods", "agents"),
    ("without-services", "agents"),
    ("without-endpointslices", "agents"),
    ("without-networkpolicies", "agents"),
];

/// A flag for a server without controllers: nobody makes accounts for pods.
pub const ALONE: &str = "--disable-admission-plugins=ServiceAccount";

/// Logs what everybody but the admin and the server itself asks for.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, userGroups: ['system:masters']}
  - {level: Metadata}
";

/// A control plane without controllers: what is written stays as it is.
pub struct Plane {
    folder: TempDir,
    programs: PathBuf,
    etcd: Child,
    servers: BTreeMap<u16, Server>,
}

struct Server {
    flags: Vec<String>,
    child: Option<Child>,
}

impl Plane {
    /// Starts etcd; no API server yet.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let programs =
            env::var_os("NETVERDICT_SERVERS").or_else(|| env::var_os("KUBEBUILDER_ASSETS"));
        let programs = programs.map(PathBuf::from).context(
            "NETVERDICT_SERVERS is not set to the folder of etcd and kube-apiserver: run `cargo xtask test cluster`",
        )?;
        let folder = tempfile::tempdir().context("make a folder")?;
        pki::write(folder.path())?;
        let users = USERS.map(|(user, group)| format!("{user},{user},{user},{group}\n"));
        fs::write(folder.path().join("tokens.csv"), users.concat()).context("write tokens")?;
        fs::write(folder.path().join("audit.yaml"), AUDIT).context("write the audit policy")?;
        let etcd = etcd(&programs, folder.path())?;
        let plane = Self {
            folder,
            programs,
            etcd,
            servers: BTreeMap::new(),
        };
        plane.etcd_answers().await?;
        Ok(plane)
    }

    async fn etcd_answers(&self) -> anyhow::Result<()> {
        let answers = async || Ok(self.etcd("/v3/maintenance/status", &json!({})).is_ok());
        wait::until(|| self.log("etcd.log"), answers).await
    }

    /// Keeps what etcd holds now.
    ///
    /// # Errors
    /// When it cannot be copied, or etcd does not come again.
    pub async fn keep(&mut self) -> anyhow::Result<()> {
        self.replace_data("etcd", "kept").await
    }

    /// Lets etcd hold again what it held then. API servers must not run meanwhile: they would not notice.
    ///
    /// # Errors
    /// When nothing was kept, or etcd does not come again.
    pub async fn restore(&mut self) -> anyhow::Result<()> {
        self.replace_data("kept", "etcd").await
    }

    /// Copies a folder to another while etcd is down.
    async fn replace_data(&mut self, from: &str, to: &str) -> anyhow::Result<()> {
        self.etcd.kill().context("kill etcd")?;
        self.etcd.wait().context("wait for etcd")?;
        let [from, to] = [from, to].map(|name| self.folder.path().join(name));
        if to.exists() {
            fs::remove_dir_all(&to).context("remove etcd's data")?;
        }
        let mut copy = Command::new("cp");
        let copied = copy.arg("-a").args([from, to]).status();
        ensure!(copied.context("start `cp`")?.success(), "`cp` failed");
        self.etcd = etcd(&self.programs, self.folder.path())?;
        self.etcd_answers().await
    }

    /// Adds an API server, started by [`Plane::run`]; its flags come after the usual ones.
    pub fn add(&mut self, port: u16, flags: &[&str]) {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self.servers.insert(port, Server { flags, child: None });
    }

    /// Starts an API server without waiting for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&mut self, port: u16) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let file = |name: &str| folder.join(name).display().to_string();
        let log = log(folder, &format!("server-{port}.log"))?;
        let server = self.servers.get_mut(&port).context("no such server")?;
        let child = Command::new(self.programs.join("kube-apiserver"))
            .arg(format!("--secure-port={port}"))
            .arg(format!("--etcd-servers=http://127.0.0.1:{ETCD}"))
            .arg(format!("--cert-dir={}", file("certs")))
            .arg(format!("--tls-cert-file={}", file("server.crt")))
            .arg(format!("--tls-private-key-file={}", file("server.key")))
            .arg(format!(
                "--tls-sni-cert-key={},{}:{}",
                file("expired.crt"),
                file("expired.key"),
                pki::EXPIRED
            ))
            .arg(format!("--token-auth-file={}", file("tokens.csv")))
            .arg(format!(
                "--service-account-key-file={}",
                file("accounts.pub")
            ))
            .arg(format!(
                "--service-account-signing-key-file={}",
                file("accounts.key")
            ))
            .arg(format!("--audit-policy-file={}", file("audit.yaml")))
            .arg(format!("--audit-log-path={}", file(&audit_log(port))))
            .args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--authorization-mode=RBAC",
                "--endpoint-reconciler-type=none",
                "--service-account-issuer=https://netverdict.test",
                "--service-cluster-ip-range=10.43.0.0/16",
            ])
            .args(&server.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start kube-apiserver")?;
        server.child = Some(child);
        Ok(())
    }

    /// Waits until an API server is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn ready(&self, port: u16) -> anyhow::Result<Admin> {
        self.answers(port, "/readyz").await
    }

    /// Waits until an API server answers a request well.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn answers(&self, port: u16, path: &str) -> anyhow::Result<Admin> {
        let admin = self.admin(port).await?;
        let log = || self.log(&format!("server-{port}.log"));
        wait::until(log, async || Ok(admin.text(path).await.is_ok())).await?;
        Ok(admin)
    }

    /// Somebody who may do everything.
    ///
    /// # Errors
    /// When no client can be made.
    pub async fn admin(&self, port: u16) -> anyhow::Result<Admin> {
        Admin::new(&self.kubeconfig("admin", port, None)?).await
    }

    /// Ends an API server as a crash does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, port: u16) -> anyhow::Result<()> {
        let server = self.servers.get_mut(&port).context("no such server")?;
        let mut child = server.child.take().context("the server does not run")?;
        child.kill().context("kill the API server")?;
        child.wait().context("wait for the API server")?;
        Ok(())
    }

    /// Stops an API server without a word to anybody (`STOP`), and lets it go on (`CONT`).
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, port: u16, signal: Signal) -> anyhow::Result<()> {
        let server = self.servers.get(&port);
        let child = server.and_then(|server| server.child.as_ref());
        let pid = child::pid_of(child.context("the server does not run")?)?;
        kill_process(pid, signal).context("signal the API server")
    }

    /// Lets etcd forget everything before now.
    ///
    /// # Errors
    /// When it refuses.
    pub fn compact(&self) -> anyhow::Result<()> {
        let found = self.etcd("/v3/kv/range", &json!({"key": "Lw=="}))?;
        let revision = found
            .pointer("/header/revision")
            .context("find etcd's revision")?;
        self.etcd(
            "/v3/kv/compaction",
            &json!({"revision": revision, "physical": true}),
        )?;
        Ok(())
    }

    /// A kubeconfig for a user, to a port that need not be a server's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(
        &self,
        user: &str,
        port: u16,
        server_name: Option<&str>,
    ) -> anyhow::Result<PathBuf> {
        let name = format!("{user}-{port}-{}", server_name.unwrap_or("plain"));
        self.kubeconfig_by(&name, user, port, server_name)
    }

    /// The same, in a file of that name, for whoever has the token.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_by(
        &self,
        name: &str,
        token: &str,
        port: u16,
        server_name: Option<&str>,
    ) -> anyhow::Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": self.folder.path().join("ca.crt"),
                "tls-server-name": server_name,
            }}],
        });
        let path = self.folder.path().join(name);
        fs::write(&path, config.to_string()).context("write a kubeconfig")?;
        Ok(path)
    }

    /// What a server's audit log says of a user so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit(&self, port: u16, user: &str) -> anyhow::Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.path().join(audit_log(port)))
            .context("read the audit log")?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events = whole.lines().map(serde_json::from_str);
        let events: Vec<Value> = events
            .collect::<Result<_, _>>()
            .context("read the audit log")?;
        Ok(events
            .into_iter()
            .filter(|event| {
                event
                    .pointer("/user/username")
                    .is_some_and(|name| name == user)
            })
            .collect())
    }

    /// Ends everything, and removes what it wrote.
    pub fn end(&mut self) {
        let servers = self.servers.values_mut();
        let children = servers.filter_map(|server| server.child.as_mut());
        for child in children.chain([&mut self.etcd]) {
            drop(child.kill());
            drop(child.wait());
        }
        drop(fs::remove_dir_all(self.folder.path()));
    }

    /// Calls etcd's JSON gateway.
    fn etcd(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", ETCD)).context("reach etcd")?;
        stream.set_read_timeout(Some(LIMIT))?;
        let body = body.to_string();
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("hear etcd")?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("read etcd's answer")?;
        if !head.contains(" 200 ") {
            bail!("etcd answered: {answer}");
        }
        serde_json::from_str(body).context("read etcd's answer")
    }

    /// Where everything is written.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The last lines of a log.
    pub(crate) fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.end();
    }
}

fn etcd(programs: &Path, folder: &Path) -> anyhow::Result<Child> {
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    Command::new(programs.join("etcd"))
        .args(["--unsafe-no-fsync", "--log-level=warn", "--data-dir"])
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &at(ETCD)])
        .args(["--advertise-client-urls", &at(ETCD)])
        .args(["--listen-peer-urls", &at(ETCD + 1)])
        .args(["--initial-advertise-peer-urls", &at(ETCD + 1)])
        .args(["--initial-cluster", &format!("default={}", at(ETCD + 1))])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(folder, "etcd.log")?)
        .spawn()
        .context("start etcd")
}

/// A kubeconfig for a port where nobody encrypts or asks who it is.
#[must_use]
pub fn plain_kubeconfig(port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "anybody"}}],
        "users": [{"name": "anybody", "user": {}}],
        "clusters": [{"name": "test", "cluster": {"server": format!("http://127.0.0.1:{port}")}}]})
}

fn audit_log(port: u16) -> String {
    format!("audit-{port}.log")
}

fn log(folder: &Path, name: &str) -> anyhow::Result<File> {
    let mut options = File::options();
    let file = options.create(true).append(true).open(folder.join(name));
    file.with_context(|| format!("open {name}"))
}
