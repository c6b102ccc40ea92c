//! Namespaces of its own for the whole test program, and its end.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

/// Says that this process is inside already.
const INSIDE: &str = "NETVERDICT_CLUSTER_TESTS_INSIDE";

/// How long anything may take that should take seconds.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Starts the program anew in namespaces of its own: its servers reach nothing outside and
/// end with it, whatever ends it.
///
/// # Errors
/// When namespaces cannot be made, which needs root.
pub fn enter() -> anyhow::Result<()> {
    if env::var_os(INSIDE).is_some() {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .context("start `ip`")?;
        ensure!(up.success(), "`ip link set lo up` ended with {up}");
        // Names of network namespaces that nobody else sees, and that end with this.
        let run = Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs", "/run"])
            .status()
            .context("start `mount`")?;
        ensure!(run.success(), "`mount` ended with {run}");
        return Ok(());
    }
    let program = env::current_exe().context("find this program's own file")?;
    let error = Command::new("unshare")
        .args([
            "--net",
            "--pid",
            "--mount",
            "--uts",
            "--ipc",
            "--mount-proc",
        ])
        .args(["--fork", "--kill-child", "--"])
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("start `unshare`")
}

/// Runs the tests one after the other, for they share one control plane, and removes that at the end.
pub fn conclude(trials: Vec<Trial>, remove: impl FnOnce()) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    remove();
    conclusion.exit()
}

/// A test with a runtime of its own.
pub fn test<F: Future<Output = anyhow::Result<()>>>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime
            .block_on(work())
            .map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// Whether `--long` was asked for.
#[must_use]
pub fn is_long() -> bool {
    env::var_os("NETVERDICT_LONG").is_some()
}
