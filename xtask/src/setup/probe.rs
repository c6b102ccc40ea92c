//! What this machine has: a plain value, so that tests can make any machine up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::plan::Purpose;
use crate::cilium;
use crate::kernels;
use crate::kwok;
use crate::node;
use crate::recipe::{self, Compiler};
use crate::servers;
use crate::shell;

/// What set-up needs to know of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Whether we may install packages.
    pub(crate) root: bool,
    /// Its packages.
    pub(crate) packages: Packages,
    /// Whether rustup manages toolchains.
    pub(crate) rustup: Rustup,
    /// Who can compile the kernel programs.
    pub(crate) compiler: Option<Compiler>,
    /// A working bpf-linker.
    pub(crate) linker: Option<PathBuf>,
    /// Whether the LLVM that bpf-linker is built with is installed with its headers.
    pub(crate) llvm: bool,
    /// Command-line tools that were not found.
    pub(crate) missing_tools: Vec<Tool>,
    /// Whether the emulated machine's kernel was fetched.
    pub(crate) kernel: bool,
    /// An API server to test against.
    pub(crate) servers: Built,
    /// A node of a cluster to test on.
    pub(crate) node: Built,
    /// Cilium for such a node.
    pub(crate) cilium: Built,
    /// What fills an API server with pods.
    pub(crate) kwok: Built,
}

/// Whether something is there that is built when it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Built {
    /// It is there.
    Present,
    /// It is not, and there is all to build it with.
    ToBuild,
    /// It is not, and nothing to build it with.
    Absent,
}

impl Built {
    fn of(is_there: bool, can_be_built: bool) -> Self {
        match (is_there, can_be_built) {
            (true, _) => Self::Present,
            (false, true) => Self::ToBuild,
            (false, false) => Self::Absent,
        }
    }

    /// Looks for an API server.
    fn servers() -> Self {
        Self::of(servers::find().is_some(), Self::has_go())
    }

    /// Looks for what fills it.
    fn kwok() -> Self {
        Self::of(kwok::find().is_some(), Self::has_go())
    }

    fn has_go() -> bool {
        recipe::find_in_path("go").is_some()
    }

    /// Looks for a node's parts.
    fn node() -> Self {
        Self::of(node::find().is_some(), node::can_be_built())
    }

    /// Looks for Cilium.
    fn cilium() -> Self {
        Self::of(cilium::find().is_some(), cilium::can_be_built())
    }
}

/// Where packages come from.
#[derive(Clone, Debug)]
pub(crate) enum Packages {
    /// apt, with those of our packages that it can install; none when its lists were never fetched.
    Apt { offered: Vec<String> },
    /// Anything else: we say what is needed, a person installs it.
    Other,
}

/// What rustup has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rustup {
    /// There is no rustup.
    Absent,
    /// rustup, without a nightly.
    Present,
    /// rustup with a nightly, whose sources may be missing.
    WithNightly,
}

/// A command-line tool and its package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The command.
    pub(crate) command: &'static str,
    /// The package that brings it, in Debian and most others.
    pub(crate) package: &'static str,
    /// What it is for.
    pub(crate) purpose: Purpose,
}

