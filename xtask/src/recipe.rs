//! How the kernel programs are built: which tools, where they are found, and the one cargo call.
//!
//! `node-agent/build.rs` and xtask both include this file, so that what `setup` installs is what the build
//! uses. It never installs anything.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of the kernel programs.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The release of bpf-linker that is used.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that bpf-linker is built with; a compiler with a newer one writes bitcode that it cannot read.
pub(crate) const LLVM: u32 = 22;
/// Where Debian's and apt.llvm.org's packages put that LLVM.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// The package of the kernel programs.
pub(crate) const PACKAGE: &str = "node-agent-ebpf";
/// The compiler of Debian's package `rustc-web`.
const PACKAGED_RUSTC: &str = "/usr/bin/rustc";
/// The oldest packaged compiler that knows the edition and the target well enough.
const OLDEST_PACKAGED: (u32, u32) = (1, 86);
/// What a cargo that is called by cargo must not inherit: each of these would change how the kernel
/// programs are compiled, or make the inner cargo wait for the outer one.
const NOT_INHERITED: [&str; 12] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
];

/// A compiler that can build for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// Debian's, with a prebuilt core for the target.
    Packaged,
    /// rustup's nightly, which builds core from `rust-src`.
    Nightly,
}

impl Compiler {
    /// Finds the compiler: the packaged one when it is complete, else the nightly one.
    ///
    /// `NETVERDICT_BPF_COMPILER` (`packaged` or `nightly`) leaves only one of the two to choose from.
    pub(crate) fn find() -> Option<Self> {
        let wanted = env::var("NETVERDICT_BPF_COMPILER").unwrap_or_default();
        if wanted != "nightly" && packaged_is_complete() {
            return Some(Self::Packaged);
        }
        (wanted != "packaged" && nightly_is_complete()).then_some(Self::Nightly)
    }
}

/// One build of the kernel programs.
pub(crate) struct KernelBuild {
    /// Who compiles.
    pub(crate) compiler: Compiler,
    /// The path of bpf-linker.
    pub(crate) linker: PathBuf,
    /// The folder of the workspace.
    pub(crate) workspace: PathBuf,
    /// The build's own target folder.
    pub(crate) target_dir: PathBuf,
    /// Whether the kernel programs can print their own diagnostics.
    pub(crate) with_log: bool,
    /// Compiler flags beyond those that every build has.
    pub(crate) more_flags: Vec<String>,
}

impl KernelBuild {
    /// Builds the kernel programs, cargo's output being ours, and gives the object file's path.
    ///
    /// # Errors
    ///
    /// One line, when cargo does not start or does not succeed.
    pub(crate) fn run(&self) -> Result<PathBuf, String> {
        let status = self
            .command()
            .status()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if !status.success() {
            return Err("the kernel programs do not compile".to_owned());
        }
        Ok(self
            .target_dir
            .join(TARGET)
            .join("bpf")
            .join("netverdict-ebpf"))
    }

    /// Gives the cargo call that builds the kernel programs.
    fn command(&self) -> Command {
        let mut command = match self.compiler {
            Compiler::Packaged => {
                Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            }
            Compiler::Nightly => Command::new("rustup"),
        };
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        match self.compiler {
            Compiler::Packaged => {
                command
                    .arg("build")
                    .env("RUSTC", PACKAGED_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1");
            }
            Compiler::Nightly => {
                command.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]);
                command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
            }
        }
        command.args([
            "--locked",
            "--profile",
            "bpf",
            "--package",
            PACKAGE,
            "--target",
            TARGET,
        ]);
        command
            .arg("--target-dir")
            .arg(&self.target_dir)
            .current_dir(&self.workspace);
        if self.with_log {
            command.args(["--features", "log"]);
        }
        command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        // In order, LLVM leaves each zeroing to a call that writes byte by byte: half of what a drop cost.
        let mut flags = vec![
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        ];
        flags.extend(self.more_flags.iter().cloned());
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        command
    }
}

/// Finds bpf-linker: `NETVERDICT_BPF_LINKER`, else the tools' cache, else `PATH`.
pub(crate) fn find_linker() -> Option<PathBuf> {
    if let Some(named) = env::var_os("NETVERDICT_BPF_LINKER") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    linker_root()
        .map(|root| root.join("bin/bpf-linker"))
        .into_iter()
        .chain(find_in_path("bpf-linker"))
        .find(|path| linker_works(path))
}

