//! Kernels of Debian's releases, for the emulated machine: fetched once, kept unpacked in the tools' cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::recipe;
use crate::shell::{self, Lacking};

/// One of Debian's kernels, without what only hardware needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// Its version, as its package's name has it.
    pub(crate) version: &'static str,
    /// The release that it came with.
    release: &'static str,
}

/// Debian 11's: no tcx, no drop reasons, no atomic that returns a value.
pub(crate) const OLDEST: Kernel = Kernel {
    version: "5.10",
    release: "bullseye",
};
/// Debian 12's: drop reasons, and no tcx.
pub(crate) const MIDDLE: Kernel = Kernel {
    version: "6.1",
    release: "bookworm",
};

impl Kernel {
    /// Gives the folder with its `boot` and `lib/modules`.
    pub(crate) fn folder(self) -> anyhow::Result<PathBuf> {
        let tools = recipe::tools_folder()
            .ok_or_else(|| Lacking("neither NETVERDICT_TOOLS nor HOME is set".to_owned()))?;
        Ok(tools.join(format!("linux-{}", self.version)))
    }

    /// Tells whether it was fetched.
    pub(crate) fn is_there(self) -> bool {
        self.folder()
            .is_ok_and(|folder| folder.join("boot").is_dir())
    }

    /// Fetches its package with an apt of its own: the machine's lists and packages stay as they are.
    pub(crate) fn fetch(self) -> anyhow::Result<()> {
        let folder = self.folder()?;
        let work = folder.with_file_name(format!("linux-{}.part", self.version));
        if work.exists() {
            fs::remove_dir_all(&work).context("remove what an earlier try left")?;
        }
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(work.join(part)).context("make a folder for the kernel")?;
        }
        fs::write(work.join("debian.sources"), self.sources()).context("write apt's sources")?;
        shell::run(apt("apt-get", &work).args(["-qq", "update"]))?;
        let name = self.package(&work)?;
        shell::run(apt("apt-get", &work).args(["-qq", "download", &name]))?;
        let package = fs::read_dir(&work)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("find the kernel's package")?;
        let unpacked = work.join("unpacked");
        shell::run(Command::new("dpkg").arg("-x").arg(&package).arg(&unpacked))?;
        fs::rename(&unpacked, &folder).context("keep the kernel")?;
        fs::remove_dir_all(&work).context("clean up")
    }

    /// The newest of its packages.
    fn package(self, work: &Path) -> anyhow::Result<String> {
        let pattern = format!(
            r"^linux-image-{}\.[0-9-]+-cloud-amd64$",
            self.version.replace('.', r"\.")
        );
        let found = apt("apt-cache", work)
            .args(["search", "--names-only", &pattern])
            .output()
            .context("start apt-cache")?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        let numbers = |name: &&str| -> Vec<u32> {
            let parts = name.split(['.', '-']);
            parts.filter_map(|part| part.parse().ok()).collect()
        };
        let names = found.lines().filter_map(|line| line.split(' ').next());
        let newest = names.max_by_key(numbers);
        newest
            .map(str::to_owned)
            .with_context(|| format!("find Debian's kernel {}", self.version))
    }

    /// apt's sources: Debian's archive as this machine reaches it.
    fn sources(self) -> String {
        let here = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
        let mirror = here
            .lines()
            .filter_map(|line| line.strip_prefix("URIs:"))
            .find_map(|uri| uri.trim().strip_suffix("/debian").map(str::to_owned))
            .unwrap_or_else(|| "http://deb.debian.org".to_owned());
        let release = self.release;
        [("debian", ""), ("debian-security", "-security")]
            .map(|(archive, of)| {
                format!(
                    "Types: deb\nURIs: {mirror}/{archive}\nSuites: {release}{of}\nComponents: main\n\
                     Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
                )
            })
            .join("\n")
    }
}

fn apt(program: &str, work: &Path) -> Command {
    let mut command = Command::new(program);
    for (option, value) in [
        ("Dir::Etc::sourcelist", work.join("debian.sources")),
        ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
        ("Dir::State::Lists", work.join("lists")),
        ("Dir::Cache", work.join("cache")),
    ] {
        command.args(["-o", &format!("{option}={}", value.display())]);
    }
    // apt's own user cannot write to a cache in somebody's home.
    command.args(["-o", "APT::Sandbox::User=root"]);
    command.current_dir(work);
    command
}
