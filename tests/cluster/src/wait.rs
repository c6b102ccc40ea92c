//! The loop that waits.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use crate::ground::LIMIT;

const AGAIN: Duration = Duration::from_millis(20);

/// Waits until a condition holds.
///
/// # Errors
/// When it does not in time, or cannot be looked at.
pub async fn until(
    what: impl Fn() -> String,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    while !holds().await? {
        if Instant::now() >= end {
            bail!("not so after {LIMIT:?}: {}", what());
        }
        sleep(AGAIN).await;
    }
    Ok(())
}
