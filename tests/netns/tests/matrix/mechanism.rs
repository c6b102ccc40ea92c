//! What stands in an attempt's way: shell commands, and programs that no command attaches.

use std::any::Any;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use netns::bpf::{By, Way};
use netns::node::{NODE_ADDRESSES, TEST_PREFIX};
use netns::ns::Namespace;
use netns::queue::Reader;
use netns::redirect::redirect;
use netns::scenario::Family;
use netns::stopper;

use crate::cell::{Attach, Attempt, Hook, NODE_PORTS};
use crate::cluster::{self, FRIEND};
use crate::stage::Stage;

/// Where cgroups of the second version are, alone or beside those of the first.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

impl Stage<'_> {
    /// Runs an attempt's commands, each where it belongs.
    pub(crate) fn shell(&self, attempt: &Attempt) -> anyhow::Result<()> {
        let cell = self.cell(attempt)?;
        let server = cluster::server(attempt.cell, cell);
        let client = self.client_key(attempt)?;
        let lab = &self.lab;
        for (namespace, script) in [
            (Some(&*lab.near.namespace), &cell.node),
            (Some(&*lab.far().namespace), &cell.far_node),
            (lab.between.as_ref(), &cell.between),
            (Some(lab.inside(&server)?), &cell.server_pod),
            (Some(lab.inside(&client)?), &cell.client_pod),
            (Some(&lab.near.world), &cell.world),
        ] {
            let (Some(namespace), Some(script)) = (namespace, script) else {
                continue;
            };
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace.name(), "sh", "-ec", script]);
            command.envs(self.words(attempt)?);
            let output = command.output().context("start a shell")?;
            if !output.status.success() {
                bail!(
                    "{script}\n{}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
        }
        Ok(())
    }

    /// What the commands of an attempt may name.
    fn words(&self, attempt: &Attempt) -> anyhow::Result<Vec<(&'static str, String)>> {
        let cell = self.cell(attempt)?;
        let (family, v4) = (attempt.family, attempt.family == Family::V4);
        let (server, client) = (
            cluster::server(attempt.cell, cell),
            self.client_key(attempt)?,
        );
        let name = attempt.transport.name(family).to_lowercase();
        let either = |first: &str, second: &str| (if v4 { first } else { second }).to_owned();
        let at = |pod: &str| -> anyhow::Result<String> {
            let address = self.scenario.address(pod, family)?;
            Ok(SocketAddr::new(address, attempt.port).to_string())
        };
        Ok(vec![
            ("port", attempt.port.to_string()),
            ("node_port", (attempt.port + NODE_PORTS).to_string()),
            ("proto", name.replace("icmpv6", "ipv6-icmp")),
            ("family", either("ip", "ip6")),
            ("iptables", either("iptables-nft", "ip6tables-nft")),
            ("legacy", either("iptables-legacy", "ip6tables-legacy")),
            ("icmp", either("icmp", "icmp6")),
            ("inet", either("-4", "-6")),
            ("set_family", either("inet", "inet6")),
            ("address_type", either("ipv4_addr", "ipv6_addr")),
            ("bits", either("32", "128")),
            (
                "server",
                self.scenario.address(&server, family)?.to_string(),
            ),
            (
                "client",
                self.scenario.address(&client, family)?.to_string(),
            ),
            ("to_server", at(&server)?),
            ("to_client", at(&client)?),
            ("server_link", self.lab.pod(&server)?.1.link.clone()),
            ("client_link", self.lab.pod(&client)?.1.link.clone()),
            ("vip", cluster::virtual_address(attempt).to_string()),
            ("lb", cluster::load_balancer(attempt).to_string()),
            ("second", cluster::second(attempt).to_string()),
            ("node_ip", cluster::of(family, NODE_ADDRESSES).to_string()),
            ("world_ip", cluster::of(family, FRIEND).to_string()),
            (
                "prohibited",
                either("icmp-admin-prohibited", "icmp6-adm-prohibited"),
            ),
            ("nobody", cluster::nobody(cell.ground, family).to_string()),
            ("policy", attempt.policy.words().replace(' ', "_")),
            ("gateway", either("169.254.1.1", "fe80::1")),
        ])
    }

    pub(crate) fn attach(
        &self,
        attempt: &Attempt,
        attach: &Attach,
    ) -> anyhow::Result<Box<dyn Any>> {
        let server = cluster::server(attempt.cell, self.cell(attempt)?);
        let (far, server) = self.lab.pod(&server)?;
        let (near, client) = self.lab.pod(&self.client_key(attempt)?)?;
        let at = |node: &Arc<Namespace>, link: &str, hook: &Hook| -> anyhow::Result<Box<dyn Any>> {
            let (by, way) = match hook {
                Hook::TcxIngress => (By::Tcx, Way::In),
                Hook::TcxEgress => (By::Tcx, Way::Out),
                Hook::ClsactIngress => (By::Clsact, Way::In),
                Hook::ClsactEgress => (By::Clsact, Way::Out),
                Hook::Xdp => return self.attach_xdp(node, link, attempt),
            };
            let hanging = stopper::at_interface(node, link, attempt.port, by, way)?;
            Ok(Box::new(hanging))
        };
        match attach {
            Attach::Client(hook) => at(&near.namespace, &client.link, hook),
            Attach::Server(hook) => at(&far.namespace, &server.link, hook),
            Attach::Uplink(hook) => at(&near.namespace, "uplink0", hook),
            Attach::RedirectPeer => {
                let Some(ports) = self.first_of(attempt, |it| it.policy == attempt.policy) else {
                    return Ok(Box::new(()));
                };
                let node = &near.namespace;
                let there = redirect(node, client, server, Some(ports), By::Tcx)?;
                let back = redirect(node, server, client, None, By::Tcx)?;
                Ok(Box::new((there, back)))
            }
            Attach::QueueReader => Ok(Box::new(Reader::start(&near.namespace, attempt.port)?)),
            Attach::Cgroup => {
                let cgroup = Cgroup::make(attempt)?;
                let folder = File::open(&cgroup.0).context("open a cgroup")?;
                let hanging = stopper::in_cgroup(&folder, attempt.port)?;
                Ok(Box::new((hanging, cgroup)))
            }
        }
    }

    /// The ports from the first to the last of the cell's attempts that are alike, if this is the first.
    fn first_of(
        &self,
        attempt: &Attempt,
        alike: impl Fn(&Attempt) -> bool,
    ) -> Option<RangeInclusive<u16>> {
        let all = self.attempts.iter();
        let ports: Vec<u16> = all
            .filter(|it| it.cell == attempt.cell && alike(it))
            .map(|it| it.port)
            .collect();
        let (first, last) = (*ports.first()?, *ports.last()?);
        (first == attempt.port).then_some(first..=last)
    }

    /// An interface takes one such program: it comes with the cell's first attempt.
    fn attach_xdp(
        &self,
        node: &Arc<Namespace>,
        link: &str,
        attempt: &Attempt,
    ) -> anyhow::Result<Box<dyn Any>> {
        match self.first_of(attempt, |_| true) {
            Some(ports) => Ok(Box::new(stopper::by_xdp(node, link, ports)?)),
            None => Ok(Box::new(())),
        }
    }
}

/// A cgroup of an attempt's own, removed when dropped.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    pub(crate) fn path(attempt: &Attempt) -> anyhow::Result<String> {
        let is_second = |root: &&&str| PathBuf::from(root).join("cgroup.controllers").exists();
        let root = CGROUPS.iter().find(is_second).context("no cgroup v2")?;
        Ok(format!(
            "{root}/{TEST_PREFIX}{}-{}",
            std::process::id(),
            attempt.port
        ))
    }

    fn make(attempt: &Attempt) -> anyhow::Result<Self> {
        let path = PathBuf::from(Self::path(attempt)?);
        ensure!(!path.exists(), "`{}` is there already", path.display());
        fs::create_dir(&path).context("make a cgroup")?;
        Ok(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its last process may be on its way out: then it stays, empty.
        let _ = fs::remove_dir(&self.0);
    }
}
