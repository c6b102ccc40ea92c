//! JSON lines, written by a thread of their own: a reader that stalls must not stall the agent.

use std::io::{self, Write};
use std::iter;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use node_agent_engine::record::Record;

use super::Error;
use super::batch::{Batch, KEPT_BYTES, Stake, Taker};
use super::file::{Fifo, OutputFile};
use crate::settings::Rotate;
use crate::shown;

/// Batches on their way to the writing thread.
const BATCHES: usize = 16;
/// How much waits for a reader that is slower than the records come; beyond it they are counted as lost.
const WAITING_BYTES: usize = 8 << 20;
/// How long the end waits for the reader in all.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

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
    /// How long the end may still wait for the reader; none before it has begun.
    farewell: Option<Duration>,
    finished: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    is_closed: AtomicBool,
    lost_total: AtomicU64,
    /// On their way to the writer, or with it.
    sent_bytes: AtomicUsize,
    /// Told, under this lock, when the writer is done with a batch.
    written: (Mutex<()>, Condvar),
    /// What comes after all batches.
    last: Mutex<Batch>,
}

impl Lines {
    /// Writes to standard output.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn stdout(patience: Patience) -> Result<Self, Error> {
        Self::to(io::stdout(), "stdout", patience)
    }

    /// Writes to the end of a file, which only its owner may read when it is new, or to a FIFO.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn file(path: &Path, rotate: Option<Rotate>, patience: Patience) -> Result<Self, Error> {
        let name = path.to_string_lossy();
        let name = shown::text(&name);
        if let Some(fifo) = Fifo::at(path) {
            return Self::to(fifo, &name, patience);
        }
        let file = OutputFile::open(path, rotate).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::to(file, &name, patience)
    }

    pub(super) fn to<W: Write + Send + 'static>(
        writer: W,
        name: &str,
        patience: Patience,
    ) -> Result<Self, Error> {
        let (to_writer, batches) = mpsc::sync_channel(BATCHES);
        let (done, finished) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let (theirs, name) = (Arc::clone(&shared), name.to_owned());
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                write_all(writer, &name, &batches, &theirs);
                // Nobody listens when the end did not wait for us.
                let _ = done.send(());
            })
            .map_err(|source| Error::Start { source })?;
        Ok(Self {
            batch: Batch::default(),
            to_writer,
            shared,
            patience,
            farewell: None,
            finished,
        })
    }

    /// Says that the end begins: all that was held back comes at once now, and may wait for the reader so long.
    pub fn begin_end(&mut self, within: Duration) {
        self.farewell = Some(within);
    }

    /// Adds a record to the batch.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.check_reader()?;
        let stake = Stake::of(record);
        let most = match stake {
            Stake::Counts(_) => WAITING_BYTES,
            Stake::Itself => WAITING_BYTES + KEPT_BYTES,
        };
        let is_full = self.patience == Patience::Lose && self.waiting() > most;
        let has_no_room = is_full && !self.wait_for_room(most)?;
        if has_no_room || self.batch.push(record).is_err() {
            let lost = &self.shared.lost_total;
            lost.fetch_add(stake.count(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Bytes that were not written yet.
    fn waiting(&self) -> usize {
        self.batch.bytes() + self.shared.sent_bytes.load(Ordering::Relaxed)
    }

    /// At the end, waits for the reader while there is time; false when there is no room then.
    fn wait_for_room(&mut self, most: usize) -> Result<bool, Error> {
        while let Some(left) = self.farewell {
            self.flush()?;
            let (lock, written) = &self.shared.written;
            let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
            if self.waiting() <= most {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
            let begun = Instant::now();
            drop(written.wait_timeout(held, left));
            // What the end takes beside waiting is not the reader's fault.
            self.farewell = Some(left.saturating_sub(begun.elapsed()));
        }
        Ok(false)
    }

    /// Hands the batch to the writing thread. One that finds no room is kept and grows.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.check_reader()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let sent = &self.shared.sent_bytes;
        let bytes = batch.bytes();
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

    /// Running total of what was not written: the attempts of a record that counts some, else the record.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.shared.lost_total.load(Ordering::Relaxed)
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// When the reader is gone, and when something was lost although it was waited for.
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        let farewell = self.farewell.unwrap_or(FAREWELL);
        let Self {
            batch,
            to_writer,
            shared,
            patience,
            farewell: _,
            finished,
        } = self;
        shared
            .sent_bytes
            .fetch_add(batch.bytes(), Ordering::Relaxed);
        // What found no room among those that wait comes after them.
        let last = shared.last.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = batch;
        drop(to_writer);
        let is_done = match patience {
            Patience::Lose => finished.recv_timeout(farewell).is_ok(),
            Patience::Wait => finished.recv().is_ok(),
        };
        if shared.is_closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        if !is_done {
            tracing::warn!("the last records were not taken in time and are lost");
        }
        match (patience, shared.lost_total.load(Ordering::Relaxed)) {
            (Patience::Wait, count @ 1..) => Err(Error::Unwritten { count }),
            (Patience::Wait | Patience::Lose, _) => Ok(()),
        }
    }

    fn check_reader(&self) -> Result<(), Error> {
        if self.shared.is_closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        Ok(())
    }
}

impl Shared {
    /// The writer is done with as many bytes.
    fn took(&self, bytes: usize) {
        let (lock, written) = &self.written;
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sent_bytes.fetch_sub(bytes, Ordering::Relaxed);
        drop(held);
        written.notify_one();
    }
}

/// Writes batches until there are no more, or nobody reads.
fn write_all<W: Write>(to: W, name: &str, batches: &Receiver<Batch>, shared: &Shared) {
    let mut taker = Taker::new(to);
    let mut is_failing = false;
    let last = || std::mem::take(&mut *shared.last.lock().unwrap_or_else(PoisonError::into_inner));
    for batch in batches.iter().chain(iter::once_with(last)) {
        let bytes = batch.bytes();
        let written = taker.write(batch);
        shared.took(bytes);
        let Err((lost, error)) = written else {
            if is_failing {
                tracing::info!(output = name, "records are written again");
                is_failing = false;
            }
            continue;
        };
        shared.lost_total.fetch_add(lost, Ordering::Relaxed);
        if error.kind() == io::ErrorKind::BrokenPipe {
            shared.is_closed.store(true, Ordering::Relaxed);
            return;
        }
        // The records that follow are counted, not named one by one.
        if !is_failing {
            tracing::error!(output = name, %error, "cannot write records; what is lost is counted");
            is_failing = true;
        }
    }
}
