//! The agent on another kernel: Debian's 5.10, emulated, with a machine that lives in memory.
//!
//! What it needs is kept in the tools' cache. The machine runs one test of the network namespaces, after it was seen
//! that without the modules for hooks the agent ends as it should.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::tally::{self, Tally};
use crate::build::{self, Profile};
use crate::recipe;
use crate::shell::{self, House};

/// Commands that are needed, and the packages that bring them.
const TOOLS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("cpio", "cpio"),
    ("busybox", "busybox-static"),
    ("dpkg", "dpkg"),
    ("apt-get", "apt"),
];
/// What runs in the machine beside the agent and the test.
const COMMANDS: [&str; 3] = ["ip", "tc", "nft"];
/// Modules, in the order in which they are loaded; the last two are loaded after a first try without them.
const MODULES: [&str; 10] = [
    "lib/libcrc32c",
    "net/ipv4/netfilter/nf_defrag_ipv4",
    "net/ipv6/netfilter/nf_defrag_ipv6",
    "net/netfilter/nf_conntrack",
    "net/netfilter/nfnetlink",
    "net/netfilter/nf_tables",
    "net/netfilter/nft_ct",
    "drivers/net/veth",
    "net/sched/sch_ingress",
    "net/sched/cls_bpf",
];
/// The test that the machine runs.
const TEST: &str = "a way that this kernel has is taken";
/// What the machine says of the agent that found no hooks; the contract's exit code follows.
const WITHOUT: &str = "without hooks it ended with ";
/// Longest that the machine may run, seconds.
const LIMIT: &str = "300";
/// Debian 11 and its kernel: no tcx, no drop reasons, no atomic that returns a value.
const SUITES: [(&str, &str); 2] = [
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
];
const KERNEL: &str = r"^linux-image-5\.10\..*cloud-amd64$";

/// What this machine lacks for it; `None` when nothing is missing.
pub(super) fn lacking() -> Option<String> {
    let missing: Vec<&str> = TOOLS
        .into_iter()
        .filter(|(command, _)| recipe::find_in_path(command).is_none())
        .map(|(_, package)| package)
        .collect();
    (!missing.is_empty()).then(|| format!("needs what Debian calls {}", missing.join(" ")))
}

/// Builds everything, starts the machine, and reads what it says.
pub(super) fn run(house: &House) -> anyhow::Result<Tally> {
    let agent = build::agent(house, Profile::Release)?;
    let test = test_binary(house)?;
    let cache = recipe::tools_folder().context("find a folder for the tools")?;
    let kernel = kernel(&cache.join("linux-5.10"))?;
    let shared = std::env::var_os("NETVERDICT_SHARED")
        .map_or_else(|| house.root.join("../shared"), PathBuf::from);
    let root = house.target.join("vm/root");
    if root.exists() {
        fs::remove_dir_all(&root).context("remove the last machine")?;
    }
    for (file, name) in [(&agent, "netverdict"), (&test, "trial")] {
        bring(&root, file, &format!("bin/{name}"))?;
    }
    for command in COMMANDS {
        let found = recipe::find_in_path(command).with_context(|| format!("find `{command}`"))?;
        bring(&root, &found, &format!("bin/{command}"))?;
    }
    for folder in ["proc", "sys", "dev", "run", "tmp", "modules", "shared"] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("make /{folder}"))?;
    }
    copy_folder(&shared.join("scenarios"), &root.join("shared/scenarios"))?;
    let schema = house.root.join("node-agent/schema");
    copy_folder(&schema, &root.join(inside(&schema)))?;
    furnish(&root, &kernel)?;
    let image = pack(&root)?;
    boot(&kernel, &image)
}

/// The machine's own folder for one of this house's.
fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Builds the tests of hooks and says where they are.
fn test_binary(house: &House) -> anyhow::Result<PathBuf> {
    let mut command = house.cargo();
    command.args(["test", "--package", "netns", "--test", "hooks", "--no-run"]);
    command.arg("--message-format=json");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    ensure!(
        output.status.success(),
        "`{}` failed",
        shell::shown(&command)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .context("find the tests of hooks")
}

/// The unpacked kernel, fetched when it is not there yet.
fn kernel(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.join("boot").is_dir() {
        return Ok(folder.to_owned());
    }
    let work = folder.with_extension("part");
    fs::create_dir_all(work.join("lists/partial")).context("make a folder for the kernel")?;
    fs::create_dir_all(work.join("cache/archives/partial")).context("make a folder for it")?;
    fs::write(work.join("debian.sources"), sources()).context("write apt's sources")?;
    // An apt of its own: the machine's lists and packages stay as they are.
    let apt = |program: &str| {
        let mut command = Command::new(program);
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        command
            .args([
                "-o",
                &option("Dir::Etc::sourcelist", &work.join("debian.sources")),
            ])
            .args(["-o", "Dir::Etc::sourceparts=/dev/null"])
            .args(["-o", &option("Dir::State::Lists", &work.join("lists"))])
            .args(["-o", &option("Dir::Cache", &work.join("cache"))])
            .current_dir(&work);
        command
    };
    shell::run(apt("apt-get").args(["-qq", "update"]))?;
    let found = apt("apt-cache")
        .args(["search", "--names-only", KERNEL])
        .output()
        .context("start apt-cache")?;
    let names = String::from_utf8_lossy(&found.stdout).into_owned();
    let mut names: Vec<&str> = names
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    names.sort_unstable_by_key(|name| {
        name.split(['.', '-'])
            .filter_map(|p| p.parse().ok())
            .collect::<Vec<u32>>()
    });
    let name = names.pop().context("find Debian's kernel 5.10")?;
    shell::run(apt("apt-get").args(["-qq", "download", name]))?;
    let package = fs::read_dir(&work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("find the kernel's package")?;
    let unpacked = work.join("unpacked");
    shell::run(Command::new("dpkg").arg("-x").arg(&package).arg(&unpacked))?;
    fs::rename(&unpacked, folder).context("keep the kernel")?;
    fs::remove_dir_all(&work).context("clean up")?;
    Ok(folder.to_owned())
}

/// apt's sources: Debian's archive as this machine reaches it.
fn sources() -> String {
    let here = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
    let mirror = here
        .lines()
        .filter_map(|line| line.strip_prefix("URIs:"))
        .find_map(|uri| uri.trim().strip_suffix("/debian").map(str::to_owned))
        .unwrap_or_else(|| "http://deb.debian.org".to_owned());
    SUITES
        .map(|(archive, suite)| {
            format!(
                "Types: deb\nURIs: {mirror}/{archive}\nSuites: {suite}\nComponents: main\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            )
        })
        .join("\n")
}

/// Copies a program with the libraries that it needs.
fn bring(root: &Path, program: &Path, to: &str) -> anyhow::Result<()> {
    copy(program, &root.join(to))?;
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("start ldd")?;
    for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if word.starts_with('/') {
            copy(Path::new(word), &root.join(inside(Path::new(word))))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make `{}`", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copy `{}`", from.display()))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read `{}`", from.display()))? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &to)?;
        } else {
            copy(&path, &to)?;
        }
    }
    Ok(())
}

