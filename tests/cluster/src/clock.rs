//! Stands between the agent and an API server whose clock is another: every time that the server tells is moved.
//!
//! A clock cannot be set for one program alone: time namespaces do not move the wall clock, and a static program takes no
//! other one. What the agent could learn of the server's clock is what the server writes, so that is what is moved: all
//! times in its objects, whoever wrote them first, and the `Date` of its answers.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, DATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use futures_util::{AsyncBufReadExt as _, Stream, TryStreamExt as _, stream};
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use netns::ns::Namespace;
use regex::bytes::{Captures, Regex};

use crate::admin::Admin;
use crate::proxy::listen;

/// Whole seconds; what may follow them stays.
const TIME: &str = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d";

/// A server by another clock, without encryption.
pub struct Clock {
    port: u16,
    moved: Arc<AtomicUsize>,
}

/// What its answers need.
struct Shared {
    server: Admin,
    time: Regex,
    ahead: SignedDuration,
    moved: Arc<AtomicUsize>,
}

impl Clock {
    /// Listens on the loopback of a namespace. `ahead` is by how much that clock is, and less than nothing when it is behind.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or nobody be asked by that kubeconfig.
    pub fn within(
        namespace: &Namespace,
        kubeconfig: &Path,
        ahead: SignedDuration,
    ) -> anyhow::Result<Self> {
        let listener = namespace.enter(listen)?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let time = Regex::new(TIME).context("read the pattern of a time")?;
        let moved = Arc::new(AtomicUsize::new(0));
        let (kubeconfig, counted) = (kubeconfig.to_owned(), Arc::clone(&moved));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // The test's own thread waits for connections and children.
        std::thread::spawn(move || {
            runtime.block_on(async {
                let shared = Shared {
                    server: Admin::new(&kubeconfig).await?,
                    time,
                    ahead,
                    moved: counted,
                };
                let router = Router::new().fallback(pass).with_state(Arc::new(shared));
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, router).await?;
                anyhow::Ok(())
            })
        });
        Ok(Self { port, moved })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many times it has moved.
    #[must_use]
    pub fn moved(&self) -> usize {
        self.moved.load(Ordering::SeqCst)
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // Whoever asks here only reads.
    let (asked, _) = request.into_parts();
    let answer = shared.answer(&asked).await;
    answer.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

impl Shared {
    async fn answer(self: Arc<Self>, asked: &Parts) -> anyhow::Result<Response> {
        let mut request = Request::get(asked.uri.to_string());
        if let Some(accept) = asked.headers.get(ACCEPT) {
            request = request.header(ACCEPT, accept);
        }
        let (told, body) = self
            .server
            .ask(request.body(kube::client::Body::empty())?)
            .await?
            .into_parts();
        let now = Timestamp::now().checked_add(self.ahead)?;
        let mut answer = Response::builder().status(told.status).header(
            DATE,
            DateTimePrinter::new().timestamp_to_rfc9110_string(&now)?,
        );
        if let Some(kind) = told.headers.get(CONTENT_TYPE) {
            answer = answer.header(CONTENT_TYPE, kind);
        }
        let lines = self.by_other_clock(Body::new(body));
        Ok(answer.body(Body::from_stream(lines))?)
    }

    /// Line by line: no time is cut in two.
    fn by_other_clock(self: Arc<Self>, body: Body) -> impl Stream<Item = io::Result<Vec<u8>>> {
        let lines = body.into_data_stream().map_err(io::Error::other);
        stream::try_unfold(
            (lines.into_async_read(), self),
            async |(mut lines, shared)| {
                let mut line = Vec::new();
                lines.read_until(b'\n', &mut line).await?;
                let moved = shared.moved_in(&line);
                Ok((!line.is_empty()).then_some((moved, (lines, shared))))
            },
        )
    }

    fn moved_in(&self, line: &[u8]) -> Vec<u8> {
        let other = |found: &Captures<'_>| {
            let written = found
                .get(0)
                .map(|found| found.as_bytes())
                .unwrap_or_default();
            self.moved.fetch_add(1, Ordering::SeqCst);
            self.other(written).unwrap_or_else(|| written.to_owned())
        };
        self.time.replace_all(line, other).into_owned()
    }

    fn other(&self, written: &[u8]) -> Option<Vec<u8>> {
        let time: DateTime = str::from_utf8(written).ok()?.parse().ok()?;
        let other = time.checked_add(self.ahead).ok()?;
        Some(other.strftime("%Y-%m-%dT%H:%M:%S").to_string().into_bytes())
    }
}
