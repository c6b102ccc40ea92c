//! Whether the server is there while no watch has anything to say: a stream that is open and silent tells no quiet
//! cluster from a server that hangs.

use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::pause::between;
use super::problem::Problem;

/// Where the server says that it lives, and that its etcd answers.
const PATH: &str = "/livez";
/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// When the server was heard.
pub(super) struct Pulse {
    client: Client,
    /// It is asked after so much silence.
    silence: Duration,
    ask_at: Instant,
    asking: JoinSet<bool>,
    is_heard: bool,
}

impl Pulse {
    pub(super) fn new(client: Client, silence: Duration) -> Self {
        Self {
            client,
            silence,
            ask_at: Instant::now() + silence,
            asking: JoinSet::new(),
            is_heard: false,
        }
    }

    /// A watch has told something.
    pub(super) fn heard(&mut self) {
        self.is_heard = true;
        self.wait();
    }

    /// Says once whether it was heard since the last time.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.is_heard)
    }

    /// Waits until a server that is silent has answered. Nothing is forgotten when the future is dropped before.
    pub(super) async fn beat(&mut self) {
        while !self.asked().await {
            self.wait();
        }
        self.heard();
    }

    async fn asked(&mut self) -> bool {
        if self.asking.is_empty() {
            sleep_until(self.ask_at).await;
            self.asking.spawn(is_there(self.client.clone()));
        }
        matches!(self.asking.join_next().await, Some(Ok(true)))
    }

    /// What one agent hears all of them hear, and they should not ask together.
    fn wait(&mut self) {
        self.ask_at = Instant::now() + between(self.silence / 2, self.silence);
    }
}

async fn is_there(client: Client) -> bool {
    let Ok(request) = http::Request::get(PATH).body(Vec::new()) else {
        return false;
    };
    match timeout(ANSWER, client.request_text(request)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => match Problem::of(&error) {
            // Who may not ask is answered, too.
            Problem::Forbidden(_) | Problem::NotFound => true,
            Problem::Unreachable(_)
            | Problem::Certificate(_)
            | Problem::Unauthorized
            | Problem::Expired
            | Problem::SetBack
            | Problem::Invalid(_)
            | Problem::Busy(_)
            | Problem::Unavailable(_)
            | Problem::Cut
            | Problem::Silent
            | Problem::Other(_) => false,
        },
        Err(_) => false,
    }
}
