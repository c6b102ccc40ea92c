//! What the core consumed, written down and fed back: JSON lines, a header first.
//!
//! A recording holds every input in order with the time it was consumed at, so that a replay gives the same
//! records. It leaves the meaning of both to the engine.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node_agent_engine::{Input, Moment};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format's name, in every header.
pub const FORMAT: &str = "netverdict/recording/v1";

/// The first line of a recording. `O` is what the core was made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header<O> {
    /// Always [`FORMAT`].
    pub recording: Arc<str>,
    /// Version of netverdict that wrote it.
    pub version: Arc<str>,
    /// What the core was made with; the node's name and the clock's base are part of it.
    pub options: O,
}

/// One line after the header.
#[derive(Serialize, Deserialize)]
struct Frame<I> {
    now: Moment,
    input: I,
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made or opened.
    #[error("cannot open recording `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written any more.
    #[error("cannot write recording `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read any more.
    #[error("cannot read recording `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The first line is no header of ours, or of another version.
    #[error("`{}` is no recording that this version can replay: {message}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A line in the middle makes no sense.
    #[error("recording `{}` line {line}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl<O> Header<O> {
    /// A header of this version.
    pub fn new(options: O) -> Self {
        Self {
            recording: FORMAT.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            options,
        }
    }
}

/// Writes a recording.
pub struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Recorder {
    /// Makes the file, in place of one that is there, and writes the header.
    ///
    /// # Errors
    ///
    /// When that is not possible.
    pub fn create<O: Serialize>(path: &Path, header: &Header<O>) -> Result<Self, Error> {
        let file = File::create(path).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        let mut recorder = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 16, file),
        };
        recorder.line(header)?;
        recorder.flush()?;
        Ok(recorder)
    }

    /// Adds an input that the core is about to consume.
    ///
    /// # Errors
    ///
    /// When the file cannot be written: the recording ends there.
    pub fn note(&mut self, now: Moment, input: &Input) -> Result<(), Error> {
        self.line(&Frame { now, input })
    }

    /// Hands what is buffered to the kernel.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    fn line<T: Serialize>(&mut self, line: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.file, line)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write {
            path: self.path.clone(),
            source,
        }
    }
}

/// Reads a recording up to its last whole line.
pub struct Replay {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
    line_number: u64,
    is_over: bool,
}

impl Replay {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no recording of this format.
    pub fn open<O: DeserializeOwned>(path: &Path) -> Result<(Header<O>, Self), Error> {
        let file = File::open(path).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        let mut replay = Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            line: Vec::new(),
            line_number: 0,
            is_over: false,
        };
        let wrong = |message: String| Error::Header {
            path: path.to_owned(),
            message,
        };
        if !replay.advance()? {
            return Err(wrong("it has no whole line".to_owned()));
        }
        let format = serde_json::from_slice::<serde_json::Value>(&replay.line)
            .ok()
            .and_then(|header| Some(header.get("recording")?.as_str()?.to_owned()))
            .ok_or_else(|| wrong(format!("its first line lacks `\"recording\":\"{FORMAT}\"`")))?;
        if format != FORMAT {
            return Err(wrong(format!("it is `{format}`, not `{FORMAT}`")));
        }
        let header =
            serde_json::from_slice(&replay.line).map_err(|error| wrong(error.to_string()))?;
        Ok((header, replay))
    }

    /// Reads the next line; false at the end, or where a cut file stops in the middle of a line.
    fn advance(&mut self) -> Result<bool, Error> {
        self.line.clear();
        self.line_number += 1;
        self.file
            .read_until(b'\n', &mut self.line)
            .map_err(|source| Error::Read {
                path: self.path.clone(),
                source,
            })?;
        Ok(self.line.last() == Some(&b'\n'))
    }
}

impl Iterator for Replay {
    type Item = Result<(Moment, Input), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let frame = match self.advance() {
            Ok(true) => {
                serde_json::from_slice::<Frame<Input>>(&self.line).map_err(|source| Error::Line {
                    path: self.path.clone(),
                    line: self.line_number,
                    source,
                })
            }
            Ok(false) => {
                self.is_over = true;
                return None;
            }
            Err(error) => Err(error),
        };
        self.is_over = frame.is_err();
        Some(frame.map(|Frame { now, input }| (now, input)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use node_agent_engine::input::{Link, Stage};
    use node_agent_engine::model::Delta;

    use super::*;

    fn inputs() -> Vec<(Moment, Input)> {
        let link = Link {
            index: 3,
            name: "veth\u{7f}\"\n".into(),
            watched_since: Moment(1),
            from_birth: true,
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            foreign_program: None,
            netns: Some(u32::MAX),
        };
        let lost = Input::Lost {
            stage: Stage::Ring,
            total: u64::MAX,
        };
        [
            Input::Link(link),
            lost,
            Input::Delta(Box::new(Delta::NodeGone("node-1".into()))),
            Input::Synced,
            Input::Ended,
        ]
        .into_iter()
        .enumerate()
        .map(|(at, input)| (Moment(at as u64), input))
        .collect()
    }

    fn recorded(folder: &Path) -> PathBuf {
        let path = folder.join("r.jsonl");
        let header = Header::new(vec!["node-1".to_owned()]);
        let mut recorder = Recorder::create(&path, &header).unwrap();
        for (now, input) in inputs() {
            recorder.note(now, &input).unwrap();
        }
        recorder.flush().unwrap();
        path
    }

    fn replayed(path: &Path) -> Result<Vec<(Moment, Input)>, Error> {
        Replay::open::<Vec<String>>(path)?.1.collect()
    }

    #[test]
    fn what_was_recorded_is_replayed() {
        let folder = tempfile::tempdir().unwrap();
        let path = recorded(folder.path());
        assert_eq!(replayed(&path).unwrap(), inputs());
        let (header, _) = Replay::open::<Vec<String>>(&path).unwrap();
        assert_eq!(header.options, ["node-1"]);
    }

    #[test]
    fn cut_file_ends_at_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = recorded(folder.path());
        let bytes = fs::read(&path).unwrap();
        let header_end = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in header_end..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let whole = bytes[header_end..length]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            assert_eq!(replayed(&path).unwrap(), inputs()[..whole], "{length}");
        }
    }

    #[test]
    fn wrong_headers_and_lines_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = recorded(folder.path());
        let good = fs::read_to_string(&path).unwrap();
        let check = |text: &str, wanted: &str| {
            fs::write(&path, text).unwrap();
            let error = replayed(&path).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check("", "no whole line");
        check("{\"schema\":\"netverdict/v1\"}\n", "lacks");
        check("\0\0\n", "lacks");
        check(&good.replace("/v1", "/v2"), "netverdict/recording/v2");
        check(&good.replace("\"options\"", "\"o\""), "options");
        check(&good.replace("\"synced\"", "\"sunk\""), "line 5");
        fs::remove_file(&path).unwrap();
        assert!(matches!(replayed(&path), Err(Error::Open { .. })));
    }
}
