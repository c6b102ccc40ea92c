//! Records that an agent has written, from a file.

use std::path::Path;

use node_agent_engine::record::{Connection, SCHEMA};
use serde_json::Value;

use super::connections::{Place, Problem};
use super::{Error, input};

/// Reads the records of connections; those of other types are left out.
pub(super) fn read(path: &Path) -> Result<Vec<Connection>, Error> {
    let text = input::read(path)?;
    let mut connections = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let connection = connection(line).map_err(|problem| Error::Connection {
            place: Place::Line {
                file: path.to_owned(),
                line: index + 1,
            },
            problem,
        })?;
        connections.extend(connection);
    }
    Ok(connections)
}

fn connection(line: &str) -> Result<Option<Connection>, Problem> {
    let wrong = |error: &serde_json::Error| Problem::Record {
        message: error.to_string(),
    };
    let record: Value = serde_json::from_str(line).map_err(|error| wrong(&error))?;
    if record.get("schema").and_then(Value::as_str) != Some(SCHEMA) {
        return Err(Problem::Record {
            message: format!("its `schema` is not `{SCHEMA}`"),
        });
    }
    if record.get("type").and_then(Value::as_str) != Some("connection") {
        return Ok(None);
    }
    serde_json::from_value(record)
        .map(Some)
        .map_err(|error| wrong(&error))
}
