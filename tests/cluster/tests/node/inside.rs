//! What only an agent that sees pods' network namespaces can say.

use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cluster::machine::call;
use cluster::node::Node;
use netns::ns;
use serde_json::Value;

/// Nobody of the shop uses it.
pub(crate) const PORT: u16 = 9999;

/// A datagram from one pod to another, whose socket takes it and is silent as long as it lives.
pub(crate) fn send(node: &Node, from: &str, to: &str) -> anyhow::Result<UdpSocket> {
    let there = (address(node, to)?, PORT);
    let silent = within(there.0, || UdpSocket::bind(there))?;
    let from = (address(node, from)?, 0);
    let client = within(from.0, || UdpSocket::bind(from))?;
    client.send_to(b"question", there).context("send it")?;
    Ok(silent)
}

/// The address of the one pod of an app.
fn address(node: &Node, app: &str) -> anyhow::Result<IpAddr> {
    let pods = node.get(&["pods", "-n", "shop", "-l", &format!("app={app}")])?;
    let ip = pods.pointer("/items/0/status/podIP");
    let ip = ip
        .and_then(Value::as_str)
        .context("a pod without an address")?;
    Ok(ip.parse()?)
}

/// Does something in the network namespace of whoever has an address, as the container runtime keeps it.
fn within<T: Send>(
    ip: IpAddr,
    work: impl FnOnce() -> std::io::Result<T> + Send,
) -> anyhow::Result<T> {
    let namespace = OwnedFd::from(File::open(namespace_of(ip)?).context("open the namespace")?);
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            ns::enter(&namespace)?;
            work()
        });
        match inside.join() {
            Ok(done) => done.with_context(|| format!("work where {ip} is")),
            Err(_) => bail!("panicked where {ip} is"),
        }
    })
}

fn namespace_of(ip: IpAddr) -> anyhow::Result<PathBuf> {
    for entry in Path::new("/run/netns").read_dir()? {
        let entry = entry?;
        let name = entry.file_name().display().to_string();
        let links = call(&format!("ip -netns {name} -json address"))?;
        let links: Vec<Value> = serde_json::from_str(&links)?;
        let mut own = links
            .iter()
            .flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
        if own.any(|own| own["local"] == ip.to_string()) {
            return Ok(entry.path());
        }
    }
    bail!("no namespace has {ip}")
}
