//! `/metrics`, `/livez` and `/readyz`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Error, Metrics};

/// With another content type Prometheus refuses the text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    task: JoinHandle<io::Result<()>>,
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
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
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
