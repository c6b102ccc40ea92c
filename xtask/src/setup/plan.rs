//! What to do about what a machine lacks: a pure function of what was found.

use std::fmt;

use super::probe::{Built, Machine, Packages, Rustup};
use crate::cilium;
use crate::kernels::OLDEST;
use crate::kwok;
use crate::node;
use crate::recipe::{LINKER_VERSION, LLVM, TARGET};
use crate::servers;

/// The packages of the compiler with a prebuilt core for the kernel programs' target.
const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// What bpf-linker is built with.
const LINKER: [&str; 3] = ["llvm-22-dev", "zlib1g-dev", "libzstd-dev"];
/// All packages that a plan may name beside the tools'.
pub(crate) const WANTED: [&str; 5] = [
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
];

/// What a machine is set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Building the agent with its kernel programs.
    Build,
    /// Laying out network namespaces, for the demo and the tests.
    Namespaces,
    /// Starting an API server, for the tests; without Go to build one they are skipped.
    Servers,
    /// Starting a whole node of a cluster, for the tests; without Go and apt to make one they are skipped.
    Node,
    /// Starting such a node with Cilium as its network, for the tests; without Go and apt they are skipped.
    Cilium,
    /// Filling an API server with pods, for a bench; without Go to build what does it, that part is left out.
    Kwok,
    /// Building libFuzzer.
    Fuzz,
    /// Emulating a machine with another kernel, for the tests.
    Emulation,
}

impl Purpose {
    /// Everything that set-up is for when nobody says. What one bench alone needs is made when that is asked for.
    pub(crate) const ALL: [Self; 7] = [
        Self::Build,
        Self::Namespaces,
        Self::Servers,
        Self::Node,
        Self::Cilium,
        Self::Fuzz,
        Self::Emulation,
    ];
}

/// One thing that set-up does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    UpdateLists,
    InstallPackages(Vec<&'static str>),
    AddSource,
    AddNightly,
    BuildLinker,
    FetchKernel,
    BuildServers,
    BuildNode,
    BuildCilium,
    BuildKwok,
}

impl Step {
    /// Gives the step's turn: packages before what is built with them.
    fn turn(&self) -> u8 {
        match self {
            Self::UpdateLists => 0,
            Self::InstallPackages(_) => 1,
            Self::AddSource | Self::AddNightly => 2,
            Self::BuildLinker | Self::FetchKernel => 3,
            Self::BuildServers | Self::BuildNode | Self::BuildCilium | Self::BuildKwok => 4,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpdateLists => write!(formatter, "update the package lists (apt-get update)"),
            Self::InstallPackages(names) => {
                write!(formatter, "install packages: {}", names.join(" "))
            }
            Self::AddSource => write!(formatter, "add rust-src to rustup's nightly"),
            Self::AddNightly => write!(
                formatter,
                "install rustup's nightly, minimal, with rust-src"
            ),
            Self::BuildLinker => write!(
                formatter,
                "build bpf-linker {LINKER_VERSION} into the tools' cache"
            ),
            Self::FetchKernel => write!(
                formatter,
                "fetch Debian's kernel {} into the tools' cache",
                OLDEST.version
            ),
            Self::BuildServers => write!(
                formatter,
                "build {} into the tools' cache, which takes minutes",
                servers::title()
            ),
            Self::BuildNode => write!(
                formatter,
                "build {} into the tools' cache, which takes minutes",
                node::title()
            ),
            Self::BuildCilium => write!(
                formatter,
                "build {} into the tools' cache, which takes minutes",
                cilium::title()
            ),
            Self::BuildKwok => write!(
                formatter,
                "build {} into the tools' cache, which takes a minute or two",
                kwok::title()
            ),
        }
    }
}

/// What to do: steps in their order, and what a person must do first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) manual: Vec<String>,
}

impl Plan {
    /// Tells whether nothing is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.manual.is_empty()
    }

    /// Adds packages that this machine needs, or the words that ask for them.
    fn want(&mut self, machine: &Machine, names: &[&'static str]) {
        match (&machine.packages, machine.root) {
            (Packages::Apt { .. }, true) => {
                if let Some(Step::InstallPackages(already)) = self
                    .steps
                    .iter_mut()
                    .find(|step| matches!(step, Step::InstallPackages(_)))
                {
                    already.extend(names);
                } else {
                    self.steps.push(Step::InstallPackages(names.to_vec()));
                }
            }
            (Packages::Apt { .. }, false) => {
                self.manual
                    .push(format!("run as root: apt-get install {}", names.join(" ")));
            }
            (Packages::Other, _) => {
                self.manual
                    .push(format!("install what Debian calls {}", names.join(" ")));
            }
        }
    }
}

