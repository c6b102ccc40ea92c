//! The scenes, one after another, and what has to come of each.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anstream::println;
use anyhow::{Context, anyhow};
use netns::agent::Agent;
use netns::record::{Conversation, Record};
use netns::scenario::Family;
use netns::traffic::{Client, Protocol, Saw};

use crate::stage::Stage;
use crate::words;

const CLIENT_LIMIT: Duration = Duration::from_millis(1300);
/// A drop that policy does not want is told when its attempt has ended: deadline, sweep and confirmation.
const RECORD_LIMIT: Duration = Duration::from_secs(8);

/// One connection and what netverdict has to say about it.
pub(crate) struct Scene {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) family: Family,
    pub(crate) assessment: &'static str,
}

impl Scene {
    const fn tcp4(from: &'static str, to: &'static str, port: u16, says: &'static str) -> Self {
        Self {
            from,
            to,
            port,
            protocol: Protocol::Tcp,
            family: Family::V4,
            assessment: says,
        }
    }

    const fn over(mut self, protocol: Protocol, family: Family) -> Self {
        self.protocol = protocol;
        self.family = family;
        self
    }
}

const SCENES: [Scene; 12] = [
    Scene::tcp4("shop/api-0", "shop/db-0", 5432, "allowed"),
    Scene::tcp4("shop/web-0", "kube-system/coredns-0", 53, "allowed")
        .over(Protocol::Udp, Family::V4),
    Scene::tcp4("shop/web-0", "shop/api-0", 8080, "allowed").over(Protocol::Tcp, Family::V6),
    Scene::tcp4("shop/web-0", "203.0.113.80", 443, "allowed"),
    Scene::tcp4("shop/web-0", "2001:db8:80::80", 443, "allowed").over(Protocol::Tcp, Family::V6),
    Scene::tcp4("shop/web-0", "192.168.1.10", 445, "blocked"),
    Scene::tcp4("tools/debug-0", "shop/db-0", 5432, "blocked"),
    Scene::tcp4("shop/web-0", "shop/db-0", 5432, "blocked"),
    Scene::tcp4("shop/db-0", "tools/wiki-0", 8080, "blocked").over(Protocol::Tcp, Family::V6),
    Scene::tcp4("tools/reports-0", "tools/wiki-0", 9090, "refused"),
    Scene::tcp4("tools/reports-0", "shop/api-0", 8080, "unenforced"),
    Scene::tcp4("shop/worker-0", "shop/db-0", 5432, "unexpected_drop")
        .over(Protocol::Tcp, Family::V6),
];

/// A scene that was played.
pub(crate) struct Played {
    pub(crate) scene: &'static Scene,
    pub(crate) saw: Saw,
    /// What the first record of it says; `None` when there was none in time.
    pub(crate) record: Option<Record>,
}

/// All scenes, played.
pub(crate) struct Outcome {
    pub(crate) played: Vec<Played>,
}

impl Outcome {
    /// What did not come as it should, a line each.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.played
            .iter()
            .filter_map(|Played { scene, record, .. }| {
                let found = record.as_ref().map(Record::assessment);
                (found != Some(scene.assessment)).then(|| {
                    format!(
                        "{} to {} port {}: `{}` was expected, {} came",
                        scene.from,
                        scene.to,
                        scene.port,
                        scene.assessment,
                        found.map_or("nothing".to_owned(), |found| format!("`{found}`"))
                    )
                })
            })
            .collect()
    }
}

/// Records as they come: printed, and kept in the file.
pub(crate) struct Told {
    file: File,
    records: Vec<Record>,
}

impl Told {
    pub(crate) fn new(output: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            file: File::create(output).with_context(|| format!("write `{}`", output.display()))?,
            records: Vec::new(),
        })
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Prints a record and keeps it.
    pub(crate) fn tell(&mut self, record: &Record) -> anyhow::Result<()> {
        if let Some(text) = words::of(record) {
            println!("{text}\n");
        }
        self.keep(record)
    }

    /// Keeps those that came at the end.
    pub(crate) fn take_rest(&mut self, all: Vec<Record>) -> anyhow::Result<()> {
        for record in all.iter().skip(self.records.len()) {
            self.keep(record)?;
        }
        Ok(())
    }

    fn keep(&mut self, record: &Record) -> anyhow::Result<()> {
        writeln!(self.file, "{}", record.line).context("write a record")?;
        self.records.push(record.clone());
        Ok(())
    }
}

/// Plays every scene and prints each record as it arrives.
pub(crate) fn tell(stage: &Stage, agent: &mut Agent, told: &mut Told) -> anyhow::Result<Outcome> {
    agent.settle()?;
    let mut played = Vec::new();
    for scene in &SCENES {
        let conversation = conversation(stage, scene)?;
        let client = Client::open(
            stage.place(scene.from)?,
            conversation.destination,
            scene.protocol,
        )?;
        let client = std::thread::spawn(move || client.try_it(CLIENT_LIMIT));
        let is_it = |record: &Record| record.conversation().as_ref() == Some(&conversation);
        agent.wait_until(RECORD_LIMIT, |records| {
            for record in records.iter().skip(told.records.len()) {
                // A file that cannot be written is told by the file itself, at the end.
                drop(told.tell(record));
            }
            records.iter().any(is_it)
        })?;
        let saw = client.join().map_err(|_| anyhow!("a client panicked"))??;
        played.push(Played {
            scene,
            saw,
            record: agent.records().iter().find(|record| is_it(record)).cloned(),
        });
    }
    Ok(Outcome { played })
}

fn conversation(stage: &Stage, scene: &Scene) -> anyhow::Result<Conversation> {
    let address = |place: &str| {
        stage
            .addresses(place)?
            .into_iter()
            .find(|address| scene.family.has(*address))
            .with_context(|| format!("`{place}` has no {} address", scene.family.name()))
    };
    Ok(Conversation {
        source: address(scene.from)?,
        destination: SocketAddr::new(address(scene.to)?, scene.port),
        protocol: scene.protocol,
    })
}
