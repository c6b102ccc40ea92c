//! Cilium as the network of a node of a cluster, and as the judge of what netverdict says there: built from its Go
//! module, with the tools that its agent calls to compile and load its kernel programs.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::debian::Archive;
use crate::node;
use crate::recipe;
use crate::servers::{self, SOURCES};
use crate::shell;

/// The release of Cilium.
const CILIUM: &str = "1.15.19";
/// Of about the same age: a newer compiler warns of what Cilium's programs do, and it lets no warning pass.
const CLANG: &str = "16";
/// The release of Debian that has it; newer ones run it, too.
const RELEASE: &str = "bookworm";
/// The tools, and what of them and their libraries need not be on every machine.
const PACKAGES: [&str; 10] = [
    "bpftool",
    "clang-16",
    "libclang-cpp16",
    "libllvm16",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libxml2",
    "libicu72",
    "libz3-4",
];
/// Programs, by their packages in the module.
const PROGRAMS: [(&str, &str); 2] = [
    ("daemon", "cilium-agent"),
    ("plugins/cilium-cni", "cilium-cni"),
];
/// Tools that the agent calls.
const TOOLS: [&str; 2] = ["bpftool", "clang"];
/// What else of the module is used: its kernel programs, and the kinds of its objects.
const FOLDERS: [(&str, &str); 2] = [
    ("bpf", "bpf"),
    ("pkg/k8s/apis/cilium.io/client/crds", "crds"),
];
/// Where the agent reads which kernel modules are loaded.
const MODULES: (&str, &str) = ("/proc/modules", "/run/modules");

/// Finds the folder of all of it in the tools' cache.
pub(crate) fn find() -> Option<PathBuf> {
    folder().filter(|folder| is_complete(folder))
}

/// Says what [`build`] makes.
pub(crate) fn title() -> String {
    format!("Cilium {CILIUM} with clang {CLANG}")
}

fn folder() -> Option<PathBuf> {
    let recipe = format!(
        "cilium-{CILIUM}-clang-{CLANG}-{RELEASE}-{}",
        env::consts::ARCH
    );
    recipe::tools_folder().map(|folder| folder.join(recipe))
}

fn is_complete(folder: &Path) -> bool {
    let programs = PROGRAMS.map(|(_, name)| name);
    let has_programs = programs
        .into_iter()
        .chain(TOOLS)
        .all(|name| folder.join(name).is_file());
    has_programs && FOLDERS.iter().all(|(_, name)| folder.join(name).is_dir())
}

/// Tells whether this machine can make it.
pub(crate) fn can_be_built() -> bool {
    node::can_be_built()
}

/// Builds and unpacks all of it into the tools' cache.
pub(crate) fn build() -> anyhow::Result<()> {
    let folder = folder().ok_or_else(servers::no_cache)?;
    servers::fill(&folder, is_complete, |part| {
        unpack_tools(part)?;
        build_programs(part)?;
        for (path, name) in FOLDERS {
            let from = part.join(SOURCES).join("cilium").join(path);
            fs::rename(from, part.join(name)).with_context(|| format!("keep {path}"))?;
        }
        Ok(())
    })
}

/// The compiler is called by a script, which finds it its libraries.
fn unpack_tools(part: &Path) -> anyhow::Result<()> {
    let unpacked = part.join("llvm");
    let archive = Archive::open(part.join("apt"), RELEASE)?;
    archive.unpack(&PACKAGES, &unpacked)?;
    archive.close()?;
    let bpftool = part.join("bpftool");
    fs::rename(unpacked.join("usr/sbin/bpftool"), bpftool).context("keep bpftool")?;
    let script = format!(
        "#!/bin/sh\n\
         here=$(dirname \"$(readlink -f \"$0\")\")/llvm/usr/lib\n\
         LD_LIBRARY_PATH=$here/{}-linux-gnu exec \"$here/llvm-{CLANG}/bin/clang\" \"$@\"\n",
        env::consts::ARCH
    );
    let file = part.join("clang");
    fs::write(&file, script).context("write the compiler's script")?;
    fs::set_permissions(&file, Permissions::from_mode(0o755)).context("make a program of it")?;
    shell::run(Command::new(&file).arg("--version"))
}

fn build_programs(part: &Path) -> anyhow::Result<()> {
    copy_module(part)?;
    let module = format!(
        "module netverdict.test/cilium\n\n\
         go 1.23.0\n\n\
         require github.com/cilium/cilium v{CILIUM}\n\n\
         replace (\n\
         \tgithub.com/cilium/cilium => ./cilium\n\
         \tgo.universe.tf/metallb => github.com/cilium/metallb v0.1.1-0.20220829170633-5d7dfb1129f7\n\
         \tsigs.k8s.io/controller-tools => github.com/cilium/controller-tools v0.8.0-1\n\
         )\n"
    );
    let package = |(path, _): (&str, &str)| format!("github.com/cilium/cilium/{path}");
    let packages = PROGRAMS.map(package);
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    let flags = format!("-s -w -X github.com/cilium/cilium/pkg/version.ciliumVersion={CILIUM}");
    servers::go_build(part, part, &module, &packages, &flags)?;
    for (path, name) in PROGRAMS {
        let built = path.rsplit('/').next().unwrap_or(path);
        fs::rename(part.join(built), part.join(name)).with_context(|| format!("keep {name}"))?;
    }
    Ok(())
}

/// A kernel without modules has no list of them, and the agent insists on one: the copy reads it where tests write it.
/// As all that it looks for is on that list, it loads none into the machine's kernel, either.
fn copy_module(part: &Path) -> anyhow::Result<()> {
    let sources = part.join(SOURCES);
    fs::create_dir_all(&sources).with_context(|| format!("make {}", sources.display()))?;
    let module = servers::download(
        &sources,
        &format!("github.com/cilium/cilium@v{CILIUM}"),
        "Dir",
    )?;
    let copy = sources.join("cilium");
    shell::run(
        Command::new("cp")
            .args(["-r", "--no-preserve=mode"])
            .args([&module, &copy]),
    )?;
    let file = copy.join("pkg/datapath/linux/modules/modules_linux.go");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let (theirs, ours) = MODULES;
    ensure!(
        text.contains(theirs),
        "{} does not name {theirs}",
        file.display()
    );
    fs::write(&file, text.replace(theirs, ours)).context("write a source")
}
