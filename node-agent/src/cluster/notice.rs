//! What the operator is told about the files.

use std::fmt;
use std::path::PathBuf;

use super::Refusal;
use crate::shown::{File, text};

/// One thing to tell the operator; said once for each content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file cannot be read or parsed; what it held before stays.
    Broken {
        /// The file.
        file: PathBuf,
        /// Why, with line and column where the parser knows them.
        message: String,
        /// Objects that stay from its last good content.
        kept: usize,
    },
    /// A file that was broken is good again.
    Mended {
        /// The file.
        file: PathBuf,
    },
    /// A file is gone, and its objects with it.
    Vanished {
        /// The file.
        file: PathBuf,
        /// How many objects went.
        objects: usize,
        /// The user named this very file, and no folder that held it.
        is_given: bool,
    },
    /// An object that the API server would refuse is skipped.
    Refused {
        /// The file.
        file: PathBuf,
        /// The document in it, from 1; empty documents are not counted.
        document: usize,
        /// What is wrong.
        refusal: Refusal,
    },
    /// Two different definitions of one object.
    Twice {
        /// The object, `Pod kasm/kasm-db-0`.
        object: String,
        /// Where the definition that counts stands: the last by path, then by document.
        used: PathBuf,
        /// Where the other one stands.
        ignored: PathBuf,
    },
    /// A folder has no content yet.
    Empty {
        /// The path.
        path: PathBuf,
    },
    /// A folder cannot be listed any more; what it held before stays.
    Unlisted {
        /// The folder.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

impl Notice {
    /// Says whether something is wrong, rather than only worth knowing.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        match self {
            Self::Broken { .. }
            | Self::Refused { .. }
            | Self::Twice { .. }
            | Self::Empty { .. }
            | Self::Unlisted { .. } => true,
            Self::Vanished { is_given, .. } => *is_given,
            Self::Mended { .. } => false,
        }
    }

    /// Says whether something that is there, or should be, could not be taken in.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Refused { .. } | Self::Unlisted { .. } => true,
            Self::Vanished { is_given, .. } => *is_given,
            Self::Twice { .. } | Self::Empty { .. } | Self::Mended { .. } => false,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken {
                file,
                message,
                kept,
            } => write!(
                f,
                "{}: {}; keeping its last good state ({kept} objects)",
                File(file),
                text(message)
            ),
            Self::Mended { file } => write!(f, "{}: good again", File(file)),
            Self::Vanished { file, objects, .. } => {
                write!(f, "{}: gone, with {objects} objects", File(file))
            }
            Self::Refused {
                file,
                document,
                refusal,
            } => {
                let refusal = refusal.to_string();
                write!(f, "{} document {document}: {}", File(file), text(&refusal))
            }
            Self::Twice {
                object,
                used,
                ignored,
            } => write!(
                f,
                "{} is defined twice: using {}, not {}",
                text(object),
                File(used),
                File(ignored)
            ),
            Self::Empty { path } => write!(
                f,
                "{} holds nothing to read yet (no .yaml, .yml or .json file, or no content): waiting for content",
                File(path)
            ),
            Self::Unlisted { path, message } => {
                let message = text(message);
                write!(f, "{}: {message}; keeping what it held before", File(path))
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.rule.is_empty() {
            write!(f, " ({})", self.rule)?;
        }
        Ok(())
    }
}
