//! The JSON Schema of a record.

/// The published schema, 2020-12.
pub const SCHEMA_TEXT: &str = include_str!("../../schema/netverdict-v1.schema.json");
