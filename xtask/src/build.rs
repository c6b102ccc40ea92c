//! `cargo xtask build`: the agent as one file, the kernel programs inside it.

use std::env;
use std::path::PathBuf;

use clap::Args;

use crate::Found;
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

/// Builds the agent as a file that needs no other: glibc is inside it. Gives its path.
pub(crate) fn static_agent(house: &House) -> anyhow::Result<PathBuf> {
    setup::ensure(&[Purpose::Build])?;
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let flags = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    );
    let mut command = house.cargo();
    command
        .args(["build", "--package", "node-agent", "--bin", "netverdict"])
        // With a target named, what runs on this machine while it is built is not static.
        .args(["--release", "--target", &target])
        .env(flags, "-C target-feature=+crt-static");
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
