//! Compiles the kernel programs and tells the agent where the object file is.
//!
//! The object's path is in `NETVERDICT_EBPF_OBJECT` while the agent compiles. A missing tool is one clear
//! line, never a linker's stack of errors.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

#[expect(dead_code, reason = "xtask uses the rest of the recipe")]
#[path = "../xtask/src/recipe.rs"]
mod recipe;

use recipe::{Compiler, KernelBuild};

/// What the object file is made from and by; another one of these makes this script run again.
const SOURCES: [&str; 5] = [
    "../node-agent-ebpf",
    "../node-agent-common",
    "../xtask/src/recipe.rs",
    "../Cargo.toml",
    "../Cargo.lock",
];
const VARIABLES: [&str; 5] = [
    "NETVERDICT_BPF_COMPILER",
    "NETVERDICT_BPF_LINKER",
    "NETVERDICT_TOOLS",
    "XDG_CACHE_HOME",
    "PATH",
];

fn main() -> ExitCode {
    SOURCES
        .iter()
        .for_each(|path| println!("cargo::rerun-if-changed={path}"));
    VARIABLES
        .iter()
        .for_each(|name| println!("cargo::rerun-if-env-changed={name}"));
    let build = match prepare() {
        Ok(build) => build,
        Err(message) => {
            // Succeeds, so that this line is all that cargo shows.
            println!("cargo::error={message}");
            return ExitCode::SUCCESS;
        }
    };
    match build.run() {
        Ok(object) => {
            let object = object.display();
            println!("cargo::rustc-env=NETVERDICT_EBPF_OBJECT={object}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            // Fails, so that cargo shows what the compiler said.
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

/// Finds what the build needs, or gives one line that says what is missing.
fn prepare() -> Result<KernelBuild, String> {
    let compiler = Compiler::find().ok_or_else(|| {
        format!(
            "a compiler for {} is missing; run `cargo xtask setup`",
            recipe::TARGET
        )
    })?;
    let linker = recipe::find_linker().ok_or_else(|| {
        format!(
            "bpf-linker {} is missing; run `cargo xtask setup`",
            recipe::LINKER_VERSION
        )
    })?;
    println!("cargo::rerun-if-changed={}", linker.display());
    let folder = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or_else(|| format!("cargo did not set {name}"))
    };
    Ok(KernelBuild {
        compiler,
        linker,
        workspace: folder("CARGO_MANIFEST_DIR")?.join(".."),
        target_dir: folder("OUT_DIR")?.join("ebpf"),
        with_log: env::var_os("CARGO_FEATURE_KERNEL_LOG").is_some(),
        more_flags: Vec::new(),
    })
}
