//! One network namespace: made, entered, configured, removed.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cleanup;

/// A network namespace that is removed when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes several at once; a name that exists already is an error.
    ///
    /// # Errors
    /// When a namespace cannot be made, as without root.
    pub fn create(names: Vec<String>) -> anyhow::Result<Vec<Self>> {
        if !rustix::process::geteuid().is_root() {
            bail!("network namespaces need root: run it with sudo");
        }
        cleanup::watch_signals()?;
        let batch: String = names
            .iter()
            .map(|name| format!("netns add {name}\n"))
            .collect();
        let namespaces = names
            .into_iter()
            .map(|name| {
                cleanup::remember_namespace(&name);
                Self { name }
            })
            .collect();
        feed(Command::new("ip").args(["-batch", "-"]), &batch)?;
        Ok(namespaces)
    }

    /// Names the one that a process is in; it stays when this is dropped, and only the name goes.
    ///
    /// # Errors
    /// When there is no such process, or the name is taken.
    pub fn of(name: &str, pid: u32) -> anyhow::Result<Self> {
        feed(
            Command::new("ip").args(["-batch", "-"]),
            &format!("netns attach {name} {pid}\n"),
        )?;
        cleanup::remember_namespace(name);
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// Its name, as in `ip netns exec NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The words that run a command in it; `ip netns exec` hides the machine's cgroups.
    #[must_use]
    pub fn exec(&self, sees_cgroups: bool) -> Vec<String> {
        if sees_cgroups {
            return vec![
                "nsenter".to_owned(),
                format!("--net=/run/netns/{}", self.name),
            ];
        }
        ["ip", "netns", "exec", &self.name]
            .map(str::to_owned)
            .to_vec()
    }

    /// Runs lines of iproute2 in it, without the leading `ip`.
    ///
    /// # Errors
    /// When iproute2 refuses one; the message is its own.
    pub fn ip(&self, lines: &str) -> anyhow::Result<()> {
        feed(
            Command::new("ip").args(["-n", &self.name, "-batch", "-"]),
            lines,
        )
    }

    /// Loads an nftables file in it, all or nothing.
    ///
    /// # Errors
    /// When nftables refuses it; the message is its own.
    pub fn nft(&self, ruleset: &str) -> anyhow::Result<()> {
        feed(
            Command::new("ip").args(["netns", "exec", &self.name, "nft", "-f", "-"]),
            ruleset,
        )
    }

    /// Runs a command in it and gives back what it prints.
    ///
    /// # Errors
    /// When it cannot be started or fails; the message is its own.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words);
        let output = command.output().context("start `ip netns exec`")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}", words.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes settings below `/proc/sys/net` in it.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        self.enter(|| {
            for (key, value) in settings {
                let file = Path::new("/proc/sys/net").join(key);
                fs::write(&file, value)
                    .with_context(|| format!("write `{value}` to `{}`", file.display()))?;
            }
            Ok(())
        })
    }

    /// Runs `work` in it, on a thread of its own; sockets made there stay there.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` fails or panics.
    pub fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let namespace = self.handle()?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                enter(&namespace).with_context(|| format!("enter namespace `{}`", self.name))?;
                work()
            });
            inside
                .join()
                .unwrap_or_else(|_| Err(anyhow!("panicked in a namespace")))
        })
    }

    /// A handle that stays what it is when the namespace loses its name.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn handle(&self) -> anyhow::Result<OwnedFd> {
        let file = self.file();
        let opened = fs::File::open(&file);
        let opened = opened.with_context(|| format!("open namespace `{}`", file.display()))?;
        Ok(opened.into())
    }

    fn file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

/// Moves this thread into a namespace; the sockets that it makes there stay there.
///
/// # Errors
/// When the kernel refuses it, as without root.
pub fn enter(namespace: &OwnedFd) -> rustix::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if cleanup::forget_namespace(&self.name) {
            cleanup::remove_namespace(&self.name);
        }
    }
}

/// Runs a tool with `text` on its stdin.
fn feed(command: &mut Command, text: &str) -> anyhow::Result<()> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{tool}` (packages iproute2 and nftables)"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that stops reading says why on stderr.
        drop(stdin.write_all(text.as_bytes()));
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("wait for `{tool}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{tool}` refused: {}\nits input was:\n{text}", said.trim());
    }
    Ok(())
}
