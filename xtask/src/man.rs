//! `cargo xtask man`: man pages, made from the same descriptions as `--help`.

use std::path::PathBuf;

use anyhow::ensure;

use crate::Found;
use crate::setup::{self, Purpose};
use crate::shell::{self, House};

/// The flags of `cargo xtask man`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder that the pages are written to [default: target/man]
    folder: Option<PathBuf>,
}

/// Writes the pages and says where they are.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<Found> {
    setup::ensure(&[Purpose::Build])?;
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => house.target.join("man"),
    };
    let mut command = house.cargo();
    command
        .args([
            "run",
            "--quiet",
            "--package",
            "node-agent",
            "--example",
            "man",
            "--",
        ])
        .arg(std::path::absolute(&folder)?);
    ensure!(
        shell::succeeds(&mut command)?,
        "the pages could not be written"
    );
    anstream::println!("{}", folder.display());
    Ok(Found::Nothing)
}
