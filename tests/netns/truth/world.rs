//! A node whose pods and policies change all the time, and what netverdict is told of it.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use fastrand::Rng;
use netns::agent::{Agent, Setup};
use netns::node::{Node, PodSpec, ReversePath};
use netns::paths;
use netns::record::Record;
use tempfile::TempDir;

use crate::enforcer::Enforcer;
use crate::ledger::{Ledger, Spell};
use crate::model::{
    self, APPS, App, Direction, Fault, Model, NAMED_PORT, Pod, SLOTS, address, namespace,
};
use crate::traffic::{Attempt, Pair, Traffic};

/// How late the enforcer is at most.
const LAG: Duration = Duration::from_secs(2);
/// Changes come in rounds, as from whoever applies a commit: a claim is confirmed by files that stand still.
const ROUND: Duration = Duration::from_secs(3);
const POLICIES: usize = 4;
const LABELS: usize = 3;
const PODS: usize = 3;
/// The cluster tells of a pod once its interface is there and its file has stood still.
const GRACE: Duration = Duration::from_secs(4);
/// How long is waited for a record before something else is done.
const TURN: Duration = Duration::from_millis(20);

/// What the cluster will be told.
enum Told {
    Coming(usize, Pod),
    Gone(usize, String),
}

pub(crate) struct World {
    // Fields are dropped in this order.
    pub(crate) agent: Agent,
    pub(crate) traffic: Traffic,
    pub(crate) enforcer: Enforcer,
    pub(crate) ledger: Ledger,
    model: Model,
    node: Node,
    cluster: TempDir,
    dice: Rng,
    next_round: Instant,
    told: Vec<Told>,
    /// What must not change: slots, and the apps of their pods.
    pinned: BTreeSet<usize>,
    names: usize,
}

impl World {
    pub(crate) fn new(seed: u64) -> anyhow::Result<Self> {
        let mut dice = Rng::with_seed(seed);
        let model = first_model(&mut dice);
        let cluster = tempfile::tempdir()?;
        let mut node = Node::new("nvb", &[], ReversePath::Open)?;
        write(cluster.path(), "ground", &model::ground_yaml())?;
        for app in 0..APPS {
            for direction in [Direction::Egress, Direction::Ingress] {
                tell_policy(cluster.path(), &model, direction, app)?;
            }
        }
        let state = Arc::new(model.clone());
        let enforcer = Enforcer::start(Arc::clone(&node.namespace), Arc::clone(&state))?;
        let setup = Setup {
            grace: GRACE,
            ..Setup::new(&paths::agent()?, cluster.path()).unhurried()
        };
        let agent = Agent::start(&setup, &node.namespace)?;
        let traffic = Traffic::start(seed);
        let specs: Vec<PodSpec> = (0..SLOTS).filter_map(|slot| spec(&model, slot)).collect();
        node.add_watched_pods(&specs, &agent)?;
        for (slot, pod) in model.pods.iter().enumerate() {
            let pod = pod.as_ref().context("a slot without a pod")?;
            write(cluster.path(), &pod.name, &model::pod_yaml(slot, pod))?;
        }
        for (slot, spec) in specs.iter().enumerate() {
            traffic.add(slot, node.namespace_of(&spec.key)?)?;
        }
        let now = Instant::now();
        Ok(Self {
            agent,
            traffic,
            enforcer,
            ledger: Ledger::new(state),
            model,
            node,
            cluster,
            next_round: now,
            told: Vec::new(),
            pinned: BTreeSet::new(),
            names: SLOTS,
            dice,
        })
    }

    /// Lets everything go on for a moment; true when a record came.
    pub(crate) fn turn(&mut self) -> anyhow::Result<bool> {
        if Instant::now() >= self.next_round {
            self.next_round += ROUND;
            for _ in 0..PODS {
                self.replace_pod()?;
            }
            for _ in 0..POLICIES {
                self.change_policy()?;
            }
            for _ in 0..LABELS {
                self.change_labels()?;
            }
            // Nobody ever hears of what was between two changes of a round.
            self.changed()?;
            self.tell()?;
        }
        Ok(self.agent.next(TURN)?.is_some())
    }

