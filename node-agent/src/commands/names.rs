//! What DNS has answered, from a file.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::Error;

/// Reads `{"example.org": ["192.0.2.1"]}`.
pub(super) fn read(path: &Path) -> Result<BTreeMap<Arc<str>, Vec<IpAddr>>, Error> {
    let text = fs::read(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|error| Error::Names {
        path: path.to_owned(),
        message: error.to_string(),
    })
}
