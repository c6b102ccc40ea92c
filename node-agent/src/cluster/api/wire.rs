//! The JSON of lists and watches, taken apart object by object: one that cannot be read does not spoil the rest.

use std::borrow::Cow;
use std::sync::Arc;

use node_agent_engine::k8s::{Decode, Rejection, Sent, Validation, read_sent, unread_policy};
use node_agent_engine::model::{Delta, ObjectKey};
use serde::Deserialize;
use serde_json::de::StrRead;
use serde_json::value::RawValue;

use super::kinds::Kind;
use super::problem::Problem;
use super::version::Version;

/// The annotation of the bookmark that ends a streamed list.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// How the objects of a kind are read.
pub(super) struct Form {
    kind: &'static Kind,
    /// The version in which the server has it.
    version: Arc<str>,
    /// The same with its group.
    api_version: String,
    /// Its policies are evaluated, but not in this version.
    is_foreign: bool,
    validation: Validation,
}

/// A page of a list.
pub(super) struct Page {
    /// Its objects.
    pub(super) objects: Vec<Sent>,
    /// The version of the list.
    pub(super) version: String,
    /// What the next page is asked for with; empty after the last.
    pub(super) more: String,
}

/// A line of a watch.
pub(super) enum Line {
    There(Box<Sent>),
    Gone(Box<Sent>),
    Bookmark {
        version: String,
        ends_the_list: bool,
    },
    /// Of a type that later servers may add.
    Unknown,
    Problem(Problem),
}

/// Names and versions alone, of an object or of each item of a list.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    annotations: Option<std::collections::BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