/// Tells whether this bpf-linker is of the wanted release and starts (its LLVM may have been removed).
pub(crate) fn linker_works(linker: &Path) -> bool {
    stdout_of(Command::new(linker).arg("--version"))
        .is_some_and(|printed| printed.contains(LINKER_VERSION))
}

/// Gives the folder for bpf-linker in the tools' cache; its name says everything that went into it.
pub(crate) fn linker_root() -> Option<PathBuf> {
    let recipe = format!(
        "bpf-linker-{LINKER_VERSION}-llvm-{LLVM}-{}",
        env::consts::ARCH
    );
    tools_folder().map(|folder| folder.join(recipe))
}

/// Gives the first file of this name in `PATH`, or where administrators' tools are when `PATH` lacks those.
pub(crate) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Gives the tools' cache: `NETVERDICT_TOOLS`, else `netverdict` in the user's cache folder.
pub(crate) fn tools_folder() -> Option<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value: &OsString| !value.is_empty())
            .map(PathBuf::from)
    };
    set("NETVERDICT_TOOLS")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("netverdict")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/netverdict")))
}

fn packaged_is_complete() -> bool {
    let version = stdout_of(Command::new(PACKAGED_RUSTC).arg("--version"));
    version
        .as_deref()
        .and_then(release)
        .is_some_and(|release| release >= OLDEST_PACKAGED)
        && sysroot(Command::new(PACKAGED_RUSTC))
            .is_some_and(|root| root.join("lib/rustlib").join(TARGET).is_dir())
}

fn nightly_is_complete() -> bool {
    let rustc = || {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "rustc"]);
        command
    };
    sysroot(rustc()).is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").is_dir())
        && stdout_of(rustc().arg("-vV"))
            .as_deref()
            .and_then(llvm_of)
            .is_some_and(|llvm| llvm <= LLVM)
}

fn sysroot(mut rustc: Command) -> Option<PathBuf> {
    stdout_of(rustc.args(["--print", "sysroot"])).map(|printed| PathBuf::from(printed.trim()))
}

/// Tells whether a package of this version is of use: of the compilers, not every one is.
pub(crate) fn is_new_enough(package: &str, version: &str) -> bool {
    !package.starts_with("rustc")
        || major_minor(version).is_some_and(|release| release >= OLDEST_PACKAGED)
}

/// Reads major and minor from `rustc 1.96.0 (…)`.
fn release(printed: &str) -> Option<(u32, u32)> {
    major_minor(printed.split_whitespace().nth(1)?)
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Reads the major number from the line `LLVM version: 22.1.4` of `rustc -vV`.
fn llvm_of(printed: &str) -> Option<u32> {
    let version = printed
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

fn stdout_of(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_rustc_prints() {
        assert_eq!(
            release("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"),
            Some((1, 96))
        );
        assert_eq!(release("rustc"), None);
        assert!(is_new_enough("rustc-web", "1.96.0+dfsg1-1~deb12u2"));
        assert!(!is_new_enough("rustc-web", "1.85.0+dfsg3-1~deb12u3"));
        assert_eq!(
            llvm_of("rustc 1.97.0-nightly\nhost: x\nLLVM version: 22.1.4\n"),
            Some(22)
        );
        assert_eq!(llvm_of("rustc 1.97.0-nightly\n"), None);
    }

    #[test]
    fn the_inner_cargo_gets_its_own_flags_and_folder_only() {
        let build = KernelBuild {
            compiler: Compiler::Packaged,
            linker: PathBuf::from("tools/bpf-linker"),
            workspace: PathBuf::from("house"),
            target_dir: PathBuf::from("out/ebpf"),
            with_log: true,
            more_flags: vec!["-Dwarnings".to_owned()],
        };
        let command = build.command();
        let set = |name: &str| {
            let found = command.get_envs().find(|(key, _)| *key == name);
            found
                .and_then(|(_, value)| value)
                .map(|value| value.to_string_lossy().into_owned())
        };
        assert_eq!(set("RUSTC").as_deref(), Some("/usr/bin/rustc"));
        assert_eq!(set("RUSTC_WORKSPACE_WRAPPER"), None);
        assert_eq!(
            set("CARGO_ENCODED_RUSTFLAGS").as_deref(),
            Some(
                "-Cdebuginfo=2\u{1f}-Clink-arg=--btf\u{1f}-Clink-arg=--disable-expand-memcpy-in-order\u{1f}-Dwarnings"
            )
        );
        assert!(command.get_args().any(|argument| argument == "log"));
    }
}
