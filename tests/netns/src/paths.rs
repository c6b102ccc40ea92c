//! Where things are, relative to the project.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The project's root folder.
#[must_use]
pub fn project() -> &'static Path {
    // This package lies two folders below the root.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("."))
}

/// The data beside the project: `NETVERDICT_SHARED`, else `../shared`.
///
/// # Errors
/// When there is no such folder.
pub fn shared() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("NETVERDICT_SHARED")
        .map_or_else(|| project().join("../shared"), PathBuf::from);
    folder.canonicalize().with_context(|| {
        format!(
            "the scenarios are not at `{}`: set NETVERDICT_SHARED to the folder that holds `scenarios`",
            folder.display()
        )
    })
}

/// The binary `netverdict`: `NETVERDICT_BIN`, else the one that was built beside this program.
///
/// # Errors
/// When there is none.
pub fn agent() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("NETVERDICT_BIN") {
        return PathBuf::from(&named)
            .canonicalize()
            .with_context(|| format!("NETVERDICT_BIN is `{}`", Path::new(&named).display()));
    }
    let here = std::env::current_exe().context("find this program's own file")?;
    // Tests lie in `deps`, one folder below the binaries.
    for folder in here.ancestors().skip(1).take(2) {
        let candidate = folder.join("netverdict");
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!(
        "no binary `netverdict`: run `cargo build -p node-agent`, or name one with NETVERDICT_BIN"
    )
}

/// The published JSON Schema of the records.
#[must_use]
pub fn schema() -> PathBuf {
    project().join("node-agent/schema/netverdict-v1.schema.json")
}

/// A file of this package.
#[must_use]
pub fn own(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
