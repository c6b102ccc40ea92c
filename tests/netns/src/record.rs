//! Records as a reader of the JSON lines sees them.
//!
//! On purpose not netverdict's own types: what is tested is the line.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use anyhow::{Context, anyhow, bail};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::paths;
use crate::traffic::Protocol;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The line, without its end.
    pub line: String,
    /// What it says.
    pub value: Value,
}

/// Who talked to whom; records of one conversation are told apart by nothing else here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conversation {
    /// Source address.
    pub source: IpAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl fmt::Display for Conversation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.name();
        write!(out, "{} to {}/{protocol}", self.source, self.destination)
    }
}

impl Record {
    /// Reads a line and holds it against the published schema.
    ///
    /// # Errors
    /// When it is no JSON, or the schema does not allow it.
    pub fn read(line: &str) -> anyhow::Result<Self> {
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("no JSON line: `{line}`"))?;
        let wrong: Vec<String> = schema()?
            .iter_errors(&value)
            .flat_map(|error| reasons(&error))
            .collect();
        if !wrong.is_empty() {
            bail!("the schema forbids a record: {}\n{line}", wrong.join("; "));
        }
        Ok(Self {
            line: line.to_owned(),
            value,
        })
    }

    /// The text at a JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer).and_then(Value::as_str)
    }

    /// The number at a JSON pointer.
    #[must_use]
    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.value.pointer(pointer).and_then(Value::as_u64)
    }

    /// `type`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/type").unwrap_or_default()
    }

    /// `assessment`; empty for records of another type.
    #[must_use]
    pub fn assessment(&self) -> &str {
        self.text("/assessment").unwrap_or_default()
    }

    /// `outcome.outcome`; empty for records of another type.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.text("/outcome/outcome").unwrap_or_default()
    }

    /// How many attempts it counts.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.number("/count").unwrap_or_default()
    }

    /// Who talked to whom; only with type `connection`.
    #[must_use]
    pub fn conversation(&self) -> Option<Conversation> {
        let destination: IpAddr = self.text("/destination/ip")?.parse().ok()?;
        let port = u16::try_from(self.number("/destination/port")?).ok()?;
        Some(Conversation {
            source: self.text("/source/ip")?.parse().ok()?,
            destination: SocketAddr::new(destination, port),
            protocol: match self.text("/protocol")? {
                "TCP" => Protocol::Tcp,
                "UDP" => Protocol::Udp,
                _ => return None,
            },
        })
    }
}

/// Says what is wrong where; of several forms that a value may have, the one that it comes nearest to.
fn reasons(error: &ValidationError<'_>) -> Vec<String> {
    use ValidationErrorKind::{AnyOf, Constant, OneOfNotValid};
    let forms = match error.kind() {
        AnyOf { context } | OneOfNotValid { context } => context,
        _ => return vec![format!("{} at `{}`", error.masked(), error.instance_path())],
    };
    // A form with another constant, as another `type`, is farther away than any number of other faults.
    let distance = |form: &&Vec<ValidationError<'_>>| {
        let is_constant = |error: &&ValidationError<'_>| matches!(error.kind(), Constant { .. });
        (form.iter().filter(is_constant).count(), form.len())
    };
    let nearest = forms.iter().min_by_key(distance);
    nearest.into_iter().flatten().flat_map(reasons).collect()
}

/// The published schema, read once.
fn schema() -> anyhow::Result<&'static Validator> {
    static SCHEMA: OnceLock<Result<Validator, String>> = OnceLock::new();
    SCHEMA
        .get_or_init(|| load_schema().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

fn load_schema() -> anyhow::Result<Validator> {
    let file = paths::schema();
    let text = fs::read_to_string(&file)
        .with_context(|| format!("read the record's schema `{}`", file.display()))?;
    let schema: Value = serde_json::from_str(&text).context("the schema is no JSON")?;
    jsonschema::validator_for(&schema).map_err(|error| anyhow!("the schema is no schema: {error}"))
}