/// Decides what to do on this machine for these purposes.
pub(crate) fn plan(machine: &Machine, purposes: &[Purpose]) -> Plan {
    let mut plan = Plan::default();
    for purpose in purposes {
        match purpose {
            Purpose::Build => plan_build(machine, &mut plan),
            Purpose::Namespaces | Purpose::Fuzz | Purpose::Emulation => {
                for tool in machine
                    .missing_tools
                    .iter()
                    .filter(|tool| tool.purpose == *purpose)
                {
                    plan.want(machine, &[tool.package]);
                }
            }
            Purpose::Servers => {
                if machine.servers == Built::ToBuild {
                    plan.steps.push(Step::BuildServers);
                }
            }
            Purpose::Node => {
                if machine.node == Built::ToBuild {
                    plan.steps.push(Step::BuildNode);
                }
            }
            Purpose::Cilium => {
                if machine.cilium == Built::ToBuild {
                    plan.steps.push(Step::BuildCilium);
                }
            }
            Purpose::Kwok => {
                if machine.kwok == Built::ToBuild {
                    plan.steps.push(Step::BuildKwok);
                }
            }
        }
    }
    // Only apt knows where it is to be had.
    if purposes.contains(&Purpose::Emulation)
        && !machine.kernel
        && matches!(machine.packages, Packages::Apt { .. })
    {
        plan.steps.push(Step::FetchKernel);
    }
    // Old lists name packages that are gone and lack those that came, so they are fetched anew first.
    let installs = plan
        .steps
        .iter()
        .any(|step| matches!(step, Step::InstallPackages(_)));
    let lacks_offers = matches!(machine.packages, Packages::Apt { .. }) && !plan.manual.is_empty();
    if machine.root && (installs || lacks_offers) {
        plan.steps.insert(0, Step::UpdateLists);
    }
    plan.steps.sort_by_key(Step::turn);
    plan
}

fn plan_build(machine: &Machine, plan: &mut Plan) {
    if machine.compiler.is_none() {
        plan_compiler(machine, plan);
    }
    if machine.linker.is_some() {
        return;
    }
    let llvm_is_offered = offers(machine, "llvm-22-dev") || lists_are_missing(machine);
    if !machine.llvm && matches!(machine.packages, Packages::Apt { .. }) && !llvm_is_offered {
        plan.manual.push(format!(
            "bpf-linker needs LLVM {LLVM}, which apt does not offer here: add the repository of https://apt.llvm.org \
             for llvm-{LLVM}-dev and run `cargo xtask setup` again"
        ));
    } else if !machine.llvm {
        plan.want(machine, &LINKER);
    }
    if plan.manual.is_empty() {
        plan.steps.push(Step::BuildLinker);
    } else {
        plan.manual
            .push("then run `cargo xtask setup` again: it builds bpf-linker".to_owned());
    }
}

/// Debian's compiler where there is one, else rustup's nightly.
fn plan_compiler(machine: &Machine, plan: &mut Plan) {
    let packaged = COMPILER.iter().all(|name| offers(machine, name));
    match (packaged || lists_are_missing(machine), machine.root, machine.rustup) {
        (true, true, _) => plan.want(machine, &COMPILER),
        (_, _, Rustup::WithNightly) => plan.steps.push(Step::AddSource),
        (_, _, Rustup::Present) => plan.steps.push(Step::AddNightly),
        (true, false, Rustup::Absent) => plan.want(machine, &COMPILER),
        (false, _, Rustup::Absent) => plan.manual.push(format!(
            "no compiler for {TARGET}: install rustup (https://rustup.rs) and run `cargo xtask setup` again"
        )),
    }
}

fn offers(machine: &Machine, package: &str) -> bool {
    match &machine.packages {
        Packages::Apt { offered } => offered.iter().any(|name| name == package),
        Packages::Other => false,
    }
}

/// Tells whether apt's lists were never fetched, as on a fresh container: it then offers nothing at all.
fn lists_are_missing(machine: &Machine) -> bool {
    match &machine.packages {
        Packages::Apt { offered } => {
            machine.root && !offered.iter().any(|name| name == "zlib1g-dev")
        }
        Packages::Other => false,
    }
}

#[cfg(test)]
mod tests;
