//! Lines on their way out, and what is lost with each that does not get there.

use std::io::{self, Write};

use node_agent_engine::record::{Body, Record};
use serde::Serialize as _;
use serde_json::Serializer;

use crate::shown::Harmless;

/// What is lost with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stake {
    /// What it counts: without it as many are missing in the sum of all records.
    Counts(u64),
    /// The record itself. It stands for much, as what says that something was lost, and there are few of its type:
    /// room is kept for it.
    Itself,
}

/// How much of such records is kept where nothing else is.
pub(super) const KEPT_BYTES: usize = 1 << 20;

impl Stake {
    /// Attempts where a record counts them, else the record itself.
    pub(super) fn of(record: &Record) -> Self {
        match &record.body {
            Body::Connection(connection) => Self::Counts(connection.count),
            Body::Lost(_) | Body::PolicyChange(_) | Body::Scan(_) | Body::NodeNotEnforcing(_) => {
                Self::Itself
            }
        }
    }

    /// How much is lost with it.
    pub(super) fn count(self) -> u64 {
        match self {
            Self::Counts(count) => count,
            Self::Itself => 1,
        }
    }
}

/// Whole lines, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    stakes: Vec<Stake>,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stakes.is_empty()
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// When it cannot be serialized; then nothing was added.
    pub(super) fn push(&mut self, record: &Record) -> serde_json::Result<()> {
        let length = self.text.len();
        let mut to = Serializer::with_formatter(&mut self.text, Harmless::default());
        if let Err(error) = record.serialize(&mut to) {
            self.text.truncate(length);
            return Err(error);
        }
        self.text.push(b'\n');
        self.stakes.push(Stake::of(record));
        Ok(())
    }

    /// Adds all that another batch holds.
    pub(super) fn append(&mut self, mut other: Self) {
        self.text.append(&mut other.text);
        self.stakes.append(&mut other.stakes);
    }

    /// What was lost when only so many lines were written, and what of the rest is kept for the next time.
    fn after(&self, whole: usize) -> (u64, Self) {
        let lines = self.text.split_inclusive(|byte| *byte == b'\n');
        let (mut lost, mut kept) = (0, Self::default());
        for (line, stake) in lines.zip(&self.stakes).skip(whole) {
            match stake {
                Stake::Itself if kept.bytes() + line.len() <= KEPT_BYTES => {
                    kept.text.extend_from_slice(line);
                    kept.stakes.push(*stake);
                }
                Stake::Itself | Stake::Counts(_) => lost += stake.count(),
            }
        }
        (lost, kept)
    }
}

/// Whoever takes the lines.
#[derive(Debug)]
pub(super) struct Taker<W> {
    to: W,
    /// The last line that it took is not whole.
    is_torn: bool,
    /// What could not be written and still has to be.
    kept: Batch,
}

impl<W: Write> Taker<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            is_torn: false,
            kept: Batch::default(),
        }
    }

    /// Writes what was kept and then the batch; says how much was lost when that fails.
    pub(super) fn write(&mut self, batch: Batch) -> Result<(), (u64, io::Error)> {
        let mut all = std::mem::take(&mut self.kept);
        all.append(batch);
        let mut whole = 0;
        self.write_lines(&all.text, &mut whole).map_err(|error| {
            let (lost, kept) = all.after(whole);
            self.kept = kept;
            (lost, error)
        })
    }

    /// Counts whole lines; after a failure in the middle of a line the next one begins with a line of its own.
    fn write_lines(&mut self, text: &[u8], whole: &mut usize) -> io::Result<()> {
        if self.is_torn {
            self.to.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = text;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    let (done, left) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    self.is_torn = done.last() != Some(&b'\n');
                    *whole += done.iter().filter(|byte| **byte == b'\n').count();
                    rest = left;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.to.flush()
    }
}
