//! The house's own commands: set-up, build, demo, tests and checks.

#[expect(dead_code, reason = "setup and lint, which come next, use it")]
mod recipe;

fn main() {}
