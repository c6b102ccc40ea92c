//! Where the house stands, and how other programs are called from it.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// The machine lacks something; the text says what, and what to do.
#[derive(Debug)]
pub(crate) struct Lacking(pub(crate) String);

impl fmt::Display for Lacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}

/// The workspace and its target folder.
#[derive(Debug)]
pub(crate) struct House {
    /// The workspace's folder.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// What `cargo metadata` says of the workspace's own packages.
    pub(crate) metadata: serde_json::Value,
}

impl House {
    /// Finds the house by asking cargo.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let mut command = cargo();
        command.args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
            "--manifest-path",
        ]);
        let output = command.arg(manifest).output().context("start cargo")?;
        if !output.status.success() {
            bail!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let metadata: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
        let folder = |name: &str| {
            let path = metadata.get(name).and_then(serde_json::Value::as_str);
            path.map(PathBuf::from)
                .with_context(|| format!("find `{name}` in cargo metadata"))
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
            metadata,
        })
    }

    /// Gives a cargo call that starts in the house and tells tests where the data beside the project is.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        let beside = self.root.join("../shared");
        if env::var_os("NETVERDICT_SHARED").is_none() && beside.is_dir() {
            command.env("NETVERDICT_SHARED", beside);
        }
        command
    }

    /// Gives the rustc that this house's cargo calls.
    pub(crate) fn rustc(&self) -> Command {
        let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.current_dir(&self.root);
        command
    }
}

/// Runs a program to its end, its output being ours; tells whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> anyhow::Result<bool> {
    let status = command
        .status()
        .with_context(|| format!("start {}", shown(command)))?;
    Ok(status.success())
}

/// Runs a program to its end, its output being ours.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    if !succeeds(command)? {
        bail!("`{}` failed, see above", shown(command));
    }
    Ok(())
}

/// Gives a command as somebody would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Tells whether we run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Tells whether CI runs us.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// The cargo that started us, so that all is built by one toolchain.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}
