//! JSON lines, written by a thread of their own: a reader that stalls must not stall the agent.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use node_agent_engine::record::Record;
use serde::Serialize as _;
use serde_json::Serializer;

use super::Error;
use super::escape::Harmless;
use super::file::OutputFile;
use crate::settings::Rotate;

/// Batches on their way to the writing thread.
const BATCHES: usize = 16;
/// How much waits for a reader that is slower than the records come; beyond it they are counted as lost.
const WAITING_BYTES: usize = 8 << 20;
/// How long the end waits for the reader.
const FAREWELL: Duration = Duration::from_secs(1);

/// What to do with a reader that is slower than the records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Keep what fits, count the rest as lost: the network does not wait.
    Lose,
    /// Wait: a recording does.
    Wait,
}

/// Writes records, one line each.
pub struct Lines {
    batch: Batch,
    to_writer: SyncSender<Batch>,
    shared: Arc<Shared>,
    patience: Patience,
    finished: Receiver<()>,
}

#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    records: u64,
}

#[derive(Default)]
struct Shared {
    is_closed: AtomicBool,
    lost_total: AtomicU64,
    /// On their way to the writer, or with it.
    sent_bytes: AtomicUsize,
}

impl Lines {
    /// Writes to standard output.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn stdout(patience: Patience) -> Result<Self, Error> {
        Self::to(io::stdout(), patience)
    }

    /// Writes to the end of a file, which only its owner may read when it is new.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn file(path: &Path, rotate: Option<Rotate>, patience: Patience) -> Result<Self, Error> {
        let file = OutputFile::open(path, rotate).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::to(file, patience)
    }

    pub(super) fn to<W: Write + Send + 'static>(
        writer: W,
        patience: Patience,
    ) -> Result<Self, Error> {
        let (to_writer, batches) = mpsc::sync_channel(BATCHES);
        let (done, finished) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                write_all(writer, &batches, &theirs);
                // Nobody listens when the end did not wait for us.
                let _ = done.send(());
            })
            .map_err(|source| Error::Start { source })?;
        Ok(Self {
            batch: Batch::default(),
            to_writer,
            shared,
            patience,
            finished,
        })
    }

    /// Adds a record to the batch.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.check_reader()?;
        let length = self.batch.text.len();
        let waiting = length + self.shared.sent_bytes.load(Ordering::Relaxed);
        let is_full = waiting > WAITING_BYTES && self.patience == Patience::Lose;
        if is_full || serialize(record, &mut self.batch.text).is_err() {
            self.batch.text.truncate(length);
            self.shared.lost_total.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.batch.text.push(b'\n');
        self.batch.records += 1;
        Ok(())
    }

    /// Hands the batch to the writing thread. One that finds no room is kept and grows.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.check_reader()?;
        if self.batch.records == 0 {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let sent = &self.shared.sent_bytes;
        let bytes = batch.text.len();
        sent.fetch_add(bytes, Ordering::Relaxed);
        match self.patience {
            Patience::Lose => match self.to_writer.try_send(batch) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(batch)) => {
                    sent.fetch_sub(bytes, Ordering::Relaxed);
                    self.batch = batch;
                    Ok(())
                }
                Err(TrySendError::Disconnected(_)) => Err(Error::Closed),
            },
            Patience::Wait => self.to_writer.send(batch).map_err(|_| Error::Closed),
        }
    }

    /// Running total of records that were not written.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.shared.lost_total.load(Ordering::Relaxed)
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        let Self {
            to_writer,
            shared,
            patience,
            finished,
            ..
        } = self;
        drop(to_writer);
        match patience {
            Patience::Lose => drop(finished.recv_timeout(FAREWELL)),
            Patience::Wait => drop(finished.recv()),
        }
        if shared.is_closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    fn check_reader(&self) -> Result<(), Error> {
        if self.shared.is_closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        Ok(())
    }
}

fn serialize(record: &Record, text: &mut Vec<u8>) -> serde_json::Result<()> {
    record.serialize(&mut Serializer::with_formatter(text, Harmless::default()))
}

/// Writes batches until there are no more, or nobody reads.
fn write_all<W: Write>(mut writer: W, batches: &Receiver<Batch>, shared: &Shared) {
    let mut is_torn = false;
    let mut is_said = false;
    for Batch { text, records } in batches {
        let mut whole = 0;
        let written = write_batch(&mut writer, &text, &mut is_torn, &mut whole);
        shared.sent_bytes.fetch_sub(text.len(), Ordering::Relaxed);
        let Err(error) = written else {
            is_said = false;
            continue;
        };
        let lost = records.saturating_sub(whole);
        shared.lost_total.fetch_add(lost, Ordering::Relaxed);
        if error.kind() == io::ErrorKind::BrokenPipe {
            shared.is_closed.store(true, Ordering::Relaxed);
            return;
        }
        // The records that follow are counted, not named one by one.
        if !is_said {
            tracing::error!(%error, "cannot write records; what is lost is counted");
            is_said = true;
        }
    }
}

/// Writes a batch and counts its whole lines; after a failure in the middle of a line the next one begins with a
/// line of its own.
fn write_batch<W: Write>(
    writer: &mut W,
    text: &[u8],
    is_torn: &mut bool,
    whole: &mut u64,
) -> io::Result<()> {
    if *is_torn {
        writer.write_all(b"\n")?;
        *is_torn = false;
    }
    let mut rest = text;
    while !rest.is_empty() {
        match writer.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => {
                let (done, left) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                *is_torn = done.last() != Some(&b'\n');
                *whole += done.iter().filter(|byte| **byte == b'\n').count() as u64;
                rest = left;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    writer.flush()
}