#[derive(Deserialize)]
struct WrittenPage<'a> {
    #[serde(borrow)]
    metadata: ListMetadata<'a>,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata<'a> {
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    #[serde(borrow, default)]
    r#continue: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WrittenLine<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

impl Form {
    /// How they are read in a version.
    pub(super) fn new(kind: &'static Kind, version: &Arc<str>, validation: Validation) -> Self {
        Self {
            kind,
            version: Arc::clone(version),
            api_version: kind.api_version(version),
            is_foreign: kind.is_evaluated() && *kind.version != **version,
            validation,
        }
    }

    /// How they are read in another.
    pub(super) fn of_version(&self, version: &Arc<str>) -> Self {
        Self::new(self.kind, version, self.validation)
    }

    pub(super) fn version(&self) -> Arc<str> {
        Arc::clone(&self.version)
    }

    /// The path of all objects.
    pub(super) fn path(&self) -> String {
        self.kind.path(&self.version)
    }

    /// Takes a page apart.
    pub(super) fn page(&self, text: &str) -> Result<Page, Problem> {
        let page: WrittenPage<'_> = serde_json::from_str(text).map_err(unreadable)?;
        let objects = page.items.into_iter().flatten();
        Ok(Page {
            objects: objects.map(|object| self.sent(object)).collect(),
            version: page.metadata.resource_version.into_owned(),
            more: page.metadata.r#continue.into_owned(),
        })
    }

    /// Takes a line of a watch apart.
    pub(super) fn line(&self, text: &[u8]) -> Result<Line, Problem> {
        let text = str::from_utf8(text).map_err(unreadable)?;
        match self.line_of_an_object(text) {
            Some(line) => Ok(line),
            None => self.any_line(text),
        }
    }

    /// A line as servers write it, with an object that can be read: it is gone through once, and nearly all lines are such.
    fn line_of_an_object(&self, text: &str) -> Option<Line> {
        let text = text.strip_prefix("{\"type\":\"")?;
        let (r#type, object) = text.split_once("\",\"object\":")?;
        let line = of_type(r#type)?;
        let mut json = serde_json::Deserializer::from_str(object.strip_suffix('}')?);
        let sent = self.read(&mut json).ok()?;
        // One object and nothing behind it, so the whole is an object, too.
        json.end().ok()?;
        Some(line(Box::new(sent)))
    }

    /// A line that is written otherwise, tells something else or what cannot be read.
    fn any_line(&self, text: &str) -> Result<Line, Problem> {
        let WrittenLine { r#type, object } = serde_json::from_str(text).map_err(unreadable)?;
        if let Some(line) = of_type(&r#type) {
            return Ok(line(Box::new(self.sent(object))));
        }
        Ok(match &*r#type {
            "BOOKMARK" => {
                let Named { metadata } = serde_json::from_str(object.get()).map_err(unreadable)?;
                let annotations = metadata.annotations.unwrap_or_default();
                Line::Bookmark {
                    ends_the_list: annotations
                        .get(LIST_ENDS)
                        .is_some_and(|ends| ends == "true"),
                    version: metadata.resource_version.into_owned(),
                }
            }
            "ERROR" => {
                let Status { code, message } =
                    serde_json::from_str(object.get()).map_err(unreadable)?;
                Line::Problem(Problem::of_status(code, &message, || None))
            }
            _ => Line::Unknown,
        })
    }

    fn sent(&self, object: &RawValue) -> Sent {
        let mut json = serde_json::Deserializer::from_str(object.get());
        self.read(&mut json)
            .unwrap_or_else(|error| unread(self.kind, object, &error))
    }

    fn read(&self, json: &mut serde_json::Deserializer<StrRead<'_>>) -> serde_json::Result<Sent> {
        if self.is_foreign {
            return Named::deserialize(json).map(|Named { metadata }| self.foreign(&metadata));
        }
        let options = Decode {
            validation: self.validation,
            ..Decode::default()
        };
        read_sent((&self.api_version, self.kind.kind), &options, json)
    }

    /// A policy in a version that is not read here: it is there, and nobody knows what it says.
    fn foreign(&self, metadata: &Metadata<'_>) -> Sent {
        let key = metadata.key();
        let decoded = match (self.kind.gone)(self.kind.kind, key.clone()) {
            Delta::PolicyGone(key) => Some(Delta::Policy(unread_policy(key))),
            _ => None,
        };
        Sent {
            key,
            version: (&*metadata.resource_version).into(),
            decoded: Ok(decoded),
        }
    }
}

impl Metadata<'_> {
    fn key(&self) -> ObjectKey {
        ObjectKey {
            namespace: (&*self.namespace).into(),
            name: (&*self.name).into(),
        }
    }
}

/// What a line of a type says of its object; nothing for one that tells of no object.
fn of_type(r#type: &str) -> Option<fn(Box<Sent>) -> Line> {
    match r#type {
        "ADDED" | "MODIFIED" => Some(Line::There),
        "DELETED" => Some(Line::Gone),
        _ => None,
    }
}

/// The version of one object, of which nothing else is read.
pub(super) fn version(text: &str) -> Result<Version, Problem> {
    let Named { metadata } = serde_json::from_str(text).map_err(unreadable)?;
    Ok(Version::from(&*metadata.resource_version))
}

/// Name and version of each item of a list.
pub(super) fn versions(text: &str) -> Result<Vec<(ObjectKey, Version)>, Problem> {
    let page: WrittenPage<'_> = serde_json::from_str(text).map_err(unreadable)?;
    let items = page.items.into_iter().flatten();
    items
        .map(|item| {
            let Named { metadata } = serde_json::from_str(item.get()).map_err(unreadable)?;
            let version = Version::from(&*metadata.resource_version);
            Ok((metadata.key(), version))
        })
        .collect()
}

/// An object that cannot be read still has a name and a version.
fn unread(kind: &Kind, object: &RawValue, error: &serde_json::Error) -> Sent {
    let named = serde_json::from_str(object.get());
    let metadata = named.map_or_else(|_| Metadata::default(), |Named { metadata }| metadata);
    Sent {
        key: metadata.key(),
        version: (&*metadata.resource_version).into(),
        decoded: Err(vec![Rejection {
            object: format!("{} {}/{}", kind.kind, metadata.namespace, metadata.name),
            field: String::new(),
            rule: "V14",
            message: error.to_string(),
        }]),
    }
}

fn unreadable(error: impl std::error::Error) -> Problem {
    Problem::Other(format!("the API server sent what cannot be read: {error}"))
}
