//! What has to be undone, whatever ends the process: namespaces are removed and agents are ended.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What this process has made and not yet undone.
struct Made {
    namespaces: BTreeSet<String>,
    processes: BTreeSet<i32>,
}

static MADE: Mutex<Made> = Mutex::new(Made {
    namespaces: BTreeSet::new(),
    processes: BTreeSet::new(),
});
static WATCHING: Once = Once::new();

static INTERRUPTED: Mutex<bool> = Mutex::new(false);
static INTERRUPTION: Condvar = Condvar::new();

fn interrupted() -> MutexGuard<'static, bool> {
    INTERRUPTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a signal ends this process: what fails at that moment fails because of it.
pub fn is_interrupted() -> bool {
    // The signal goes to the children, too, and they may have ended before it is read here.
    let soon = Duration::from_millis(200);
    let waited = INTERRUPTION.wait_timeout_while(interrupted(), soon, |is_it| !*is_it);
    waited.is_ok_and(|(is_it, _)| *is_it)
}

fn made() -> MutexGuard<'static, Made> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes everything on SIGINT, SIGTERM and SIGHUP, and then ends the process with 128 + the signal's number.
///
/// Only the first call does something. Threads that are created later inherit nothing from it.
///
/// # Errors
/// When the signals cannot be watched.
pub fn watch_signals() -> anyhow::Result<()> {
    let mut result = Ok(());
    WATCHING.call_once(|| {
        result = Signals::new([SIGINT, SIGTERM, SIGHUP]).map(|mut signals| {
            std::thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    *interrupted() = true;
                    INTERRUPTION.notify_all();
                    undo_all();
                    std::process::exit(128 + signal);
                }
            });
        });
    });
    result.context("watch for signals")
}

/// Remembers a namespace until [`forget_namespace`].
pub(crate) fn remember_namespace(name: &str) {
    made().namespaces.insert(name.to_owned());
}

/// Says whether the namespace was still remembered: not after [`leave_all`] or [`undo_all`].
pub(crate) fn forget_namespace(name: &str) -> bool {
    made().namespaces.remove(name)
}

/// Remembers a process until [`forget_process`].
pub(crate) fn remember_process(pid: Pid) {
    made().processes.insert(pid.as_raw_nonzero().get());
}

/// The process was waited for.
pub(crate) fn forget_process(pid: Pid) {
    made().processes.remove(&pid.as_raw_nonzero().get());
}

/// Lets everything that was made so far outlive this process.
pub fn leave_all() {
    let mut made = made();
    made.namespaces.clear();
    made.processes.clear();
}

/// Ends every remembered process and removes every remembered namespace.
///
/// Whoever wants to undo something meanwhile, on another thread, waits until this is done: the process must not end
/// before.
pub fn undo_all() {
    let mut made = made();
    for pid in std::mem::take(&mut made.processes) {
        if let Some(pid) = Pid::from_raw(pid) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    for name in std::mem::take(&mut made.namespaces) {
        remove_namespace(&name);
    }
}

/// Removes a namespace; its interfaces, routes and rules go with it.
pub(crate) fn remove_namespace(name: &str) {
    // There is nothing left to do when this fails: the caller is on its way out.
    drop(
        Command::new("ip")
            .args(["netns", "delete", name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status(),
    );
}

/// Removes what killed runs left: namespaces `PREFIX<pid>-...` whose process is gone, with the processes in them.
///
/// # Errors
/// When the namespaces cannot be listed.
pub fn sweep(prefix: &str) -> anyhow::Result<Vec<String>> {
    let mut swept = Vec::new();
    for name in namespaces()? {
        let owner = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        let Some(owner) = owner else { continue };
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        for pid in processes_in(&name) {
            let _ = kill_process(pid, Signal::TERM);
        }
        remove_namespace(&name);
        swept.push(name);
    }
    Ok(swept)
}

/// The names of the network namespaces that iproute2 knows.
fn namespaces() -> anyhow::Result<Vec<String>> {
    let folder = match fs::read_dir("/run/netns") {
        Ok(folder) => folder,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("list network namespaces"),
    };
    let mut names: Vec<String> = folder
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn processes_in(namespace: &str) -> Vec<Pid> {
    let listed = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output();
    let text = listed.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .filter_map(Pid::from_raw)
        .collect()
}
