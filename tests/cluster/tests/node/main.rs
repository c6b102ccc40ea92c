//! The agent as it is deployed: its image, and a node of a real cluster that runs it.

mod deployed;
mod image;
mod inside;
mod life;
mod overlay;

use cluster::ground::{self, test};
use cluster::node::{Network, Node};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

static NODE: OnceCell<Mutex<Node>> = OnceCell::const_new();

fn main() {
    if let Err(error) = ground::enter() {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
    let trials = vec![
        test("the image is what it says", image::is_whole),
        test("the image's program needs no other file", image::is_alone),
        test(
            "the overlay for K3s is the base",
            overlay::is_the_base_elsewhere,
        ),
        test("the deployment becomes ready", deployed::becomes_ready),
        test("its log tells of real pods", deployed::tells),
        test("asked, it says what it holds", deployed::is_asked),
        test("a rolling restart leaves nothing", deployed::restarts),
        test("a cluster's life is told", life::is_told),
        test("its deletion leaves nothing", deployed::goes),
    ];
    ground::conclude(trials, end)
}

/// Ends the node, if one was started.
fn end() {
    let Some(node) = NODE.get() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.map(|runtime| runtime.block_on(node.blocking_lock().end()));
    if !matches!(ended, Ok(Ok(()))) {
        eprintln!("error: the node does not end: {ended:?}");
    }
}

/// The node, for one test at a time.
async fn node() -> anyhow::Result<MutexGuard<'static, Node>> {
    let node = NODE
        .get_or_try_init(async || anyhow::Ok(Mutex::new(Node::start(Network::Bridge).await?)))
        .await?;
    Ok(node.lock().await)
}
