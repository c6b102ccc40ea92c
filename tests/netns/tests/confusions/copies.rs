//! A mirror's copy of a packet, and the packet.

use anyhow::ensure;
use netns::ground::{DB_FROM_API, LIMIT};
use netns::node::Wiring;

use crate::stage::{API, DB, OTHER, Stage, connections, lines, of};

/// Where copies go, and are dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mirror {
    /// An interface of the node whose other side is on the node as well, and that nothing uses.
    Nowhere,
    /// One that leads to somebody who listens, and is no pod.
    Veth,
    /// A pod that listens: what is not its own it does not take.
    Pod,
}

/// Policy denies it and nobody stops it: what becomes of the copy is no stop.
pub(crate) fn dropped(mirror: Mirror) -> anyhow::Result<()> {
    let mut stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
    let listener = stage.listener()?;
    let node = &stage.ground.node;
    match mirror {
        Mirror::Nowhere => node
            .namespace
            .ip("link add mirror0 type veth peer name mirror1\n\
                 link set mirror1 up\n\
                 link set mirror0 up\n")?,
        Mirror::Veth => {
            let world = node.world.name();
            node.namespace.ip(&format!(
                "link add mirror0 type veth peer name mirror0 netns {world}\nlink set mirror0 up\n"
            ))?;
            node.world.ip("link set mirror0 up\n")?;
            stage.agent.watches("mirror0")?;
        }
        Mirror::Pod => {}
    }
    copy(&stage, mirror)?;
    // Until the agent has heard of the interface.
    stage.agent.settle()?;
    let connected = stage.connect(OTHER, None, LIMIT)?;
    ensure!(connected.is_ok(), "it is stopped");
    listener.accept()?;
    let node = &stage.ground.node.namespace;
    let rules = node.run(&["nft", "list", "ruleset"])?;
    ensure!(
        !rules.contains("counter packets 0 ") && rules.contains("counter packets"),
        "nothing was copied, or dropped:\n{rules}"
    );
    let finished = stage.tells(1)?;
    ensure!(
        of(&finished, "unenforced") == 1
            && connections(&finished.records).all(|it| it.value.get("drops").is_none()),
        "not just unenforced:\n{}",
        lines(&finished.records)
    );
    Ok(())
}

/// Has what goes to the database copied, and the copy dropped.
fn copy(stage: &Stage, mirror: Mirror) -> anyhow::Result<()> {
    let node = &stage.ground.node;
    let to = stage.at(DB, 0)?.ip();
    match mirror {
        Mirror::Nowhere | Mirror::Veth => {
            let client = &node.pod(OTHER)?.link;
            node.namespace.nft(&format!(
                "table netdev copies {{\n\
                 chain made {{\n type filter hook ingress device \"{client}\" priority 0;\n \
                 ip daddr {to} counter dup to \"mirror0\"\n}}\n\
                 chain dropped {{\n type filter hook egress device \"mirror0\" priority 0;\n \
                 ip daddr {to} counter drop\n}}\n}}\n"
            ))
        }
        Mirror::Pod => {
            let third = node.pod(API)?;
            let at = stage.at(API, 0)?.ip();
            let link = &third.link;
            node.namespace.nft(&format!(
                "table ip copies {{\n\
                 chain made {{\n type filter hook prerouting priority mangle;\n \
                 ip daddr {to} counter dup to {at} device \"{link}\"\n}}\n}}\n"
            ))
        }
    }
}
