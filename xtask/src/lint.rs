//! `cargo xtask lint`: everything that is checked without running the product.

use std::process::{Command, Stdio};

use crate::recipe::{self, Compiler, KernelBuild};
use crate::setup::{self, Purpose};
use crate::shell::{self, House, Lacking};
use crate::{Found, tidy};

/// Runs all checks, also when an early one finds something.
pub(crate) fn run(house: &House) -> anyhow::Result<Found> {
    ensure_component("rustfmt", "fmt")?;
    ensure_component("clippy", "clippy")?;
    setup::ensure(&[Purpose::Build])?;
    let mut found = Vec::new();
    let mut check = |name: &'static str, holds: bool| {
        if !holds {
            found.push(name);
        }
    };
    check(
        "format",
        shell::succeeds(house.cargo().args(["fmt", "--all", "--check"]))?,
    );
    check(
        "clippy",
        shell::succeeds(
            house
                .cargo()
                .args(["clippy", "--all-targets", "--", "-D", "warnings"]),
        )?,
    );
    check("kernel programs' warnings", kernel_warnings(house)?);
    check("tidy", tidy::run(house)? == Found::Nothing);
    if has_subcommand("deny") {
        let mut command = house.cargo();
        check(
            "dependencies",
            shell::succeeds(command.args(["deny", "check", "bans", "licenses", "sources"]))?,
        );
    } else {
        anstream::eprintln!(
            "lint: dependencies not checked: install it with `cargo install cargo-deny --locked`"
        );
    }
    if found.is_empty() {
        anstream::eprintln!("lint: nothing found");
        return Ok(Found::Nothing);
    }
    anstream::eprintln!("lint: found something: {}", found.join(", "));
    Ok(Found::Something)
}

/// Compiles the kernel programs with warnings as errors; clippy has no core for their target.
fn kernel_warnings(house: &House) -> anyhow::Result<bool> {
    let lacking =
        || Lacking("the kernel programs' tools are missing; run `cargo xtask setup`".to_owned());
    let build = KernelBuild {
        compiler: Compiler::find().ok_or_else(lacking)?,
        linker: recipe::find_linker().ok_or_else(lacking)?,
        workspace: house.root.clone(),
        target_dir: house.target.join("lint-ebpf"),
        with_log: true,
        more_flags: vec!["-Dwarnings".to_owned()],
    };
    let compiled = build.run();
    if let Err(message) = &compiled {
        anstream::eprintln!("lint: {message}");
    }
    Ok(compiled.is_ok())
}

/// Adds a part of the toolchain that a minimal installation lacks, or says how to.
fn ensure_component(name: &str, subcommand: &str) -> anyhow::Result<()> {
    if has_subcommand(subcommand) {
        return Ok(());
    }
    anstream::eprintln!("lint: adding {name} to the toolchain");
    let added =
        shell::succeeds(Command::new("rustup").args(["component", "add", name])).unwrap_or(false);
    if added && has_subcommand(subcommand) {
        return Ok(());
    }
    Err(Lacking(format!(
        "{name} is missing; add it with `rustup component add {name}`"
    ))
    .into())
}

fn has_subcommand(name: &str) -> bool {
    let mut command = Command::new("cargo");
    let status = command
        .args([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
