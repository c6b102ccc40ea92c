//! `/metrics`, `/livez` and `/readyz`.

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
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{Error, Metrics};

/// With another content type Prometheus refuses the text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a client may take for its request and for reading the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many clients are answered at a time; more wait until one is done.
const CLIENTS: usize = 32;
/// How long nobody is accepted after that failed: there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

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
    fn missing(&self) -> Option<&'static str> {
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
        let task = tokio::spawn(accept_all(listener, router, PATIENCE));
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

async fn accept_all(listener: TcpListener, router: Router, patience: Duration) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    // It is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(answer(client, router.clone(), patience, place));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One request a connection, so that one limit is enough for everything that a client can delay.
async fn answer(
    client: TcpStream,
    router: Router,
    patience: Duration,
    place: OwnedSemaphorePermit,
) {
    let serving = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(client), TowerToHyperService::new(router));
    match timeout(patience, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "client went away"),
        Err(_) => tracing::debug!("client was too slow"),
    }
    drop(place);
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

    use super::*;

    /// The client that says nothing more is sent away, and others are answered meanwhile.
    #[tokio::test]
    async fn slow_client_holds_nobody_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/livez", get(alive));
        let task = tokio::spawn(accept_all(listener, router, Duration::from_millis(300)));
        let ask = async |request: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        };
        let mut slow = Vec::new();
        for _ in 0..CLIENTS {
            slow.push(ask("GET /livez HT").await);
        }
        let mut answer = String::new();
        let mut quick = ask("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        quick.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("200 OK"), "{answer}");
        for mut stream in slow {
            let mut rest = Vec::new();
            assert!(matches!(
                stream.read_to_end(&mut rest).await,
                Ok(0) | Err(_)
            ));
        }
        task.abort();
    }
}
