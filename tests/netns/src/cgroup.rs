//! Cgroups of the tests' own, below the machine's root and removed with their owner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::agent::Setup;
use crate::node::TEST_PREFIX;

/// Where cgroups of the second version are, alone or beside those of the first.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// How long the last process of a cgroup may be on its way out.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);

/// A cgroup, removed when dropped.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Where a cgroup of this process's own is, when it is there.
    ///
    /// # Errors
    /// When the machine has no cgroups of the second version.
    pub fn path_of(name: &str) -> anyhow::Result<PathBuf> {
        let own = format!("{TEST_PREFIX}{}-{name}", std::process::id());
        Ok(Self::root()?.join(own))
    }

    fn root() -> anyhow::Result<&'static Path> {
        let is_second = |root: &&Path| root.join("cgroup.controllers").exists();
        let root = ROOTS.map(Path::new).into_iter().find(is_second);
        root.context("no cgroup v2")
    }

    /// Makes a cgroup below the machine's root.
    ///
    /// # Errors
    /// When it is there already, or the kernel refuses it.
    pub fn make(name: &str) -> anyhow::Result<Self> {
        Self::at(Self::path_of(name)?)
    }

    /// Makes a cgroup in this one.
    ///
    /// # Errors
    /// As [`Cgroup::make`].
    pub fn below(&self, name: &str) -> anyhow::Result<Self> {
        Self::at(self.0.join(name))
    }

    /// Makes a cgroup at that place.
    ///
    /// # Errors
    /// As [`Cgroup::make`].
    pub fn at(path: PathBuf) -> anyhow::Result<Self> {
        ensure!(!path.exists(), "`{}` is there already", path.display());
        fs::create_dir(&path).with_context(|| format!("make the cgroup `{}`", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves this process there, until what is given is dropped.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn enter(&self) -> anyhow::Result<Inside<'_>> {
        let own = fs::read_to_string("/proc/self/cgroup").context("read the own cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let root = Self::root()?;
        let was = root.join(own.context("this process is in no cgroup v2")?);
        join(&self.0)?;
        Ok(Inside { was, _of: self })
    }

    /// Opens it, for a program to hang there.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(&self) -> anyhow::Result<File> {
        File::open(&self.0).context("open a cgroup")
    }
}

/// This process is in a cgroup.
#[derive(Debug)]
pub struct Inside<'a> {
    was: PathBuf,
    _of: &'a Cgroup,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // Where that fails the cgroup stays.
        let _ = join(&self.was);
    }
}

fn join(cgroup: &Path) -> anyhow::Result<()> {
    let said = || format!("join the cgroup `{}`", cgroup.display());
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(said)
}

impl Setup {
    /// The agent watches the calls of the processes below a cgroup.
    #[must_use]
    pub fn with_calls(self, root: &Path) -> Self {
        Self {
            sees_cgroups: true,
            ..self.flag(&["--cgroup-root", &root.to_string_lossy()])
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let end = Instant::now() + EMPTY_WITHIN;
        // The kernel says busy until the last process is gone, and nothing tells of that.
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}
