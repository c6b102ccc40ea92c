//! A machine of one's own to run a node on: mounts that nobody else sees, a network, and cgroups.
//!
//! What the node's parts would write to the real machine (kernel settings, folders of the system) is put in front of
//! it, in this process's own mount namespace.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The root of the node's cgroups, below each hierarchy's own.
pub const CGROUP: &str = "netverdict-node";
/// The node's address.
pub const ADDRESS: &str = "10.99.0.1";

/// What a kubelet and Cilium want of the kernel, and set where it is not so: they find it so, and the machine's own
/// settings stay.
const SETTINGS: [(&str, &str); 8] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/timer_migration", "0"),
    ("kernel/unprivileged_bpf_disabled", "1"),
];

/// Mounts, a network and cgroups, as long as it lives.
pub struct Machine {
    roots: Vec<PathBuf>,
    /// Cgroups are the machine's: one run at a time has them.
    _turn: File,
}

impl Machine {
    /// Makes it of the namespaces that this process is in.
    ///
    /// # Errors
    /// When this machine does not let us, with what it does not.
    pub async fn start() -> anyhow::Result<Self> {
        mounts()?;
        settings()?;
        network()?;
        let lock = env::temp_dir().join("netverdict-node.lock");
        let turn = File::create(&lock).with_context(|| format!("make {}", lock.display()))?;
        turn.lock().context("wait for another run's end")?;
        let machine = Self {
            roots: roots()?,
            _turn: turn,
        };
        // What a run that was killed left.
        machine.end().await?;
        for root in &machine.roots {
            make_cgroup(root).with_context(|| format!("make the cgroup {}", root.display()))?;
        }
        Ok(machine)
    }

    /// Ends whatever runs in the cgroups, and removes them.
    ///
    /// # Errors
    /// When something cannot be ended.
    pub async fn end(&self) -> anyhow::Result<()> {
        for root in &self.roots {
            let what = || format!("{} is empty and gone", root.display());
            wait::until(what, async || {
                for pid in processes(root) {
                    // It may have ended by itself.
                    let _ = kill_process(pid, Signal::KILL);
                }
                remove(root);
                Ok(!root.exists())
            })
            .await?;
        }
        Ok(())
    }
}

/// Runs a program that has to succeed, and gives what it wrote.
///
/// # Errors
/// When it does not.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Splits a command at blanks and runs it.
///
/// # Errors
/// When it does not succeed.
pub fn call(line: &str) -> anyhow::Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command")?;
    run(Command::new(program).args(words))
}

/// Empty folders in front of those where a node's parts keep what they know.
fn mounts() -> anyhow::Result<()> {
    call("mount --make-rshared /")?;
    for folder in ["/var/lib", "/var/log"] {
        call(&format!("mount -t tmpfs tmpfs {folder}"))?;
    }
    fs::create_dir_all("/run/etc/upper").context("make a folder")?;
    fs::create_dir_all("/run/etc/work").context("make a folder")?;
    call(
        "mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc",
    )?;
    call("mount -t bpf bpf /sys/fs/bpf")?;
    Ok(())
}

fn settings() -> anyhow::Result<()> {
    let there = |(name, _): &(&str, &str)| Path::new("/proc/sys").join(name).exists();
    for (name, value) in SETTINGS.into_iter().filter(there) {
        let file = Path::new("/run").join(name.replace('/', "."));
        fs::write(&file, value).with_context(|| format!("write {}", file.display()))?;
        let file = file.display();
        call(&format!("mount --bind {file} /proc/sys/{name}"))?;
    }
    Ok(())
}

/// An interface that leads nowhere has the node's address and the default route.
fn network() -> anyhow::Result<()> {
    for line in [
        "ip link add uplink type bridge",
        &format!("ip address add {ADDRESS}/24 dev uplink"),
        "ip link set uplink up",
        "ip route add default via 10.99.0.254 dev uplink",
    ] {
        call(line)?;
    }
    for name in ["ipv4/ip_forward", "bridge/bridge-nf-call-iptables"] {
        let file = Path::new("/proc/sys/net").join(name);
        fs::write(&file, "1").with_context(|| format!("switch {} on", file.display()))?;
    }
    Ok(())
}

/// The node's root in each hierarchy: one of version 2, or several of version 1.
fn roots() -> anyhow::Result<Vec<PathBuf>> {
    let top = Path::new(CGROUPS);
    if top.join("cgroup.controllers").exists() {
        return Ok(vec![top.join(CGROUP)]);
    }
    let mut roots = Vec::new();
    for entry in fs::read_dir(top).context("look for cgroups")? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            roots.push(path.join(CGROUP));
        }
    }
    Ok(roots)
}

/// In version 1 a group has no processors and no memory of its own until it is told.
fn make_cgroup(root: &Path) -> anyhow::Result<()> {
    fs::create_dir(root)?;
    let parent = root.parent().context("a cgroup has a parent")?;
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if root.join(name).exists() && !root.join("cgroup.controllers").exists() {
            fs::copy(parent.join(name), root.join(name))?;
        }
    }
    Ok(())
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

fn processes(root: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(root.join("cgroup.procs")).unwrap_or_default();
    let here = text
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?));
    let below = folders(root)
        .into_iter()
        .flat_map(|folder| processes(&folder));
    here.chain(below).collect()
}

/// Fails as long as somebody is there, and is tried again.
fn remove(root: &Path) {
    for folder in folders(root) {
        remove(&folder);
    }
    let _ = fs::remove_dir(root);
}
