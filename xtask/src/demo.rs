//! `cargo xtask demo`: the agent at work on real packets.

use anyhow::Context;
use clap::Args;

use crate::Found;
use crate::build;
use crate::setup::{self, Purpose};
use crate::shell::{self, House, Lacking};

/// How to show it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Leave everything up for exploring, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Sets up what is missing, builds, and runs the demo.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<Found> {
    if !shell::is_root() {
        let why = "the demo makes network namespaces and loads kernel programs: run it as root \
                   (`sudo -E env PATH=\"$PATH\" cargo xtask demo`)";
        return Err(Lacking(why.to_owned()).into());
    }
    setup::ensure(&[Purpose::Build, Purpose::Namespaces])?;
    let agent = build::static_agent(house)?;
    let folder = house.target.join("demo");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("make folder `{}`", folder.display()))?;
    let mut command = house.cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "netns",
        "--bin",
        "demo",
        "--",
    ]);
    command
        .arg("--agent")
        .arg(agent)
        .arg("--output")
        .arg(folder.join("records.jsonl"));
    if arguments.keep {
        command.arg("--keep");
    }
    let ended_well = shell::succeeds(&mut command)?;
    Ok(if ended_well {
        Found::Nothing
    } else {
        Found::Something
    })
}
