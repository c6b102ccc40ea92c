//! A process of its own in a cgroup, which makes one call: this program again, told so by its first words.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, anyhow};
use socket2::{Domain, Socket, Type};

use crate::child;
use crate::ns::{self, Namespace};

/// The word by which this program knows that it is a caller only.
const CALLS: &str = "--calls";
/// A connect is given up after this time.
const LIMIT: Duration = Duration::from_secs(2);

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `connect` of a stream.
    Connect,
    /// The same by a socket of IPv6, to an IPv4 address that is mapped.
    ConnectMapped,
    /// The same without waiting; then it is waited for.
    ConnectLater,
    /// `sendto` without a connection.
    Send,
}

const WAYS: [(&str, Way); 4] = [
    ("connect", Way::Connect),
    ("connect-mapped", Way::ConnectMapped),
    ("connect-later", Way::ConnectLater),
    ("send", Way::Send),
];

/// Makes the call when this program was started for that; says whether it was. To be asked before anything else.
#[must_use]
pub fn is_one() -> bool {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some(CALLS) {
        return false;
    }
    let way = words.next().and_then(|word| {
        let known = WAYS.iter().find(|(name, _)| *name == word);
        known.map(|(_, way)| *way)
    });
    let to = words.next().and_then(|word| word.parse().ok());
    let called = match (way, to) {
        (Some(way), Some(to)) => call(way, to),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    if let Err(error) = called {
        eprintln!("{}", error.raw_os_error().unwrap_or(-1));
    }
    true
}

fn call(way: Way, to: SocketAddr) -> io::Result<()> {
    match way {
        Way::Connect => TcpStream::connect_timeout(&to, LIMIT).map(drop),
        Way::ConnectMapped => {
            let IpAddr::V4(v4) = to.ip() else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let to = SocketAddr::new(v4.to_ipv6_mapped().into(), to.port());
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
            socket.set_only_v6(false)?;
            socket.connect(&to.into())
        }
        Way::ConnectLater => {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.connect_timeout(&to.into(), LIMIT)
        }
        Way::Send => {
            let any: IpAddr = if to.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.send_to(b"question", to).map(drop)
        }
    }
}

/// The command of a caller: in that network namespace, and in that cgroup.
///
/// # Errors
/// When this program, or the namespace, cannot be found.
pub fn command(
    namespace: &Namespace,
    cgroup: &Path,
    way: Way,
    to: SocketAddr,
) -> anyhow::Result<Command> {
    let name = WAYS.iter().find(|(_, known)| *known == way);
    let (name, _) = name.context("a way has a name")?;
    let this = std::env::current_exe().context("find this program's own file")?;
    let mut command = Command::new(this);
    command.args([CALLS, name, &to.to_string()]);
    let (handle, procs) = (namespace.handle()?, cgroup.join("cgroup.procs"));
    let prepare = move || {
        fs::write(&procs, "0")?;
        Ok(ns::enter(&handle)?)
    };
    // SAFETY: between fork and exec it opens, writes and closes files only; what it allocates is glibc's, which may be
    // used there.
    unsafe { command.pre_exec(prepare) };
    Ok(command)
}

/// Makes one call and gives what it failed with, 0 when it did not.
///
/// # Errors
/// When the process cannot be started, or does not end.
pub fn run(namespace: &Namespace, cgroup: &Path, way: Way, to: SocketAddr) -> anyhow::Result<i32> {
    let mut command = command(namespace, cgroup, way, to)?;
    let ended = child::run(&mut command, LIMIT * 5)?;
    match ended.stderr.trim() {
        "" => Ok(0),
        said => said
            .parse()
            .map_err(|_| anyhow!("the caller said:\n{said}")),
    }
}