    pub(crate) fn go_on_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn change_policy(&mut self) -> anyhow::Result<()> {
        let app = self.dice.usize(..APPS);
        if self.pinned_apps().contains(&app) {
            return Ok(());
        }
        let direction = match self.dice.bool() {
            true => Direction::Egress,
            false => Direction::Ingress,
        };
        let allowed = some_allowed(&mut self.dice, direction);
        if let Some(app) = self.model.apps.get_mut(app) {
            *app.allowed_mut(direction) = allowed;
        }
        tell_policy(self.cluster.path(), &self.model, direction, app)
    }

    fn change_labels(&mut self) -> anyhow::Result<()> {
        let slot = self.dice.usize(..SLOTS);
        let is_told = !self.told.iter().any(|told| told.slot() == slot);
        if self.pinned.contains(&slot) || !is_told {
            return Ok(());
        }
        let other = self.dice.usize(..APPS);
        let Some(Some(pod)) = self.model.pods.get_mut(slot) else {
            return Ok(());
        };
        if other == pod.app || namespace(other) != namespace(pod.app) {
            return Ok(());
        }
        pod.app = other;
        write(self.cluster.path(), &pod.name, &model::pod_yaml(slot, pod))
    }

    /// A pod goes, and another takes over its address at once; the cluster hears of both later.
    fn replace_pod(&mut self) -> anyhow::Result<()> {
        let slot = self.dice.usize(..SLOTS);
        let is_told = !self.told.iter().any(|told| told.slot() == slot);
        if self.pinned.contains(&slot) || !is_told {
            return Ok(());
        }
        let Some(old) = self.model.pods.get_mut(slot).and_then(Option::take) else {
            return Ok(());
        };
        self.ledger.touch(slot);
        self.changed()?;
        self.traffic.remove(slot);
        self.node.unplug_pod(&key(&old))?;
        self.told.push(Told::Gone(slot, old.name));
        let new = Pod {
            name: format!("p{}", self.names),
            app: self.dice.usize(..APPS),
        };
        self.names += 1;
        if let Some(pod) = self.model.pods.get_mut(slot) {
            *pod = Some(new.clone());
        }
        self.node
            .add_pods(&spec(&self.model, slot).into_iter().collect::<Vec<_>>())?;
        self.traffic
            .add(slot, self.node.namespace_of(&key(&new))?)?;
        self.ledger.touch(slot);
        self.changed()?;
        self.told.push(Told::Coming(slot, new));
        Ok(())
    }

    fn tell(&mut self) -> anyhow::Result<()> {
        for told in std::mem::take(&mut self.told) {
            self.ledger.touch(told.slot());
            match told {
                Told::Coming(slot, pod) => {
                    write(self.cluster.path(), &pod.name, &model::pod_yaml(slot, &pod))?;
                }
                Told::Gone(_, name) => fs::remove_file(file(self.cluster.path(), &name))
                    .context("remove a manifest")?,
            }
        }
        Ok(())
    }

    fn changed(&mut self) -> anyhow::Result<()> {
        let state = Arc::new(self.model.clone());
        self.ledger.changed(Arc::clone(&state));
        self.enforcer.follow(state, LAG.mul_f64(self.dice.f64()))
    }

    fn pinned_apps(&self) -> BTreeSet<usize> {
        let pods = self
            .pinned
            .iter()
            .filter_map(|slot| self.model.pods.get(*slot)?.as_ref());
        pods.map(|pod| pod.app).collect()
    }

    /// Chooses a pair that talks, of which policy says so, and keeps what that rests on as it is.
    pub(crate) fn pin(&mut self, is_denied: bool) -> anyhow::Result<(usize, usize)> {
        loop {
            let from = self.dice.usize(..SLOTS);
            let to = self
                .dice
                .choice(self.traffic.peers(from))
                .copied()
                .unwrap_or_default();
            let denied = self.model.denied(from, to, NAMED_PORT);
            let is_pinned = [from, to].iter().any(|slot| self.pinned.contains(slot));
            if !is_pinned && denied.is_some_and(|denied| denied.is_some() == is_denied) {
                self.pinned.extend([from, to]);
                return Ok((from, to));
            }
            self.turn()?;
        }
    }

