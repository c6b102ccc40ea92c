//! Kernels of Debian's releases, for the emulated machine: fetched once, kept unpacked in the tools' cache.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::debian::Archive;
use crate::recipe;
use crate::shell::Lacking;

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

    /// Fetches its package.
    pub(crate) fn fetch(self) -> anyhow::Result<()> {
        let folder = self.folder()?;
        let work = folder.with_file_name(format!("linux-{}.part", self.version));
        let unpacked = work.join("unpacked");
        let archive = Archive::open(work, self.release)?;
        archive.unpack(&[&self.package(&archive)?], &unpacked)?;
        fs::rename(&unpacked, &folder).context("keep the kernel")?;
        archive.close()
    }

    /// The newest of its packages.
    fn package(self, archive: &Archive) -> anyhow::Result<String> {
        let pattern = format!(
            r"^linux-image-{}\.[0-9-]+-cloud-amd64$",
            self.version.replace('.', r"\.")
        );
        let numbers = |name: &String| -> Vec<u32> {
            let parts = name.split(['.', '-']);
            parts.filter_map(|part| part.parse().ok()).collect()
        };
        let newest = archive.search(&pattern)?.into_iter().max_by_key(numbers);
        newest.with_context(|| format!("find Debian's kernel {}", self.version))
    }
}
