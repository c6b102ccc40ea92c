//! Datagrams that go on without a pause and that nobody answers: what becomes of them changes, and is told anew.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::ensure;
use netns::enforcer::{drop_from, drop_no_more};
use netns::ground::DB_FROM_API;
use netns::node::Wiring;
use netns::ns::Namespace;
use netns::record::Record;

use crate::stage::{API, DB, OTHER, Stage, connections, lines};
use crate::{PORT, SHUT};

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(200);
/// A stream that goes on as it did is an attempt each minute.
const LIMIT: Duration = Duration::from_secs(90);

/// One that goes on until it is told of in some way.
struct Stream {
    stage: Stage,
    client: UdpSocket,
    _server: UdpSocket,
}

impl Stream {
    fn open(from: &str) -> anyhow::Result<Self> {
        let stage = Stage::new(Wiring::Routed, DB_FROM_API)?;
        let server = stage.datagrams(DB, stage.row(API)?.port)?;
        let client = stage.datagrams(from, PORT)?;
        client.connect(server.local_addr()?)?;
        Ok(Self {
            stage,
            client,
            _server: server,
        })
    }

    /// Goes on until what it was so far has been counted.
    fn until_counted(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            self.client.send(b"word")?;
            let metrics = self.stage.agent.metrics(self.node())?;
            if metrics.sum("netverdict_connections_total", &[]) > 0 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "it is not counted");
            self.stage.agent.wait_until(PACE, |_| false)?;
        }
    }

    fn node(&self) -> &Namespace {
        &self.stage.ground.node.namespace
    }

    /// Goes on until there are so many records of it; gives what the last one says.
    fn until_told(&mut self, count: usize) -> anyhow::Result<String> {
        let end = Instant::now() + LIMIT;
        let enough = |records: &[Record]| connections(records).count() >= count;
        while Instant::now() < end {
            self.client.send(b"word")?;
            if self.stage.agent.wait_until(PACE, enough)? {
                break;
            }
        }
        let records = self.stage.agent.records();
        let told: Vec<&Record> = connections(records).collect();
        ensure!(
            told.len() == count,
            "not {count} records but:\n{}",
            lines(records)
        );
        Ok(told.last().map(|record| claim(record)).unwrap_or_default())
    }
}

fn claim(record: &Record) -> String {
    match record.text("/unknown_because") {
        Some(because) => format!("unknown: {because}"),
        None => record.assessment().to_owned(),
    }
}

/// What changes while it goes on.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// A policy denies it, and it is stopped.
    Denied,
    /// A policy denies it, and it is let through still, as a conversation of before may be (R40).
    DeniedOnly,
    /// It is stopped, and no policy wants that.
    Stopped,
    /// It was stopped, as policy wants, and is let through.
    LetThrough,
}

/// It is told of once before and once after.
pub(crate) fn goes_on(change: Change, before: &str, after: &str) -> anyhow::Result<()> {
    let from = match change {
        Change::LetThrough => OTHER,
        Change::Denied | Change::DeniedOnly | Change::Stopped => API,
    };
    let mut stream = Stream::open(from)?;
    let address = stream.stage.at(from, 0)?.ip();
    if let Change::LetThrough = change {
        drop_from(stream.node(), address)?;
    }
    let told = stream.until_told(1)?;
    ensure!(told == before, "{told} and not {before}");
    stream.until_counted()?;
    match change {
        Change::Denied => {
            stream.stage.policies(SHUT)?;
            drop_from(stream.node(), address)?;
        }
        Change::DeniedOnly => stream.stage.policies(SHUT)?,
        Change::Stopped => drop_from(stream.node(), address)?,
        Change::LetThrough => drop_no_more(stream.node())?,
    }
    let told = stream.until_told(2)?;
    ensure!(told == after, "{told} and not {after}");
    Ok(())
}
