//! `netverdict state`: what a running agent holds of the cluster.

use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use clap::Args;
use http::{Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::print::Printer;
use super::{Error, Found};
use crate::report::STATE_PATH;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  What does the agent on this node know of a pod, and which policies select it?
    sudo netverdict state | jq 'select(.type == \"pod\" and .key.name == \"web-0\")'

  The same of an agent that runs as a DaemonSet, on one of its nodes:
    kubectl exec -n netverdict netverdict-x7k2p -- /netverdict state

One line of JSON for each object, always in the same order. A pod's `owns` are the addresses that are nobody else's, \
its `ingress` and `egress` the policies that have a say in each direction, in the order in which they are asked. The \
fields are the agent's own and may change with its version.

Exit codes: 0 done, 2 bad usage, 3 no agent answers.";

/// The flags of `netverdict state`, as written.
#[derive(Args, Debug)]
pub struct StateArgs {
    /// The agent's socket, as its own `--api-socket` names it.
    #[arg(
        long,
        value_name = "PATH",
        env = "NETVERDICT_API_SOCKET",
        default_value = "/run/netverdict/api.sock"
    )]
    api_socket: PathBuf,
}

/// Prints what the agent answers.
///
/// # Errors
///
/// When no agent answers, or what it says cannot be written.
pub fn run(args: StateArgs) -> Result<Found, Error> {
    let StateArgs { api_socket } = args;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let asked = runtime.map_err(|source| Error::NoAgent {
        socket: api_socket.clone(),
        source: source.into(),
    });
    asked?.block_on(print_answer(&api_socket))?;
    Ok(Found::Nothing)
}

async fn print_answer(socket: &Path) -> Result<(), Error> {
    let failed = |source| Error::NoAgent {
        socket: socket.to_owned(),
        source,
    };
    let mut answer = ask(socket).await.map_err(failed)?;
    let mut printer = Printer::without_colours();
    while let Some(chunk) = next(&mut answer).await.map_err(failed)? {
        printer.bytes(&chunk)?;
    }
    printer.finish()
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Gives the body of the answer, when it is the state.
async fn ask(socket: &Path) -> Result<Incoming, AnyError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(STATE_PATH)
        .header("host", "localhost")
        .body(String::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    if status == StatusCode::OK {
        return Ok(body);
    }
    let mut said = Vec::new();
    while let Some(chunk) = next(&mut body).await? {
        said.extend_from_slice(&chunk);
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(io::Error::other(format!("it answers {status}: {said}")).into())
}

async fn next(body: &mut Incoming) -> Result<Option<Vec<u8>>, AnyError> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data.to_vec()));
        }
    }
    Ok(None)
}
