//! YAML to objects to deltas: nothing that somebody writes may do more than be refused.

#![expect(clippy::panic, reason = "a difference ends the run")]

use node_agent_engine::k8s::{Decode, Validation, decode, items};
use node_agent_engine::model::Delta;
use serde_json::Value;

/// Reads bytes as manifests and decodes every object of them.
///
/// # Panics
///
/// When what passes validation means something else without it, or a delta does not survive being written
/// down, as a recording does.
pub fn run(bytes: &[u8]) {
    for document in documents(bytes) {
        for object in items(&document) {
            let Ok(strict) = decode(&object, &Decode::default()) else {
                continue;
            };
            let lenient = deltas(&object);
            if strict != lenient {
                panic!("{object} means {strict:?} when it is validated, {lenient:?} when not");
            }
            for delta in strict {
                check_written(&delta);
            }
        }
    }
}

/// The documents of some YAML; none when it is malformed.
pub(crate) fn documents(bytes: &[u8]) -> Vec<Value> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Vec::new();
    };
    serde_saphyr::from_multiple(text).unwrap_or_default()
}

/// The deltas of an object, taken as far as it makes sense.
pub(crate) fn deltas(object: &Value) -> Vec<Delta> {
    let options = Decode {
        validation: Validation::Off,
        ..Decode::default()
    };
    decode(object, &options).unwrap_or_default()
}

fn check_written(delta: &Delta) {
    let written = serde_json::to_string(delta).unwrap_or_else(|error| panic!("{error}: {delta:?}"));
    let read: Delta =
        serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    if read != *delta {
        panic!("{delta:?} is written {written} and read as {read:?}");
    }
}
