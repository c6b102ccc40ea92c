//! Prints what the program at a pod's interface costs over an empty one, as `cargo xtask bench kernel` keeps it.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use netverdict::capture::bench::{bench, calls, drops, states};
use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// What stops datagrams to the discard port, as an enforcer would: behind conntrack.
const RULES: &str = "table inet bench {
  chain input {
    type filter hook input priority 0;
    ct state established,related accept
    udp dport 9 drop
  }
}";

fn main() -> Result<(), Box<dyn Error>> {
    let mut figures = bench()?;
    figures.push(drops(dropped()?)?);
    figures.push(states(connected()?)?);
    let own = Cgroup::enter()?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // There is no way there: what is measured comes before that is looked for.
    let nowhere = "192.0.2.1:9";
    let connect = || drop(UdpSocket::bind("0.0.0.0:0").map(|new| new.connect(nowhere)));
    let again = || drop(socket.connect(nowhere));
    figures.extend(calls(own.path.clone(), connect, again)?);
    drop(own);
    let figures: Vec<_> = figures
        .into_iter()
        .map(|figure| {
            serde_json::json!({
                "name": figure.name,
                "min": figure.min,
                "median": figure.median,
                "max": figure.max,
                "unit": "ns over empty",
                "bound": figure.bound,
                "held": figure.bound.map(|bound| figure.median <= bound),
            })
        })
        .collect();
    println!("{}", serde_json::json!({ "figures": figures }));
    Ok(())
}

/// A cgroup of this process's own; dropped, it goes back to where it was.
struct Cgroup {
    path: PathBuf,
    was: PathBuf,
}

impl Cgroup {
    fn enter() -> Result<Self, Box<dyn Error>> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let is_second = |root: &&Path| root.join("cgroup.controllers").exists();
        let root = roots.into_iter().find(is_second).ok_or("no cgroup v2")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let this = Self {
            path: root.join(format!("netverdict-bench-{}", std::process::id())),
            was: root.join(own.ok_or("this process is in no cgroup")?),
        };
        fs::create_dir(&this.path)?;
        fs::write(this.path.join("cgroup.procs"), "0")?;
        Ok(this)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let back = fs::write(self.was.join("cgroup.procs"), "0");
        if let Err(error) = back.and_then(|()| fs::remove_dir(&self.path)) {
            eprintln!("`{}` stays: {error}", self.path.display());
        }
    }
}

/// Moves to a network namespace of its own, where each call has one datagram dropped.
fn dropped() -> Result<impl FnMut(), Box<dyn Error>> {
    // SAFETY: file descriptors stay shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
    done(Command::new("ip").args(["link", "set", "lo", "up"]), "")?;
    done(Command::new("nft").args(["-f", "-"]), RULES)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("127.0.0.1:9")?;
    Ok(move || {
        // A datagram that is not sent is none that costs.
        let _ = socket.send(b"x");
    })
}

/// Has each call open a connection over the loopback interface, which its end leaves nothing of.
fn connected() -> Result<impl FnMut(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = listener.local_addr()?;
    let at_once = Some(Duration::ZERO);
    Ok(move || {
        let client = TcpStream::connect(to);
        // A connection that does not come about is none that costs.
        let _ = client.map(|client| set_socket_linger(&client, at_once));
        drop(listener.accept());
    })
}

fn done(command: &mut Command, input: &str) -> Result<(), Box<dyn Error>> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("`{command:?}` ended with {status}").into())
}
