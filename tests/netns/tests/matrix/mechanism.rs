//! What stands in an attempt's way: shell commands, and programs that no command attaches.

use std::any::Any;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail};
use netns::balancer;
use netns::bpf::{By, Way};
use netns::cgroup::Cgroup;
use netns::crowd;
use netns::ns::Namespace;
use netns::queue::Reader;
use netns::redirect::redirect;
use netns::scenario::Family;
use netns::stopper;

use crate::cell::{Attach, Attempt, Ground, Hook, NODE_PORTS};
use crate::cluster::{self, FRIEND};
use crate::stage::Stage;

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
            ("node_ip", cluster::node(cell.ground, family).to_string()),
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
            Attach::Cgroup => self.attach_cgroup(attempt, Some(stopper::Call::Connect)),
            Attach::CgroupSend => self.attach_cgroup(attempt, Some(stopper::Call::Send)),
            Attach::FullTable => {
                if self.first_of(attempt, |_| true).is_some() {
                    crowd::fill(&near.namespace)?;
                }
                Ok(Box::new(()))
            }
            Attach::SocketBalancer => self.attach_cgroup(attempt, None),
        }
    }

    /// A denial stands at the attempt's own cgroup; a load balancer at that of the pods, above it.
    fn attach_cgroup(
        &self,
        attempt: &Attempt,
        denies: Option<stopper::Call>,
    ) -> anyhow::Result<Box<dyn Any>> {
        let cgroup = Cgroup::at(self.cgroups.path(attempt))?;
        let hanging = match denies {
            Some(call) => stopper::in_cgroup(&cgroup.open()?, attempt.port, call)?,
            None => {
                let server = cluster::server(attempt.cell, self.cell(attempt)?);
                let server = self.scenario.address(&server, attempt.family)?;
                let to = SocketAddr::new(server, attempt.port);
                balancer::in_cgroup(&self.cgroups.pods.open()?, attempt.port, to)?
            }
        };
        Ok(Box::new((hanging, cgroup)))
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

/// The cgroups of a ground: a root, the pods' below it, and there one for each attempt.
pub(crate) struct Cgroups {
    // Dropped in this order.
    pods: Cgroup,
    pub(crate) root: Cgroup,
}

impl Cgroups {
    pub(crate) fn make(ground: Ground) -> anyhow::Result<Self> {
        let root = Cgroup::make(&format!("{ground:?}"))?;
        let pods = root.below("kubepods")?;
        Ok(Self { pods, root })
    }

    /// The attempt's own.
    pub(crate) fn path(&self, attempt: &Attempt) -> PathBuf {
        self.pods.path().join(attempt.port.to_string())
    }
}
