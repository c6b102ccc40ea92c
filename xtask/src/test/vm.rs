//! The agent on other kernels: Debian's, emulated, in a machine that lives in memory.
//!
//! The machine runs some tests of the network namespaces, after it was seen that without the modules for hooks the agent
//! ends as it should.

mod boot;
mod root;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};

use super::Extent;
use super::tally::Tally;
use crate::build;
use crate::kernels::{self, Kernel};
use crate::recipe;
use crate::setup::{self, Purpose, TOOLS};
use crate::shell::{self, House};
use root::Root;

/// The tests that the machine runs, and where they are.
const TESTS: [(&str, &str); 2] = [
    ("hooks", "a way that this kernel has is taken"),
    ("calls", "calls are told as far as this kernel shows them"),
];

/// What this machine lacks for it and cannot be set up with; `None` when nothing is missing.
pub(super) fn lacking() -> Option<String> {
    let is_ours = |purpose| matches!(purpose, Purpose::Namespaces | Purpose::Emulation);
    let missing: Vec<&str> = TOOLS
        .into_iter()
        .filter(|tool| is_ours(tool.purpose) && recipe::find_in_path(tool.command).is_none())
        .map(|tool| tool.package)
        .collect();
    let can_install = shell::is_root() && recipe::find_in_path("apt-get").is_some();
    (!missing.is_empty() && !can_install)
        .then(|| format!("needs what Debian calls {}", missing.join(" ")))
}

/// Builds everything, starts a machine with each kernel, and reads what it says.
pub(super) fn run(house: &House, extent: Extent) -> anyhow::Result<Tally> {
    setup::ensure(&[Purpose::Namespaces, Purpose::Emulation])?;
    let agent = build::static_agent(house)?;
    let kernels: &[Kernel] = match extent {
        Extent::Usual => &[kernels::OLDEST],
        Extent::Long => &[kernels::OLDEST, kernels::MIDDLE],
    };
    let mut total = Tally::default();
    for kernel in kernels {
        if !kernel.is_there() {
            kernel.fetch()?;
        }
        let root = Root::make(house, *kernel)?;
        root.bring(&agent, "bin/netverdict")?;
        for (name, _) in TESTS {
            root.bring(&test_binary(house, name)?, &format!("bin/{name}"))?;
        }
        let shared = std::env::var_os("NETVERDICT_SHARED")
            .map_or_else(|| house.root.join("../shared"), PathBuf::from);
        root.bring_folder(&shared.join("scenarios"), "shared/scenarios")?;
        let schema = house.root.join("node-agent/schema");
        root.bring_folder(&schema, root::inside(&schema))?;
        let image = root.pack(&script(&root))?;
        total = total.plus(&boot::boot(*kernel, &image)?);
    }
    Ok(total)
}

/// What the machine does. Programs and maps count as locked memory before Linux 5.11, which a test does not raise for its
/// own. Without the modules for hooks the agent must end with exit code 3.
fn script(root: &Root) -> String {
    let tests = TESTS.map(|(name, test)| format!("{name} --exact '{test}'\n"));
    format!(
        "export NETVERDICT_SHARED=/shared NETVERDICT_BIN=/bin/netverdict NETVERDICT_UNLIMITED=1 NO_COLOR=1\n\
         {}\
         netverdict agent --cluster /shared/scenarios/kasm --node n --metrics-listen off\n\
         echo \"{}$?\"\n\
         {}\
         mount -t cgroup2 c /sys/fs/cgroup\n\
         ulimit -l unlimited\n\
         {}",
        root.load(&root::MODULES),
        boot::WITHOUT,
        root.load(&root::HOOKS),
        tests.concat(),
    )
}

/// Builds tests of the network namespaces and says where they are.
fn test_binary(house: &House, name: &str) -> anyhow::Result<PathBuf> {
    let mut command = house.cargo();
    command.args(["test", "--package", "netns", "--test", name, "--no-run"]);
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
        // The package's programs are built with it.
        .filter(|message| message.pointer("/target/name") == Some(&name.into()))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("find the tests of {name}"))
}
