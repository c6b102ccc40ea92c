//! The ground itself, without netverdict: what the clients see is what the enforcement and the servers make of it.

use netns::enforcer::{Mode, Stop};
use netns::run::Plan;
use netns::scenario::{Family, Scenario};
use netns::traffic::Server;
use netns::trials;

fn main() -> anyhow::Result<()> {
    let grounds = [
        ("enforced", Mode::Enforced(Stop::Drop), Server::Answering),
        ("rejected", Mode::Enforced(Stop::PortUnreachable), Server::Answering),
        ("not enforced", Mode::NotEnforced, Server::Answering),
        ("closed", Mode::NotEnforced, Server::Closed),
    ];
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (what, mode, server) in grounds {
            all.extend(trials::rows(Plan {
                name: format!("kasm {} {what}:", family.name()),
                scenario: Scenario::read("kasm")?,
                family,
                mode,
                server,
                agent: None,
            }));
        }
    }
    all.extend(trials::rows(Plan {
        name: "vdi not enforced:".to_owned(),
        scenario: Scenario::read("vdi")?,
        family: Family::V4,
        mode: Mode::NotEnforced,
        server: Server::Answering,
        agent: None,
    }));
    trials::conclude(all)
}
