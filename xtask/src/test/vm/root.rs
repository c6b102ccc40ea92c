//! The machine's files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::kernels::Kernel;
use crate::recipe;
use crate::shell::{self, House};

/// What runs in the machine beside the agent and the test.
const COMMANDS: [&str; 3] = ["ip", "tc", "nft"];
/// What busybox stands for there.
const APPLETS: [&str; 6] = ["sh", "mount", "insmod", "poweroff", "cat", "nsenter"];
/// Modules that the agent's world needs, in the order in which they are loaded.
pub(super) const MODULES: [&str; 9] = [
    "lib/libcrc32c",
    "net/ipv4/netfilter/nf_defrag_ipv4",
    "net/ipv6/netfilter/nf_defrag_ipv6",
    "net/netfilter/nf_conntrack",
    "net/netfilter/nfnetlink",
    "net/netfilter/nf_conntrack_netlink",
    "net/netfilter/nf_tables",
    "net/netfilter/nft_ct",
    "drivers/net/veth",
];
/// Modules without which there are no hooks.
pub(super) const HOOKS: [&str; 2] = ["net/sched/sch_ingress", "net/sched/cls_bpf"];

/// A folder that becomes the machine's root.
pub(super) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Begins with a shell, the network's commands, and the kernel's modules.
    pub(super) fn make(house: &House, kernel: Kernel) -> anyhow::Result<Self> {
        let folder = house.target.join("vm").join(kernel.version);
        if folder.exists() {
            fs::remove_dir_all(&folder).context("remove the last machine")?;
        }
        for name in ["proc", "sys", "dev", "run", "tmp", "modules", "bin"] {
            fs::create_dir_all(folder.join(name)).with_context(|| format!("make /{name}"))?;
        }
        let root = Self { folder };
        for command in COMMANDS.into_iter().chain(["busybox"]) {
            let found = recipe::find_in_path(command);
            let found = found.with_context(|| format!("find `{command}`"))?;
            root.bring(&found, &format!("bin/{command}"))?;
        }
        for applet in APPLETS {
            symlink("busybox", root.folder.join("bin").join(applet)).context("link busybox")?;
        }
        let modules = kernel.folder()?.join("lib/modules");
        let release = fs::read_dir(&modules)?
            .next()
            .context("find the kernel's modules")??;
        for module in MODULES.into_iter().chain(HOOKS) {
            let from = release.path().join("kernel").join(format!("{module}.ko"));
            root.copy(&from, &root.folder.join("modules").join(file(module)))?;
        }
        Ok(root)
    }

    /// Copies a program with the libraries that it needs.
    pub(super) fn bring(&self, program: &Path, to: &str) -> anyhow::Result<()> {
        self.copy(program, &self.folder.join(to))?;
        let output = Command::new("ldd").arg(program).output();
        let output = output.context("start ldd")?;
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            if word.starts_with('/') {
                let library = Path::new(word);
                self.copy(library, &self.folder.join(inside(library)))?;
            }
        }
        Ok(())
    }

    /// Copies a folder with all that is in it.
    pub(super) fn bring_folder(&self, from: &Path, to: impl AsRef<Path>) -> anyhow::Result<()> {
        for entry in fs::read_dir(from).with_context(|| format!("read `{}`", from.display()))? {
            let entry = entry?;
            let (path, to) = (entry.path(), to.as_ref().join(entry.file_name()));
            if path.is_dir() {
                self.bring_folder(&path, to)?;
            } else {
                self.copy(&path, &self.folder.join(to))?;
            }
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make `{}`", folder.display()))?;
        }
        fs::copy(from, to).with_context(|| format!("copy `{}`", from.display()))?;
        Ok(())
    }

    /// The lines that load modules.
    pub(super) fn load(&self, modules: &[&str]) -> String {
        let lines = modules
            .iter()
            .map(|module| format!("insmod /modules/{}\n", file(module)));
        lines.collect()
    }

    /// Makes the machine's image; its first process does what `script` says and turns it off.
    pub(super) fn pack(&self, script: &str) -> anyhow::Result<PathBuf> {
        let init = self.folder.join("init");
        let lines = format!(
            "#!/bin/sh\n\
             export PATH=/bin\n\
             mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /run\n\
             ip link set lo up\n\
             {script}\
             poweroff -f\n"
        );
        fs::write(&init, lines).context("write the first process")?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("make it run")?;
        let mut image = self.folder.clone().into_os_string();
        image.push(".cpio");
        let image = PathBuf::from(image);
        let into = fs::File::create(&image).context("make the machine's image")?;
        let script = "find . | cpio --create --format=newc --quiet";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        shell::run(command.current_dir(&self.folder).stdout(into))?;
        Ok(image)
    }
}

/// The machine's own path for one of this house's.
pub(super) fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn file(module: &str) -> String {
    format!("{}.ko", module.rsplit('/').next().unwrap_or(module))
}
