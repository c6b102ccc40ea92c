//! Child processes with a limit on their time.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::cleanup;

/// A child that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Runs a command until it ends by itself.
///
/// # Errors
/// When it cannot be started, or still runs after `limit`: then it is killed.
pub fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{}`", command.get_program().to_string_lossy()))?;
    let pid = pid_of(&child)?;
    cleanup::remember_process(pid);
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let ended = ended_within(&child, limit);
    if !matches!(ended, Ok(true)) {
        child.kill().context("kill a child")?;
    }
    let status = child.wait().context("wait for a child")?;
    cleanup::forget_process(pid);
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    };
    let ended_in_time = ended?;
    let (stdout, stderr) = (text(stdout), text(stderr));
    if !ended_in_time {
        bail!("it still ran after {limit:?}; it said:\n{stderr}");
    }
    Ok(Ended {
        code: status.code(),
        stdout,
        stderr,
    })
}

/// Ends a child with SIGTERM and gives back its exit code.
///
/// # Errors
/// When it still runs after `limit`: then it is killed.
pub fn end(child: &mut Child, limit: Duration) -> anyhow::Result<Option<i32>> {
    // It may have ended by itself.
    let _ = kill_process(pid_of(child)?, Signal::TERM);
    let in_time = ended_within(child, limit)?;
    if !in_time {
        child.kill().context("kill a child")?;
    }
    let status = child.wait().context("wait for a child")?;
    if !in_time {
        bail!("it still ran {limit:?} after SIGTERM");
    }
    Ok(status.code())
}

/// Waits for a child's end; says whether it came within `limit`.
///
/// # Errors
/// When it cannot be waited for.
pub fn ended_within(child: &Child, limit: Duration) -> anyhow::Result<bool> {
    let exit = pidfd_open(pid_of(child)?, PidfdFlags::empty()).context("open a pidfd")?;
    let mut fds = [PollFd::new(&exit, PollFlags::IN)];
    let limit = Timespec::try_from(limit).context("express a time limit")?;
    Ok(poll(&mut fds, Some(&limit)).context("wait for a child")? > 0)
}

/// The child's process number.
///
/// # Errors
/// Never, on Linux: the standard library only uses another type.
pub fn pid_of(child: &Child) -> anyhow::Result<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("a child without a process number")
}

fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is all there is.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
