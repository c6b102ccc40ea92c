//! Whether the tests notice when the engine decides wrongly: cargo-mutants plants mistakes one by one in the files
//! that decide, and the suites that judge verdicts must fail. Which files those are, and which mistakes change nothing,
//! is in `.cargo/mutants.toml`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::Context;

use super::tally::Tally;
use crate::recipe;
use crate::shell::{self, House};

const VERSION: &str = "27.1.0";

/// How many mistakes are tried at once; each has a copy of the project, built on its own.
const JOBS: &str = "2";

/// The packages and tests that judge verdicts.
const PACKAGES: [&str; 3] = ["conformance", "fuzz", "node-agent-engine"];
const TESTS: [&str; 8] = [
    "scenarios",
    "evaluation",
    "corpus",
    "sequences",
    "order",
    "past",
    "rules",
    "core",
];
const PROFILE: &str = "mutants";

/// Longest that the tests may take, seconds: many times what they take without a mistake, two builds beside them.
const LIMIT: &str = "180";

/// Most names of survivors in the closing table; all are in the folder that it names.
const MOST_NAMED: usize = 10;

/// Plants the mistakes; one that no test notices is a failure.
pub(super) fn run(house: &House) -> anyhow::Result<Tally> {
    // What fails without a mistake would notice each of them.
    shell::run(&mut judges(house))?;
    let output = house.target.join("mutants");
    fs::create_dir_all(&output).with_context(|| format!("make folder `{}`", output.display()))?;
    // It ends with an error when some survive, and what it says is in its files.
    let ended = shell::succeeds(&mut call(house, &tool()?, &output))?;
    let said = output.join("mutants.out");
    let caught = lines(&said.join("caught.txt"))?.len() + lines(&said.join("timeout.txt"))?.len();
    let survivors = lines(&said.join("missed.txt"))?;
    if !ended && survivors.is_empty() && caught == 0 {
        let why = format!("cargo-mutants failed, see above and `{}`", said.display());
        return Ok(Tally::failed_because(why));
    }
    let mut tally = Tally {
        passed: caught,
        failed: survivors.len(),
        ..Tally::default()
    };
    tally.why.extend(survivors.iter().take(MOST_NAMED).cloned());
    if survivors.len() > MOST_NAMED {
        tally.why.push(format!("and more in {}", said.display()));
    }
    Ok(tally)
}

/// The tests that judge, on what stands here.
fn judges(house: &House) -> Command {
    let mut command = house.cargo();
    command.args(["test", "--profile", PROFILE]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    for test in TESTS {
        command.args(["--test", test]);
    }
    command
}

fn call(house: &House, tool: &Path, output: &Path) -> Command {
    let mut command = Command::new(tool);
    command
        .current_dir(&house.root)
        .args(["mutants", "--package", "node-agent-engine"])
        .args(["--jobs", JOBS, "--colors", "never", "--profile", PROFILE])
        // Its own would run the tests of the mutated package alone.
        .args(["--baseline", "skip", "--timeout", LIMIT])
        .arg("--output")
        .arg(output)
        // That a sequence finds a difference is enough, the smallest one that does is for people.
        .env("PROPTEST_MAX_SHRINK_ITERS", "0");
    for package in PACKAGES {
        command.args(["--test-package", package]);
    }
    for test in TESTS {
        command.arg(format!("--cargo-arg=--test={test}"));
    }
    // The mistakes are planted in a copy of the project, which has nothing beside it.
    if env::var_os("NETVERDICT_SHARED").is_none() {
        command.env("NETVERDICT_SHARED", house.root.join("../shared"));
    }
    command.env_remove("CARGO_TARGET_DIR");
    command
}

/// Finds cargo-mutants, or builds it into the tools' cache.
fn tool() -> anyhow::Result<PathBuf> {
    let folder = recipe::tools_folder().context("neither NETVERDICT_TOOLS nor HOME is set")?;
    let root = folder.join(format!("cargo-mutants-{VERSION}"));
    let tool = root.join("bin/cargo-mutants");
    if !tool.is_file() {
        anstream::eprintln!("mutants: build cargo-mutants {VERSION} into the tools' cache");
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["install", "cargo-mutants", "--locked", "--version", VERSION])
            .arg("--root")
            .arg(&root)
            .env_remove("CARGO_TARGET_DIR");
        shell::run(&mut command)?;
    }
    Ok(tool)
}

/// The lines of a file; none when there is no such file.
fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(file).with_context(|| format!("read `{}`", file.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}
