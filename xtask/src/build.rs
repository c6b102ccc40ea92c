//! `cargo xtask build`: the agent as one file, the kernel programs inside it.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::Found;
use crate::recipe;
use crate::setup::{self, Purpose};
use crate::shell::{self, House};

/// How to build.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Optimize, and leave it in target/release
    #[arg(long)]
    release: bool,
}

/// A build's degree of optimization.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Builds the agent and says where it is.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<Found> {
    let profile = if arguments.release {
        Profile::Release
    } else {
        Profile::Debug
    };
    let binary = agent(house, profile)?;
    anstream::eprintln!("built {}", binary.display());
    Ok(Found::Nothing)
}

/// The C library that is inside a file that needs no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// Made for it.
    Musl,
    /// Where there is no musl to be had: it works, but glibc looks up names only with the files of its own release.
    Glibc,
}

impl Inside {
    /// musl where rustc has it, or rustup brings it.
    fn find(house: &House) -> anyhow::Result<Self> {
        let target = Self::Musl.target();
        let mut rustc = house.rustc();
        let printed = rustc
            .args(["--print", "target-libdir", "--target", &target])
            .output()
            .context("start rustc")?;
        let folder = PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim());
        if folder.is_dir() {
            return Ok(Self::Musl);
        }
        let mut rustup = Command::new("rustup");
        rustup.current_dir(&house.root);
        rustup.args(["target", "add", &target]);
        let is_added = recipe::find_in_path("rustup").is_some() && shell::succeeds(&mut rustup)?;
        Ok(if is_added { Self::Musl } else { Self::Glibc })
    }

    fn target(self) -> String {
        let libc = match self {
            Self::Musl => "musl",
            Self::Glibc => "gnu",
        };
        format!("{}-unknown-linux-{libc}", env::consts::ARCH)
    }

    /// What the build is told beside its target.
    fn variables(self) -> Vec<(String, &'static str)> {
        let target = self.target().replace('-', "_");
        match self {
            Self::Glibc => vec![(
                format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase()),
                "-C target-feature=+crt-static",
            )],
            // The little C that is compiled needs no header of a C library, so the machine's own compiler does; checks
            // that it adds for glibc are left out.
            Self::Musl if recipe::find_in_path("musl-gcc").is_none() => vec![
                (format!("CC_{target}"), "cc"),
                (format!("CFLAGS_{target}"), "-U_FORTIFY_SOURCE"),
            ],
            Self::Musl => Vec::new(),
        }
    }
}

/// Builds the agent as a file that needs no other, without its symbols. Gives its path.
pub(crate) fn static_agent(house: &House) -> anyhow::Result<PathBuf> {
    setup::ensure(&[Purpose::Build])?;
    let inside = Inside::find(house)?;
    let target = inside.target();
    let mut command = house.cargo();
    command
        .args(["build", "--package", "node-agent", "--bin", "netverdict"])
        // With a target named, what runs on this machine while it is built is not static.
        .args(["--release", "--target", &target])
        .envs(inside.variables())
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    shell::run(&mut command)?;
    Ok(house.target.join(target).join("release/netverdict"))
}

/// Builds the agent, after setting up what is missing, and gives the binary's path.
pub(crate) fn agent(house: &House, profile: Profile) -> anyhow::Result<PathBuf> {
    setup::ensure(&[Purpose::Build])?;
    let mut command = house.cargo();
    command.args(["build", "--package", "node-agent", "--bin", "netverdict"]);
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    shell::run(&mut command)?;
    Ok(house.target.join(folder).join("netverdict"))
}
