//! What can go wrong with an API server, in words that a person can act on.

use std::fmt;
use std::time::Duration;

use super::kinds::Kind;

/// Why a request was not answered, or a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// No connection, or none that lasts.
    Unreachable(String),
    /// The server's certificate is not to be trusted.
    Certificate(String),
    /// 401.
    Unauthorized,
    /// 403, with the server's words: one of its own may ask for more than the role of a kind.
    Forbidden(String),
    /// 404: no such kind, or no such object.
    NotFound,
    /// 410: the server has forgotten the version that was asked for.
    Expired,
    /// The server is at a version before one that it told: it was set back.
    SetBack,
    /// 400 or 422: the server does not take the question.
    Invalid(String),
    /// 429: the server is busy, and may say when to come again.
    Busy(Option<Duration>),
    /// 503: nobody is there to answer; who is in front may say when to come again.
    Unavailable(Option<Duration>),
    /// The stream ended within a list, or as soon as it began.
    Cut,
    /// The stream said nothing for too long.
    Silent,
    /// Something else.
    Other(String),
}

/// What a problem concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concerns {
    /// The whole server.
    Server,
    /// Whoever answers for a kind: the server, or one of its own that a kind which is installed may have.
    Answerer,
    /// One kind.
    Kind,
}

impl Problem {
    /// Tells what an error of the client stands for.
    pub(super) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status.code, &status.message, || {
                let details = status.details.as_ref()?;
                Some(Duration::from_secs(details.retry_after_seconds.into()))
                    .filter(|wait| !wait.is_zero())
            }),
            error => {
                let text = chain(error);
                if text.contains("certificate") {
                    Self::Certificate(text)
                } else {
                    Self::Unreachable(text)
                }
            }
        }
    }

    /// Whether somebody has to do something about it.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Certificate(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound => true,
            Self::Expired
            | Self::SetBack
            | Self::Busy(_)
            | Self::Unavailable(_)
            | Self::Cut
            | Self::Silent
            | Self::Invalid(_)
            | Self::Other(_) => false,
        }
    }

    /// Whether a role lacks a rule.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden(_))
    }

    /// Whether another is the same, but for its words.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// What it concerns.
    pub(super) fn concerns(&self) -> Concerns {
        match self {
            Self::Unreachable(_) | Self::Certificate(_) | Self::Unauthorized => Concerns::Server,
            Self::Forbidden(_) | Self::NotFound | Self::Invalid(_) | Self::Other(_) => {
                Concerns::Kind
            }
            Self::Expired
            | Self::SetBack
            | Self::Busy(_)
            | Self::Unavailable(_)
            | Self::Cut
            | Self::Silent => Concerns::Answerer,
        }
    }

    /// How long the server wants to be left alone.
    pub(super) fn wait(&self) -> Duration {
        match self {
            Self::Busy(wait) | Self::Unavailable(wait) => wait.unwrap_or_default(),
            Self::Unreachable(_)
            | Self::Certificate(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::Expired
            | Self::SetBack
            | Self::Cut
            | Self::Silent
            | Self::Invalid(_)
            | Self::Other(_) => Duration::ZERO,
        }
    }

    /// Whether a server that has just begun says it for a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Busy(_) | Self::Unavailable(_) | Self::Cut => true,
            Self::Unreachable(_)
            | Self::Certificate(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::Expired
            | Self::SetBack
            | Self::Silent
            | Self::Invalid(_)
            | Self::Other(_) => false,
        }
    }

    /// Tells what a status of the server stands for.
    pub(super) fn of_status(
        code: u16,
        message: &str,
        retry_after: impl FnOnce() -> Option<Duration>,
    ) -> Self {
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(message.to_owned()),
            404 => Self::NotFound,
            410 => Self::Expired,
            429 => Self::Busy(retry_after()),
            503 => Self::Unavailable(retry_after()),
            504 if message.contains("Too large resource version") => Self::SetBack,
            400 | 422 => Self::Invalid(format!("the API server answered {code}: {message}")),
            code => Self::Other(format!("the API server answered {code}: {message}")),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the API server cannot be reached: {why}"),
            Self::Certificate(why) => {
                write!(f, "the API server's certificate is not trusted: {why}")
            }
            Self::Unauthorized => write!(
                f,
                "the API server does not know who asks (401): the token or client certificate is wrong or has expired"
            ),
            Self::Forbidden(words) => write!(f, "the API server forbids it (403): {words}"),
            Self::NotFound => write!(f, "the API server does not have it (404)"),
            Self::Expired => write!(f, "the API server has forgotten that version (410)"),
            Self::SetBack => write!(f, "the API server is at a version before one that it told"),
            Self::Busy(_) => write!(f, "the API server is busy (429)"),
            Self::Unavailable(_) => {
                write!(
                    f,
                    "the API server says that nobody is there to answer (503)"
                )
            }
            Self::Cut => write!(f, "the API server ended the stream too early"),
            Self::Silent => write!(f, "the API server fell silent"),
            Self::Invalid(why) | Self::Other(why) => write!(f, "{why}"),
        }
    }
}

/// The rules that a ClusterRole lacks, as YAML.
pub(super) fn rules<'a>(kinds: impl IntoIterator<Item = &'a Kind>) -> String {
    let rules: Vec<_> = kinds.into_iter().map(Kind::rule).collect();
    rules.join("\n")
}

/// What an error stems from, each cause said once; the client's own wrapping says nothing.
fn chain(error: &kube::Error) -> String {
    let error: &dyn std::error::Error = error;
    let mut text = String::new();
    let mut next = Some(error.source().unwrap_or(error));
    while let Some(error) = next {
        let message = error.to_string();
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
        next = error.source();
    }
    text
}