/// Modules, a shell, and the machine's first process.
fn furnish(root: &Path, kernel: &Path) -> anyhow::Result<()> {
    let modules = kernel.join("lib/modules");
    let release = fs::read_dir(&modules)?
        .next()
        .context("find the kernel's modules")??;
    let file = |module: &str| format!("{}.ko", module.rsplit('/').next().unwrap_or(module));
    for module in MODULES {
        let from = release.path().join("kernel").join(format!("{module}.ko"));
        copy(&from, &root.join("modules").join(file(module)))?;
    }
    let busybox = recipe::find_in_path("busybox").context("find busybox")?;
    bring(root, &busybox, "bin/busybox")?;
    for name in ["sh", "mount", "insmod", "poweroff", "cat"] {
        symlink("busybox", root.join("bin").join(name)).context("link busybox")?;
    }
    let load = |modules: &[&str]| {
        let lines = modules
            .iter()
            .map(|m| format!("insmod /modules/{}\n", file(m)));
        lines.collect::<String>()
    };
    let (first, hooks) = MODULES.split_at(MODULES.len() - 2);
    let script = format!(
        "#!/bin/sh\n\
         export PATH=/bin NETVERDICT_SHARED=/shared NETVERDICT_BIN=/bin/netverdict NO_COLOR=1\n\
         mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /run\n\
         ip link set lo up\n{}\
         netverdict agent --cluster /shared/scenarios/kasm --node n --metrics-listen off\n\
         echo \"{WITHOUT}$?\"\n{}\
         trial --exact '{TEST}'\npoweroff -f\n",
        load(first),
        load(hooks)
    );
    let init = root.join("init");
    fs::write(&init, script).context("write the first process")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("make it run")
}

/// Packs the machine's files for its kernel.
fn pack(root: &Path) -> anyhow::Result<PathBuf> {
    let image = root.with_extension("cpio");
    let into = fs::File::create(&image).context("make the machine's image")?;
    let script = "find . | cpio --create --format=newc --quiet";
    let mut command = Command::new("sh");
    shell::run(command.args(["-c", script]).current_dir(root).stdout(into))?;
    Ok(image)
}

/// Runs the machine, shows what it says, and adds up what came of it.
fn boot(kernel: &Path, image: &Path) -> anyhow::Result<Tally> {
    let vmlinuz = fs::read_dir(kernel.join("boot"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .context("find the kernel")?;
    let mut command = Command::new("timeout");
    command.args([
        LIMIT,
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
    ]);
    command.args([
        "-smp",
        "2",
        "-m",
        "1024",
        "-nographic",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    // A busy machine's timer fails the check that the kernel makes of it; without the last nobody gets random numbers.
    command.args([
        "-append",
        "console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on",
    ]);
    command
        .arg("-kernel")
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(image);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start qemu-system-x86_64")?;
    let mut total = Tally::default();
    let mut tried = None;
    let said = child.stdout.take().map(BufReader::new);
    for line in said.into_iter().flat_map(|said| said.split(b'\n')) {
        let line =
            String::from_utf8_lossy(&line.context("read what the machine says")?).into_owned();
        let line = line.trim_end();
        // A reader that went away must not end the tests: the exit code still counts.
        let _ = writeln!(anstream::stdout(), "{line}");
        if let Some((_, code)) = line.split_once(WITHOUT) {
            tried = Some(code == "3");
        }
        if let Some(result) = tally::read_result(line) {
            total = total.plus(&result);
        }
    }
    child.wait().context("wait for qemu-system-x86_64")?;
    match tried {
        Some(true) => total.passed += 1,
        Some(false) => {
            let why = "without hooks the agent did not end with 3".to_owned();
            total = total.plus(&Tally::failed_because(why));
        }
        None => bail!("the machine did not come up"),
    }
    if total.passed + total.failed < 2 {
        total = total.plus(&Tally::failed_because("the machine ended early".to_owned()));
    }
    Ok(total)
}