    pub(crate) fn unpin(&mut self, (from, to): (usize, usize)) {
        self.pinned.remove(&from);
        self.pinned.remove(&to);
    }

    /// Goes on until everything that a pair rests on has been as it is for long.
    pub(crate) fn let_settle(&mut self, (from, to): (usize, usize)) -> anyhow::Result<()> {
        let (port, protocol) = (NAMED_PORT, netns::traffic::Protocol::Tcp);
        let pair = Pair {
            from,
            to,
            port,
            protocol,
        };
        while !self.ledger.is_settled(Instant::now(), pair) {
            self.turn()?;
        }
        Ok(())
    }

    /// Makes the enforcer wrong about a pair.
    pub(crate) fn break_pair(&mut self, fault: Fault) -> anyhow::Result<Instant> {
        let began = self.enforcer.set_fault(Some(fault))?;
        self.ledger.spells.push(Spell {
            fault,
            began,
            ended: None,
        });
        self.traffic.watch(Some((fault.from, fault.to)));
        Ok(began)
    }

    /// Ends it all once the last attempts are judged.
    pub(crate) fn end(mut self, last_words: Duration) -> anyhow::Result<Ended> {
        let attempts = self.traffic.stop()?;
        self.agent.wait_until(last_words, |_| false)?;
        let finished = self.agent.stop()?;
        Ok(Ended {
            ledger: self.ledger,
            records: finished.records,
            attempts,
            lag: self.enforcer.stop()?,
        })
    }

    /// Makes it right again.
    pub(crate) fn mend(&mut self) -> anyhow::Result<()> {
        self.traffic.watch(None);
        let ended = self.enforcer.set_fault(None)?;
        if let Some(spell) = self.ledger.spells.last_mut() {
            spell.ended = Some(ended);
        }
        Ok(())
    }
}

/// What is left of a world.
pub(crate) struct Ended {
    pub(crate) ledger: Ledger,
    pub(crate) records: Vec<Record>,
    pub(crate) attempts: Vec<Attempt>,
    /// How late the enforcer was at most.
    pub(crate) lag: Duration,
}

impl Told {
    fn slot(&self) -> usize {
        match self {
            Self::Coming(slot, _) | Self::Gone(slot, _) => *slot,
        }
    }
}

fn first_model(dice: &mut Rng) -> Model {
    let pod = |slot| Pod {
        name: format!("p{slot}"),
        app: slot % APPS,
    };
    Model {
        apps: (0..APPS)
            .map(|_| App {
                egress: some_allowed(dice, Direction::Egress),
                ingress: some_allowed(dice, Direction::Ingress),
            })
            .collect(),
        pods: (0..SLOTS).map(|slot| Some(pod(slot))).collect(),
    }
}

/// Ingress is isolated more often, as in most clusters; a rule names some of the apps.
fn some_allowed(dice: &mut Rng, direction: Direction) -> model::Allowed {
    let isolated = match direction {
        Direction::Egress => 30,
        Direction::Ingress => 60,
    };
    let is_isolated = dice.u8(..100) < isolated;
    is_isolated.then(|| (0..APPS).filter(|_| dice.u8(..100) < 60).collect())
}

fn key(pod: &Pod) -> String {
    format!("n{}/{}", namespace(pod.app), pod.name)
}

fn spec(model: &Model, slot: usize) -> Option<PodSpec> {
    let pod = model.pods.get(slot)?.as_ref()?;
    Some(PodSpec {
        key: key(pod),
        addresses: vec![IpAddr::V4(address(slot))],
    })
}

fn tell_policy(
    folder: &Path,
    model: &Model,
    direction: Direction,
    app: usize,
) -> anyhow::Result<()> {
    let name = model::policy_name(direction, app);
    match model
        .apps
        .get(app)
        .and_then(|app| app.allowed(direction).as_ref())
    {
        Some(peers) => write(folder, &name, &model::policy_yaml(direction, app, peers)),
        None => match fs::remove_file(file(folder, &name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove a manifest")
            }
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.yaml"))
}

/// Nobody ever reads half of it.
fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let draft = folder.join(format!("{name}.draft"));
    fs::write(&draft, text).context("write a manifest")?;
    fs::rename(&draft, file(folder, name)).context("put a manifest in its place")
}
