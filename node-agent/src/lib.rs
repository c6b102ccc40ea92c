//! The shell of netverdict: arguments, files, kernel and output around the engine.
//!
//! The rooms `capture`, `cluster` and `report` never name each other; only `agent` joins them.

pub mod agent;
pub mod args;
pub mod capture;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod profile;
pub mod recording;
pub mod report;
pub mod settings;
pub mod shown;
