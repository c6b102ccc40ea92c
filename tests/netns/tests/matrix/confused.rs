//! What must never be taken for one another, with the cells and the tests that hold them apart.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, anyhow, ensure};
use netns::paths;
use serde::Deserialize;

use crate::cell::Cell;

const FILE: &str = "matrix/confused.yaml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    this: String,
    that: String,
    /// By mechanism and place.
    #[serde(default)]
    cells: Vec<String>,
    /// By file.
    #[serde(default)]
    tests: BTreeMap<String, Vec<String>>,
}

/// The section of the page.
pub(crate) fn section(files: &[(&str, Vec<Cell>)]) -> anyhow::Result<String> {
    let text = fs::read_to_string(paths::own(FILE)).with_context(|| format!("read `{FILE}`"))?;
    let pairs: Vec<Pair> =
        serde_saphyr::from_str(&text).map_err(|error| anyhow!("`{FILE}`: {error}"))?;
    let mut out = String::from(
        "\n## Never confused\n\nRows above and tests of `tests/netns/tests` that hold apart what looks alike.\n\n\
         | this | and that | held apart by |\n|---|---|---|\n",
    );
    for pair in &pairs {
        let (this, that) = (&pair.this, &pair.that);
        let by = witnesses(pair, files).with_context(|| format!("`{FILE}`: {this}"))?;
        writeln!(out, "| {this} | {that} | {} |", by.join("; "))?;
    }
    Ok(out)
}

/// Each is there.
fn witnesses(pair: &Pair, files: &[(&str, Vec<Cell>)]) -> anyhow::Result<Vec<String>> {
    let mut by = Vec::new();
    for name in &pair.cells {
        let is_it = |cell: &Cell| format!("{}, {}", cell.mechanism, cell.place) == *name;
        let mut cells = files.iter().flat_map(|(_, cells)| cells);
        ensure!(cells.any(is_it), "no cell `{name}`");
        by.push(name.clone());
    }
    for (file, names) in &pair.tests {
        let source = source(file)?;
        for name in names {
            ensure!(
                source.contains(&format!("\"{name}")),
                "no test `{name}` in `{file}`"
            );
            by.push(format!("`{file}`: {name}"));
        }
    }
    ensure!(!by.is_empty(), "nothing holds them apart");
    Ok(by)
}

/// The text of a test, which is a file or a folder.
fn source(test: &str) -> anyhow::Result<String> {
    let tests = paths::own("tests");
    let alone = tests.join(test).with_extension("rs");
    let file = if alone.exists() {
        alone
    } else {
        tests.join(test).join("main.rs")
    };
    fs::read_to_string(&file).with_context(|| format!("read `{}`", file.display()))
}
