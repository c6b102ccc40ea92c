//! Prints what the program at a pod's interface costs over an empty one, as `cargo xtask bench kernel` keeps it.

use std::error::Error;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use netverdict::capture::bench::{bench, drops};
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
                "held": figure.median <= figure.bound,
            })
        })
        .collect();
    println!("{}", serde_json::json!({ "figures": figures }));
    Ok(())
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