/// What the tests in namespaces and the demo call, what libFuzzer is compiled with, and what the emulated machine is
/// started and furnished with.
pub(crate) const TOOLS: [Tool; 8] = [
    Tool {
        command: "nft",
        package: "nftables",
        purpose: Purpose::Namespaces,
    },
    Tool {
        command: "ip",
        package: "iproute2",
        purpose: Purpose::Namespaces,
    },
    Tool {
        command: "iptables-nft",
        package: "iptables",
        purpose: Purpose::Namespaces,
    },
    Tool {
        command: "ipset",
        package: "ipset",
        purpose: Purpose::Namespaces,
    },
    Tool {
        command: "c++",
        package: "g++",
        purpose: Purpose::Fuzz,
    },
    Tool {
        command: "qemu-system-x86_64",
        package: "qemu-system-x86",
        purpose: Purpose::Emulation,
    },
    Tool {
        command: "cpio",
        package: "cpio",
        purpose: Purpose::Emulation,
    },
    Tool {
        command: "busybox",
        package: "busybox-static",
        purpose: Purpose::Emulation,
    },
];

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        let has_nightly =
            || quietly(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]));
        let rustup = match recipe::find_in_path("rustup") {
            None => Rustup::Absent,
            Some(_) if has_nightly() => Rustup::WithNightly,
            Some(_) => Rustup::Present,
        };
        Self {
            root: shell::is_root(),
            packages: Packages::look(Path::new("/")),
            rustup,
            compiler: Compiler::find(),
            linker: recipe::find_linker(),
            llvm: Path::new(recipe::LLVM_PREFIX)
                .join("bin/llvm-config")
                .is_file(),
            missing_tools: TOOLS
                .into_iter()
                .filter(|tool| recipe::find_in_path(tool.command).is_none())
                .collect(),
            kernel: kernels::OLDEST.is_there(),
            servers: Built::servers(),
            node: Built::node(),
            cilium: Built::cilium(),
            kwok: Built::kwok(),
        }
    }

    /// Says in a few lines what is there.
    pub(crate) fn lines(&self) -> Vec<String> {
        let compiler = match &self.compiler {
            Some(Compiler::Packaged) => "rustc-web with a prebuilt core",
            Some(Compiler::Nightly) => "rustup's nightly with rust-src",
            None => "missing",
        };
        let linker = self
            .linker
            .as_ref()
            .map_or("missing".to_owned(), |path| path.display().to_string());
        let mut lines = vec![
            format!("compiler for {}: {compiler}", recipe::TARGET),
            format!("bpf-linker: {linker}"),
        ];
        for tool in TOOLS {
            let state = if self.missing_tools.contains(&tool) {
                "missing"
            } else {
                "present"
            };
            lines.push(format!("{}: {state}", tool.command));
        }
        let state = if self.kernel { "present" } else { "missing" };
        let version = kernels::OLDEST.version;
        lines.push(format!("Debian's kernel {version}: {state}"));
        let servers = match self.servers {
            Built::Present => "present",
            Built::ToBuild => "missing",
            Built::Absent => {
                "missing, and no Go (https://go.dev/dl) to build them with: the cluster tests are skipped"
            }
        };
        lines.push(format!("{}: {servers}", servers::title()));
        for (title, built) in [(node::title(), self.node), (cilium::title(), self.cilium)] {
            let state = match built {
                Built::Present => "present",
                Built::ToBuild => "missing",
                Built::Absent => {
                    "missing, and no Go (https://go.dev/dl) or no apt to make it with: the tests on it are skipped"
                }
            };
            lines.push(format!("{title}: {state}"));
        }
        lines
    }
}

impl Packages {
    /// Looks below `root`, which is `/` but in tests.
    fn look(root: &Path) -> Self {
        let release = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
        if !is_debian_like(&release) || !root.join("usr/bin/apt-get").is_file() {
            return Self::Other;
        }
        let wanted = super::plan::WANTED
            .into_iter()
            .chain(TOOLS.map(|tool| tool.package));
        let offered = |name: &&str| {
            candidate(name).is_some_and(|version| recipe::is_new_enough(name, &version))
        };
        Self::Apt {
            offered: wanted.filter(offered).map(str::to_owned).collect(),
        }
    }
}

/// Tells whether this `os-release` is Debian's or that of one of its descendants.
fn is_debian_like(release: &str) -> bool {
    release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .any(|id| id == "debian" || id == "ubuntu")
}

/// Gives the version that apt would install.
fn candidate(name: &str) -> Option<String> {
    let output = Command::new("apt-cache")
        .args(["policy", name])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    let version = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

fn quietly(command: &mut Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_descendants_are_told_from_others() {
        assert!(is_debian_like("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian_like("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian_like("NAME=\"not debian\"\nID=fedora\n"));
        assert!(!is_debian_like(""));
    }

    #[test]
    fn a_root_without_apt_is_another_distribution() {
        assert!(matches!(
            Packages::look(Path::new("nowhere")),
            Packages::Other
        ));
    }
}
