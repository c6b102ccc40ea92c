//! The machine at work.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::kernels::Kernel;
use crate::test::tally::{Reader, Tally};

/// What the machine says of the agent that found no hooks; the contract's exit code follows.
pub(super) const WITHOUT: &str = "without hooks it ended with ";
/// Longest that the machine may run, seconds.
const LIMIT: &str = "400";
/// Two processors, no devices, a console. Five levels of page tables would make every miss of the emulated TLB dearer.
const MACHINE: [&str; 12] = [
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max,la57=off",
    "-smp",
    "2",
    "-m",
    "1024",
    "-nographic",
    "-no-reboot",
    "-nic",
    "none",
];
/// What stands against faults of real processors only costs time here. A busy machine's timer fails the check that the
/// kernel makes of it; and without the last nobody gets random numbers.
const KERNEL_LINE: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check random.trust_cpu=on";

/// Runs the machine, shows what it says, and adds up what came of it.
pub(super) fn boot(kernel: Kernel, image: &Path) -> anyhow::Result<Tally> {
    let vmlinuz = fs::read_dir(kernel.folder()?.join("boot"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .context("find the kernel")?;
    let mut command = Command::new("timeout");
    command
        .args([LIMIT, "qemu-system-x86_64"])
        .args(MACHINE)
        .args(["-append", KERNEL_LINE, "-kernel"])
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(image);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start qemu-system-x86_64")?;
    let mut reader = Reader::default();
    let mut without = None;
    let said = child.stdout.take().map(BufReader::new);
    for line in said.into_iter().flat_map(|said| said.split(b'\n')) {
        let line = line.context("read what the machine says")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        // A reader that went away must not end the tests: the exit code still counts.
        let _ = writeln!(anstream::stdout(), "{line}");
        if let Some((_, code)) = line.split_once(WITHOUT) {
            without = Some(code == "3");
        }
        reader.read(line);
    }
    child.wait().context("wait for qemu-system-x86_64")?;
    judged(kernel, reader.end(), without)
}

/// Two things are looked at: how the agent ends without hooks, and the test.
fn judged(kernel: Kernel, mut total: Tally, without: Option<bool>) -> anyhow::Result<Tally> {
    let version = kernel.version;
    let failed = |what: &str| Tally::failed_because(format!("Linux {version}: {what}"));
    if total.passed + total.failed == 0 {
        total = total.plus(&failed("the machine ended before its test did"));
    }
    match without {
        Some(true) => total.passed += 1,
        Some(false) => total = total.plus(&failed("without hooks the agent did not end with 3")),
        None => bail!("the machine with Linux {version} did not come up"),
    }
    Ok(total)
}
