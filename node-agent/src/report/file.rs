//! The output file: it grows at its end, and makes room for a new one between two lines.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::settings::Rotate;

/// A file of lines.
#[derive(Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotate: Option<Rotate>,
    is_between_lines: bool,
    /// It was said that the file cannot be renamed.
    is_stuck: bool,
}

impl OutputFile {
    /// Opens the end of a file, which only its owner may read when it is new.
    pub(super) fn open(path: &Path, rotate: Option<Rotate>) -> io::Result<Self> {
        let mut file = open(path)?;
        let bytes = file.metadata()?.len();
        if let Some(last) = bytes.checked_sub(1) {
            let mut end = [0];
            File::open(path)?.read_exact_at(&mut end, last)?;
            // Whoever wrote it was killed in the middle of a line.
            if end != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            bytes: file.metadata()?.len(),
            file,
            rotate,
            is_between_lines: true,
            is_stuck: false,
        })
    }

    /// The part of `bytes` that goes into this file: whole lines as long as they fit.
    fn fitting<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(rotate) = self.rotate.filter(|_| !self.is_stuck) else {
            return bytes;
        };
        let line = bytes.iter().position(|byte| *byte == b'\n');
        let line = line.map_or(bytes.len(), |end| end + 1);
        let left =
            |bytes| usize::try_from(rotate.bytes.saturating_sub(bytes)).unwrap_or(usize::MAX);
        // A line that no file would hold has one of its own.
        if self.is_between_lines && self.bytes > 0 && line > left(self.bytes) {
            self.begin_anew(rotate.keep);
        }
        let most = left(self.bytes).clamp(line, bytes.len());
        let (fits, _) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
        let end = fits.iter().rposition(|byte| *byte == b'\n');
        end.and_then(|end| fits.get(..=end)).unwrap_or(fits)
    }

    fn begin_anew(&mut self, keep: u32) {
        let renamed = self.make_room(keep).and_then(|()| open(&self.path));
        match renamed {
            Ok(file) => {
                self.file = file;
                self.bytes = 0;
            }
            Err(error) => {
                self.is_stuck = true;
                let path = self.path.display();
                tracing::error!(%path, %error, "cannot begin a new output file; the old one grows on");
            }
        }
    }

    /// The oldest is replaced by the one before it, and so on.
    fn make_room(&self, keep: u32) -> io::Result<()> {
        for number in (1..keep).rev() {
            match fs::rename(self.old(number), self.old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        match fs::rename(&self.path, self.old(1)) {
            // Somebody took it away: that is room enough.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

/// A FIFO, opened by its first line: that waits until somebody reads, and only the thread that writes may.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    file: Option<File>,
}

impl Fifo {
    /// The FIFO at a path, if one is there.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let is_fifo = fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo());
        is_fifo.then(|| Self {
            path: path.to_owned(),
            file: None,
        })
    }
}

impl Write for Fifo {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().write(true).open(&self.path)?),
        };
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = self.fitting(bytes);
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        if let Some(last) = written.checked_sub(1) {
            self.is_between_lines = bytes.get(last) == Some(&b'\n');
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(rotate: Option<Rotate>, texts: &[&str]) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for text in texts {
            let mut file = OutputFile::open(&path, rotate).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn check(rotate: Option<Rotate>, texts: &[&str], wanted: &[(&str, &str)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(write(rotate, texts), wanted);
    }

    #[test]
    fn file_grows_when_nothing_else_is_said() {
        check(
            None,
            &["one\n", "two\nthree\n"],
            &[("out", "one\ntwo\nthree\n")],
        );
    }

    #[test]
    fn torn_line_ends_before_the_next_begins() {
        check(
            None,
            &["one\ntw", "three\n"],
            &[("out", "one\ntw\nthree\n")],
        );
    }

    #[test]
    fn room_is_made_between_lines_and_the_oldest_goes() {
        let rotate = Some(Rotate { bytes: 8, keep: 2 });
        check(rotate, &["aaa\nbbb\n"], &[("out", "aaa\nbbb\n")]);
        check(
            rotate,
            &["aaa\n", "bbb\nccc\n", "ddd\neee\nfff\n"],
            &[
                ("out", "eee\nfff\n"),
                ("out.1", "ccc\nddd\n"),
                ("out.2", "aaa\nbbb\n"),
            ],
        );
        check(
            rotate,
            &["aaa\nbbb\nccc\nddd\neee\nfff\nggg\n"],
            &[
                ("out", "ggg\n"),
                ("out.1", "eee\nfff\n"),
                ("out.2", "ccc\nddd\n"),
            ],
        );
    }

    #[test]
    fn line_that_no_file_holds_has_one_of_its_own() {
        let rotate = Some(Rotate { bytes: 4, keep: 9 });
        check(
            rotate,
            &["a\nlonger than four\nb\n"],
            &[
                ("out", "b\n"),
                ("out.1", "longer than four\n"),
                ("out.2", "a\n"),
            ],
        );
    }
}
