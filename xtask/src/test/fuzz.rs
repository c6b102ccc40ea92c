//! How the fuzz targets are built and run: libFuzzer with the stable compiler.
//!
//! The compiler's own instrumentation passes are called by name, so no nightly is needed; address sanitizing,
//! which needs one, would find nothing in code without `unsafe`. `cargo fuzz run --fuzz-dir tests/fuzz
//! --features libfuzzer TARGET` works on the same targets for those who have it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::Extent;
use super::tally::Tally;
use crate::shell::{self, House};

/// What LLVM adds so that libFuzzer sees which code ran and what was compared.
const INSTRUMENTED: [&str; 7] = [
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Most bytes of one input; larger ones are only slower.
const MOST_BYTES: u32 = 4096;

/// Builds every target and runs each for its time.
pub(super) fn run(house: &House, extent: Extent) -> anyhow::Result<Tally> {
    let folder = house.root.join("tests/fuzz");
    let built = build(house)?;
    let mut tally = Tally::default();
    for target in targets(&folder)? {
        let output = call(house, &folder, &built, &target, extent)?
            .output()
            .with_context(|| format!("start fuzz target `{target}`"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            let ran = said.lines().find(|line| line.starts_with("Done "));
            anstream::println!("{target}: {}", ran.unwrap_or("ran"));
            tally.passed += 1;
        } else {
            anstream::eprintln!("{}", without_words(&said));
            tally.failed += 1;
            let kept = kept_in(house, &target);
            tally.why.push(format!(
                "{target} found something: the input is in {}; give it a name in tests/fuzz/corpus/{target}",
                kept.display()
            ));
        }
    }
    Ok(tally)
}

/// Leaves out the words that the fuzzer found useful: hundreds of lines that explain nothing.
fn without_words(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.contains("# Uses: "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Gives the targets by name: one file each.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let sources = folder.join("fuzz_targets");
    let entries =
        fs::read_dir(&sources).with_context(|| format!("read folder `{}`", sources.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.context("read folder of fuzz targets")?.path();
        names.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// Builds in a folder of its own: nothing else is instrumented. Naming the target keeps the flags away from
/// build scripts and procedural macros, which must run without libFuzzer.
fn build(house: &House) -> anyhow::Result<PathBuf> {
    let host = host()?;
    let into = house.target.join("fuzz");
    let mut command = house.cargo();
    command
        .args(["build", "--package", "fuzz", "--bins"])
        .args(["--features", "libfuzzer", "--profile", "fuzz"])
        .args(["--target", &host])
        .arg("--target-dir")
        .arg(&into)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    shell::run(&mut command)?;
    Ok(into.join(host).join("fuzz"))
}

fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("start rustc")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    match printed.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("`rustc -vV` names no host"),
    }
}

/// What is new goes to `target`; the saved corpus, named second, is only read.
fn call(
    house: &House,
    folder: &Path,
    built: &Path,
    target: &str,
    extent: Extent,
) -> anyhow::Result<Command> {
    let found = house.target.join("fuzz/corpus").join(target);
    let kept = kept_in(house, target);
    for folder in [&found, &kept] {
        fs::create_dir_all(folder)
            .with_context(|| format!("make folder `{}`", folder.display()))?;
    }
    let mut command = Command::new(built.join(target));
    command
        .current_dir(&house.root)
        .arg(&found)
        .arg(folder.join("corpus").join(target))
        .arg(format!("-artifact_prefix={}/", kept.display()))
        .arg(format!("-max_len={MOST_BYTES}"))
        .args(["-timeout=20", "-rss_limit_mb=2048"]);
    match extent {
        // The same every time, as far as the machine's speed allows.
        Extent::Usual => command.args(["-seed=1", "-max_total_time=10"]),
        Extent::Long => command.arg("-max_total_time=600"),
    };
    if ["yaml", "objects"].contains(&target) {
        command.arg(format!("-dict={}", folder.join("manifests.dict").display()));
    }
    Ok(command)
}

fn kept_in(house: &House, target: &str) -> PathBuf {
    house.target.join("fuzz/found").join(target)
}
