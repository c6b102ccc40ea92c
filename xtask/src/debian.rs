//! Debian's packages, fetched with an apt of its own: the machine's lists and packages stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::shell;

/// The packages of one of Debian's releases.
pub(crate) struct Archive {
    /// What apt keeps, and what it has fetched.
    work: PathBuf,
}

impl Archive {
    /// Fetches the lists of a release into a folder, which is emptied before.
    pub(crate) fn open(work: PathBuf, release: &str) -> anyhow::Result<Self> {
        if work.exists() {
            fs::remove_dir_all(&work).context("remove what an earlier try left")?;
        }
        for part in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(work.join(part)).context("make a folder for apt")?;
        }
        fs::write(work.join("debian.sources"), sources(release)).context("write apt's sources")?;
        let archive = Self { work };
        shell::run(archive.apt("apt-get").args(["-qq", "update"]))?;
        Ok(archive)
    }

    /// Gives the names of packages that match a pattern.
    pub(crate) fn search(&self, pattern: &str) -> anyhow::Result<Vec<String>> {
        let found = self
            .apt("apt-cache")
            .args(["search", "--names-only", pattern])
            .output()
            .context("start apt-cache")?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        let names = found.lines().filter_map(|line| line.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Fetches packages, and nothing that they depend on, and unpacks them into a folder.
    pub(crate) fn unpack(&self, names: &[&str], into: &Path) -> anyhow::Result<()> {
        shell::run(self.apt("apt-get").args(["-qq", "download"]).args(names))?;
        for package in fs::read_dir(self.work.join("packages"))? {
            let package = package?.path();
            shell::run(Command::new("dpkg").arg("-x").arg(&package).arg(into))?;
        }
        Ok(())
    }

    /// Removes all but what was unpacked.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.work).context("clean up")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", self.work.join("debian.sources")),
            ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
            ("Dir::State::Lists", self.work.join("lists")),
            ("Dir::Cache", self.work.join("cache")),
        ] {
            command.args(["-o", &format!("{option}={}", value.display())]);
        }
        // apt's own user cannot write to a cache in somebody's home.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.current_dir(self.work.join("packages"));
        command
    }
}

/// apt's sources: Debian's archive as this machine reaches it.
fn sources(release: &str) -> String {
    let here = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
    let mirror = here
        .lines()
        .filter_map(|line| line.strip_prefix("URIs:"))
        .find_map(|uri| uri.trim().strip_suffix("/debian").map(str::to_owned))
        .unwrap_or_else(|| "http://deb.debian.org".to_owned());
    [("debian", ""), ("debian-security", "-security")]
        .map(|(archive, of)| {
            format!(
                "Types: deb\nURIs: {mirror}/{archive}\nSuites: {release}{of}\nComponents: main\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            )
        })
        .join("\n")
}
