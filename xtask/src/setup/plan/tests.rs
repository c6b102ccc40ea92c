//! Machines that are made up, and what set-up would do on each.

use std::path::PathBuf;

use super::*;
use crate::recipe::Compiler;
use crate::setup::probe::TOOLS;

const UPDATE: &str = "update the package lists (apt-get update)";
const NIGHTLY: &str = "install rustup's nightly, minimal, with rust-src";
const BUILD_LINKER: &str = "build bpf-linker 0.13.0 into the tools' cache";
const FETCH_KERNEL: &str = "fetch Debian's kernel 5.10 into the tools' cache";

fn offering(names: &[&str]) -> Packages {
    Packages::Apt {
        offered: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn fresh(packages: Packages) -> Machine {
    let missing_tools = TOOLS.to_vec();
    Machine {
        root: true,
        packages,
        rustup: Rustup::Present,
        compiler: None,
        linker: None,
        llvm: false,
        missing_tools,
        kernel: false,
        servers: Built::Present,
        node: Built::Present,
        cilium: Built::Present,
        kwok: Built::ToBuild,
    }
}

fn check(machine: &Machine, steps: &[&str], manual: &[&str]) {
    let plan = plan(machine, &Purpose::ALL);
    let said: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(said, steps);
    assert_eq!(plan.manual.len(), manual.len(), "{:?}", plan.manual);
    for (line, wanted) in plan.manual.iter().zip(manual) {
        assert!(line.contains(wanted), "`{line}` lacks `{wanted}`");
    }
}

#[test]
fn a_fresh_debian_gets_packages_and_then_the_linker() {
    let packages = "install packages: rustc-web libstd-rust-web-dev-bpf llvm-22-dev zlib1g-dev libzstd-dev nftables iproute2 iptables ipset g++ qemu-system-x86 cpio busybox-static";
    check(
        &fresh(offering(&WANTED)),
        &[UPDATE, packages, BUILD_LINKER, FETCH_KERNEL],
        &[],
    );
    // Lists that were never fetched offer nothing: then what Debian should have is hoped for.
    check(
        &fresh(offering(&[])),
        &[UPDATE, packages, BUILD_LINKER, FETCH_KERNEL],
        &[],
    );
}

#[test]
fn a_machine_with_everything_needs_nothing() {
    let machine = Machine {
        compiler: Some(Compiler::Packaged),
        linker: Some(PathBuf::from("bpf-linker")),
        missing_tools: Vec::new(),
        kernel: true,
        ..fresh(offering(&[]))
    };
    check(&machine, &[], &[]);
}

#[test]
fn without_a_packaged_compiler_nightly_is_used() {
    let ubuntu = fresh(offering(&["llvm-22-dev", "zlib1g-dev", "libzstd-dev"]));
    let packages = "install packages: llvm-22-dev zlib1g-dev libzstd-dev nftables iproute2 iptables ipset g++ qemu-system-x86 cpio busybox-static";
    check(
        &ubuntu,
        &[UPDATE, packages, NIGHTLY, BUILD_LINKER, FETCH_KERNEL],
        &[],
    );
    let with_nightly = Machine {
        rustup: Rustup::WithNightly,
        ..ubuntu
    };
    check(
        &with_nightly,
        &[
            UPDATE,
            packages,
            "add rust-src to rustup's nightly",
            BUILD_LINKER,
            FETCH_KERNEL,
        ],
        &[],
    );
}

#[test]
fn an_llvm_that_apt_does_not_offer_is_a_persons_turn() {
    let machine = Machine {
        missing_tools: Vec::new(),
        kernel: true,
        ..fresh(offering(&["zlib1g-dev"]))
    };
    check(
        &machine,
        &[UPDATE, NIGHTLY],
        &["apt.llvm.org", "run `cargo xtask setup` again"],
    );
}

#[test]
fn without_root_it_says_what_root_must_do() {
    let machine = Machine {
        root: false,
        ..fresh(offering(&WANTED))
    };
    let packages = "run as root: apt-get install llvm-22-dev zlib1g-dev libzstd-dev";
    check(
        &machine,
        &[NIGHTLY, FETCH_KERNEL],
        &[
            packages,
            "again",
            "install nftables",
            "install iproute2",
            "install iptables",
            "install ipset",
            "install g++",
            "install qemu-system-x86",
            "install cpio",
            "install busybox-static",
        ],
    );
}

#[test]
fn on_another_distribution_it_names_what_is_needed() {
    let machine = Machine {
        rustup: Rustup::Absent,
        ..fresh(Packages::Other)
    };
    check(
        &machine,
        &[],
        &[
            "https://rustup.rs",
            "llvm-22-dev",
            "again",
            "nftables",
            "iproute2",
            "iptables",
            "ipset",
            "g++",
            "qemu-system-x86",
            "cpio",
            "busybox-static",
        ],
    );
}

#[test]
fn one_purpose_does_not_ask_for_the_others_tools() {
    let machine = Machine {
        missing_tools: TOOLS.to_vec(),
        compiler: Some(Compiler::Nightly),
        ..fresh(offering(&WANTED))
    };
    let machine = Machine {
        linker: Some(PathBuf::from("bpf-linker")),
        ..machine
    };
    assert!(plan(&machine, &[Purpose::Build]).is_empty());
    assert!(!plan(&machine, &[Purpose::Namespaces]).is_empty());
    assert!(!plan(&machine, &[Purpose::Emulation]).is_empty());
}

#[test]
fn a_cluster_is_built_where_go_is_and_nothing_is_asked_for_otherwise() {
    let mut machine = fresh(Packages::Other);
    machine.missing_tools.clear();
    for (servers, steps) in [(Built::ToBuild, 1), (Built::Absent, 0), (Built::Present, 0)] {
        machine.servers = servers;
        machine.node = servers;
        machine.cilium = servers;
        machine.kwok = servers;
        let all = [
            Purpose::Servers,
            Purpose::Node,
            Purpose::Cilium,
            Purpose::Kwok,
        ];
        for purpose in all {
            let plan = plan(&machine, &[purpose]);
            let planned = (plan.steps.len(), plan.manual.len());
            assert_eq!(planned, (steps, 0), "{purpose:?} {servers:?}");
        }
    }
}
