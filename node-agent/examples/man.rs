//! Writes the man pages into a folder: one for netverdict, one for each of its commands.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("name a folder")?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    clap_mangen::generate_to(netverdict::args::Cli::command(), &folder)
        .with_context(|| format!("write man pages to {}", folder.display()))
}
