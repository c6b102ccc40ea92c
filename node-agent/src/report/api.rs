//! The local socket: what an agent can be asked by whoever is root on its node.
//!
//! It speaks HTTP. Whoever is asked is the loop that owns the engine: questions wait for its turn.

use std::fs::{self, Metadata, Permissions};
use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::{UnixListener, UnixSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::serve::{PATIENCE, accept_all};
use super::{Error, Health};

/// Where the state is to be had.
pub const STATE_PATH: &str = "/v1/state";

/// How many clients are served at a time: each may hold a whole answer.
const CLIENTS: usize = 4;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 16;
/// Its owner may ask, nobody else.
const MODE: u32 = 0o600;

type Answer = oneshot::Sender<Vec<u8>>;

/// Serves until dropped; then the socket is gone.
#[derive(Debug)]
pub struct Api {
    socket: PathBuf,
    ours: Option<(u64, u64)>,
    asked: mpsc::Receiver<Answer>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Told {
    ask: mpsc::Sender<Answer>,
    health: Arc<Health>,
}

impl Api {
    /// Begins to serve, on the runtime that this is called in. A socket that nobody serves any more makes room.
    ///
    /// # Errors
    ///
    /// When the path cannot be used, or another agent serves it.
    pub fn start(socket: &Path, health: Arc<Health>) -> Result<Self, Error> {
        let failed = |source| Error::Socket {
            path: socket.to_owned(),
            source,
        };
        make_room(socket).map_err(failed)?;
        let listener = listen(socket).map_err(failed)?;
        // One at a time: who asks meanwhile waits.
        let (ask, asked) = mpsc::channel(1);
        let router = Router::new()
            .route(STATE_PATH, get(state))
            .with_state(Told { ask, health });
        Ok(Self {
            socket: socket.to_owned(),
            ours: fs::symlink_metadata(socket).ok().map(|file| which(&file)),
            asked,
            task: tokio::spawn(accept_all(listener, router, PATIENCE, CLIENTS)),
        })
    }

    /// Waits until somebody asks for the state. Nothing is forgotten when the future is dropped before it is done.
    pub async fn asked(&mut self) -> Question {
        match self.asked.recv().await {
            Some(answer) => Question(answer),
            None => pending().await,
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
        let there = fs::symlink_metadata(&self.socket);
        // Another agent may have taken its place.
        if there.ok().map(|file| which(&file)) == self.ours {
            drop(fs::remove_file(&self.socket));
        }
    }
}

/// Somebody who asks for the state.
#[derive(Debug)]
pub struct Question(Answer);

impl Question {
    /// Answers it; who has gone away meanwhile misses it.
    pub fn answer(self, lines: Vec<u8>) {
        drop(self.0.send(lines));
    }
}

fn which(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Removes a socket behind which nobody is, and nothing else.
fn make_room(socket: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::other("it is there, and no socket"));
    }
    match UnixStream::connect(socket) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(socket),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("another agent serves it")),
    }
}

/// Nobody can connect before only its owner may.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)
}

async fn state(State(told): State<Told>) -> Response {
    let unavailable = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if let Some(missing) = told.health.missing() {
        return unavailable(missing);
    }
    let (answer, answered) = oneshot::channel();
    if told.ask.send(answer).await.is_err() {
        return unavailable("the agent ends\n");
    }
    match answered.await {
        Ok(lines) => ([(CONTENT_TYPE, "application/jsonl")], lines).into_response(),
        Err(_) => unavailable("the agent ends\n"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream as Client;

    use super::*;

    fn started(socket: &Path) -> Api {
        let health = Health::default();
        health.attached();
        health.synced();
        Api::start(socket, Arc::new(health)).unwrap()
    }

    async fn ask(socket: &Path) -> String {
        let mut client = Client::connect(socket).await.unwrap();
        let request = format!("GET {STATE_PATH} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_its_owner_may_ask_and_gets_what_the_loop_says() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let mut api = started(&socket);
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let serving = async {
            loop {
                api.asked().await.answer(b"{}\n".to_vec());
            }
        };
        let answer = tokio::select! {
            answer = ask(&socket) => answer,
            () = serving => unreachable!("it serves for ever"),
        };
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{}\n"), "{answer}");
    }

    #[tokio::test]
    async fn before_it_knows_the_cluster_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _api = Api::start(&socket, Arc::default()).unwrap();
        let answer = ask(&socket).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }

    #[tokio::test]
    async fn its_socket_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        drop(started(&socket));
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(socket.exists());
        drop(started(&socket));
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let first = started(&socket);
        let said = |error: Error| match error {
            Error::Socket { source, .. } => source.to_string(),
            other => panic!("{other}"),
        };
        let second = Api::start(&socket, Arc::default()).unwrap_err();
        assert!(said(second).contains("another agent"));
        drop(first);
        fs::write(&socket, "somebody's").unwrap();
        let third = Api::start(&socket, Arc::default()).unwrap_err();
        assert!(said(third).contains("no socket"));
        assert_eq!(fs::read(&socket).unwrap(), b"somebody's");
    }
}
