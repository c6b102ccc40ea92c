//! `cargo xtask setup`: brings a fresh machine to where everything builds and tests.
//!
//! Three steps, apart from each other: [`probe`] looks at the machine, [`plan`] decides what to do about what
//! is missing (pure), and this file says it and does it.

mod plan;
mod probe;

use std::env;
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::Args;

use crate::Found;
use crate::cilium;
use crate::kernels;
use crate::kwok;
use crate::node;
use crate::recipe;
use crate::servers;
use crate::shell::{self, Lacking};
use plan::{Plan, Step};
use probe::Machine;

pub(crate) use plan::Purpose;
pub(crate) use probe::TOOLS;

/// Whether to install.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only say what is missing; exit code 3 when something is
    #[arg(long)]
    check: bool,
}

/// Says what is there and what is missing, and installs it unless told only to look.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Found> {
    let machine = Machine::look();
    for line in machine.lines() {
        anstream::eprintln!("{line}");
    }
    let plan = plan::plan(&machine, &Purpose::ALL);
    if plan.is_empty() {
        anstream::eprintln!("everything is there");
        return Ok(Found::Nothing);
    }
    if arguments.check {
        return Err(lacking(&plan, "`cargo xtask setup` would"));
    }
    carry_out(plan, &Purpose::ALL)?;
    anstream::eprintln!("everything is there");
    Ok(Found::Nothing)
}

/// Sets up what these purposes lack; silent when nothing is missing.
pub(crate) fn ensure(purposes: &[Purpose]) -> anyhow::Result<()> {
    let plan = plan::plan(&Machine::look(), purposes);
    if plan.is_empty() {
        Ok(())
    } else {
        carry_out(plan, purposes)
    }
}

/// Does all steps, looking again after each; what only a person can do ends it, with the words for that.
fn carry_out(mut plan: Plan, purposes: &[Purpose]) -> anyhow::Result<()> {
    let mut done: Vec<Step> = Vec::new();
    loop {
        let next = plan.steps.iter().find(|step| !done.contains(step));
        // Fresh package lists may offer what the old ones lacked; else a person's turn comes first.
        let Some(step) = next
            .filter(|step| plan.manual.is_empty() || **step == Step::UpdateLists)
            .cloned()
        else {
            return Err(lacking(&plan, "to do"));
        };
        anstream::eprintln!("setup: {step}");
        take(&step).with_context(|| step.to_string())?;
        done.push(step);
        plan = plan::plan(&Machine::look(), purposes);
        if plan.is_empty() {
            return Ok(());
        }
    }
}

/// Says everything that is missing, a person's turn first.
fn lacking(plan: &Plan, verb: &str) -> anyhow::Error {
    let steps = plan.steps.iter().map(|step| format!("{verb}: {step}"));
    let lines: Vec<_> = plan.manual.iter().cloned().chain(steps).collect();
    Lacking(format!(
        "this machine lacks something:\n  {}",
        lines.join("\n  ")
    ))
    .into()
}

fn take(step: &Step) -> anyhow::Result<()> {
    match step {
        Step::UpdateLists => {
            // One unreachable third-party list must not stop the rest: what matters is asked for by name next.
            if !shell::succeeds(apt().arg("update"))? {
                anstream::eprintln!("setup: apt-get update had errors, going on");
            }
            Ok(())
        }
        Step::InstallPackages(names) => shell::run(
            apt()
                .args(["install", "--yes", "--no-install-recommends"])
                .args(names),
        ),
        Step::AddSource => {
            shell::run(rustup().args(["component", "add", "rust-src", "--toolchain", "nightly"]))
        }
        Step::AddNightly => shell::run(rustup().args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
            "--no-self-update",
        ])),
        Step::BuildLinker => build_linker(),
        Step::FetchKernel => kernels::OLDEST.fetch(),
        Step::BuildServers => servers::build(),
        Step::BuildNode => node::build(),
        Step::BuildCilium => cilium::build(),
        Step::BuildKwok => kwok::build(),
    }
}

/// Builds bpf-linker into the tools' cache.
fn build_linker() -> anyhow::Result<()> {
    let root = recipe::linker_root()
        .ok_or_else(|| Lacking("neither NETVERDICT_TOOLS nor HOME is set".to_owned()))?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "install",
        "bpf-linker",
        "--locked",
        "--force",
        "--version",
        recipe::LINKER_VERSION,
    ]);
    command.args([
        "--no-default-features",
        "--features",
        &format!("llvm-{}", recipe::LLVM),
    ]);
    command.arg("--root").arg(root);
    for name in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    shell::run(command.env("LLVM_PREFIX", recipe::LLVM_PREFIX))
}

/// Calls apt-get without its story of every package: what is installed has been said, errors still show.
fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.stdout(Stdio::null());
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("--quiet=2")
        .args(["-o", "Dpkg::Use-Pty=0"]);
    command
}

fn rustup() -> Command {
    let mut command = Command::new("rustup");
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}
