//! An enforcer that is right, but late: what policy says now is in its tables some time later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use netns::ns::Namespace;

use crate::model::{Fault, Model};

enum Order {
    /// What policy says since then, and when it is to be enforced.
    Model(Instant, Instant, Arc<Model>),
    /// What is to go wrong from now on; answered when it does.
    Fault(Option<Fault>, Sender<Instant>),
}

/// A thread that writes nftables rules. Dropped, it ends.
pub(crate) struct Enforcer {
    orders: Sender<Order>,
    thread: JoinHandle<anyhow::Result<Duration>>,
    latest: Instant,
}

impl Enforcer {
    /// Enforces a model at once, and whatever follows as it falls due.
    pub(crate) fn start(node: Arc<Namespace>, model: Arc<Model>) -> anyhow::Result<Self> {
        let mut tables = Tables {
            node,
            model,
            fault: None,
            table: 0,
        };
        tables.write()?;
        let (orders, received) = channel();
        Ok(Self {
            orders,
            thread: std::thread::spawn(move || tables.follow(&received)),
            latest: Instant::now(),
        })
    }

    /// Changes are enforced in their order.
    pub(crate) fn follow(&mut self, model: Arc<Model>, lag: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        self.latest = self.latest.max(now + lag);
        let order = Order::Model(now, self.latest, model);
        self.orders
            .send(order)
            .map_err(|_| anyhow!("the enforcer has ended"))
    }

    /// Makes it wrong, or right again; gives back since when.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) -> anyhow::Result<Instant> {
        let (done, answer) = channel();
        let order = Order::Fault(fault, done);
        self.orders
            .send(order)
            .map_err(|_| anyhow!("the enforcer has ended"))?;
        answer.recv().context("the enforcer has ended")
    }

    /// Ends it; gives back how late it was at most.
    pub(crate) fn stop(self) -> anyhow::Result<Duration> {
        drop(self.orders);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the enforcer panicked")))
    }
}

struct Tables {
    node: Arc<Namespace>,
    model: Arc<Model>,
    fault: Option<Fault>,
    /// Which of the two tables enforces.
    table: usize,
}

impl Tables {
    /// Adds the new table before the old one goes. Within one transaction a packet may be looked at by the new rules
    /// before they count, and by the old ones when they do not count any more: then nothing stops it.
    fn write(&mut self) -> anyhow::Result<()> {
        let [old, new] = [self.table, 1 - self.table].map(|table| format!("truth{table}"));
        self.table = 1 - self.table;
        self.node.nft(&self.model.ruleset(&new, self.fault)?)?;
        self.node
            .nft(&format!("table ip {old} {{}}\ndelete table ip {old}\n"))
    }

    fn follow(mut self, orders: &Receiver<Order>) -> anyhow::Result<Duration> {
        let mut due: VecDeque<(Instant, Instant, Arc<Model>)> = VecDeque::new();
        let mut latest = Duration::ZERO;
        let idle = Duration::from_secs(1);
        loop {
            let wait = due.front().map_or(idle, |(_, at, _)| {
                at.saturating_duration_since(Instant::now())
            });
            match orders.recv_timeout(wait) {
                Ok(Order::Model(since, at, model)) => due.push_back((since, at, model)),
                Ok(Order::Fault(fault, done)) => {
                    self.fault = fault;
                    self.write()?;
                    let _ = done.send(Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(latest),
            }
            let now = Instant::now();
            let mut oldest = None;
            while let Some((since, _, model)) = due.pop_front_if(|(_, at, _)| *at <= now) {
                oldest.get_or_insert(since);
                self.model = model;
            }
            if let Some(since) = oldest {
                self.write()?;
                latest = latest.max(since.elapsed());
            }
        }
    }
}
