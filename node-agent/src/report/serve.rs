//! `/metrics`, `/livez` and `/readyz`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinHandle, yield_now};
use tokio::time::timeout;

use super::{Error, Metrics};

/// With another content type Prometheus refuses the text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a client may take for its request and for reading the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How many clients are served at a time; one more, and the one that is there longest is sent away: whoever asks is
/// answered long before so many others have come, and whoever never asks keeps nobody out.
const CLIENTS: usize = 32;

/// How far the agent has come.
#[derive(Debug, Default)]
pub struct Health {
    is_attached: AtomicBool,
    is_synced: AtomicBool,
}

impl Health {
    /// The hooks see every pod interface there is.
    pub fn attached(&self) {
        self.is_attached.store(true, Ordering::Relaxed);
    }

    /// The first complete picture of the cluster is known.
    pub fn synced(&self) {
        self.is_synced.store(true, Ordering::Relaxed);
    }

    /// What is missing, in words; nothing when it is ready.
    pub(super) fn missing(&self) -> Option<&'static str> {
        if !self.is_attached.load(Ordering::Relaxed) {
            return Some("hooks are not attached yet\n");
        }
        if !self.is_synced.load(Ordering::Relaxed) {
            return Some("the cluster is not known yet\n");
        }
        None
    }
}

#[derive(Clone)]
struct Told {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Serves until dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Begins to serve, on the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// When the address cannot be used.
    pub async fn start(
        address: SocketAddr,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = Router::new()
            .route("/metrics", get(metrics_text))
            .route("/livez", get(alive))
            .route("/readyz", get(ready))
            .with_state(Told { metrics, health });
        let task = tokio::spawn(accept_all(listener, router, PATIENCE, CLIENTS));
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves up to so many clients at a time.
pub(super) async fn accept_all<L>(mut listener: L, router: Router, patience: Duration, most: usize)
where
    L: Listener,
    L::Io: Unpin,
{
    let mut clients: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        // It waits a moment by itself when there are no descriptors left.
        let (client, _) = listener.accept().await;
        clients.retain(|client| !client.is_finished());
        if clients.len() >= most
            && let Some(longest) = clients.pop_front()
        {
            longest.abort();
        }
        let answering = tokio::spawn(answer(client, router.clone(), patience));
        clients.push_back(answering.abort_handle());
        // Many may have come at once: each gets its turn before others take its place.
        yield_now().await;
    }
}

/// One request a connection, so that one limit is enough for everything that a client can delay.
async fn answer<I>(client: I, router: Router, patience: Duration)
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let serving = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(client), TowerToHyperService::new(router));
    match timeout(patience, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "client went away"),
        Err(_) => tracing::debug!("client was too slow"),
    }
}

async fn metrics_text(State(told): State<Told>) -> Response {
    match told.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The agent's loop runs on the thread that answers here: an answer is the proof.
async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(told): State<Told>) -> Response {
    match told.health.missing() {
        None => "ok\n".into_response(),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// Until an answer must have come.
    const LIMIT: Duration = Duration::from_secs(10);
    const ENOUGH: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

    /// Serves with this patience.
    async fn served(patience: Duration) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/livez", get(alive));
        let task = tokio::spawn(accept_all(listener, router, patience, CLIENTS));
        (address, task)
    }

    async fn ask(address: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn is_answered(mut stream: TcpStream) {
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(LIMIT, read).await.expect("no answer").unwrap();
        assert!(answer.contains("200 OK"), "{answer}");
    }

    /// The client that says nothing more is sent away, and others are answered meanwhile.
    #[tokio::test]
    async fn slow_client_holds_nobody_up() {
        let (address, task) = served(Duration::from_millis(300)).await;
        let mut slow = Vec::new();
        for _ in 0..CLIENTS {
            slow.push(ask(address, "GET /livez HT").await);
        }
        is_answered(ask(address, ENOUGH).await).await;
        for mut stream in slow {
            let mut rest = Vec::new();
            assert!(matches!(
                stream.read_to_end(&mut rest).await,
                Ok(0) | Err(_)
            ));
        }
        task.abort();
    }

    /// However many never finish their request, and nobody's patience ends.
    #[tokio::test]
    async fn flood_of_clients_keeps_nobody_out() {
        let (address, task) = served(LIMIT * 100).await;
        let mut flood = Vec::new();
        for _ in 0..3 {
            for _ in 0..2 * CLIENTS {
                flood.push(ask(address, "GET /livez HT").await);
            }
            is_answered(ask(address, ENOUGH).await).await;
        }
        task.abort();
    }

    /// All of them come while the agent is busy, and the one that asks comes first.
    #[tokio::test]
    async fn burst_of_clients_keeps_nobody_out() {
        use std::io::Write as _;
        use std::net::TcpStream as Blocking;

        let (address, task) = served(LIMIT * 100).await;
        let mut first = Blocking::connect(address).unwrap();
        first.write_all(ENOUGH.as_bytes()).unwrap();
        let flood: Vec<_> = (0..3 * CLIENTS)
            .map(|_| Blocking::connect(address).unwrap())
            .collect();
        first.set_nonblocking(true).unwrap();
        is_answered(TcpStream::from_std(first).unwrap()).await;
        drop(flood);
        task.abort();
    }
}
