//! A server that answers each request as a test says.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use node_agent_engine::k8s::Validation;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::access::{self, Access, Connection};
use super::super::discovery::Groups;
use super::super::kinds::KINDS;
use super::super::said::{Said, What};
use super::super::watch::Watch;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) at: Instant,
    /// How many like it came before.
    pub(super) before: usize,
}

impl Asked {
    /// What sort of question it is.
    pub(super) fn sort(&self) -> Sort {
        let has = |parameter: &str| self.query.split('&').any(|other| other == parameter);
        match (
            self.path.as_str(),
            has("sendInitialEvents=true"),
            has("watch=true"),
        ) {
            ("/apis", _, _) => Sort::Groups,
            ("/livez", _, _) => Sort::Life,
            (_, true, _) => Sort::StreamedList,
            (_, false, true) => Sort::Watch,
            (_, false, false) if has("limit=1") => Sort::Look,
            (_, false, false) => Sort::List,
        }
    }
}

/// Sorts of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Groups,
    /// Whether it is there.
    Life,
    StreamedList,
    Watch,
    /// One object, for the version of the list.
    Look,
    List,
}

/// What is answered.
pub(super) enum Answer {
    /// This.
    Whole(Value),
    /// Nothing: the connection ends.
    Nothing,
    /// A status that is none of success.
    Status(u16),
    /// These lines, and the end of the stream.
    Cut(Vec<Value>),
    /// These lines, and nothing more while the client is there.
    Open(Vec<Value>),
}

pub(super) struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::default());
        let (noted, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                // Whoever goes away is of no interest.
                std::thread::spawn(move || drop(serve(&client, &noted, &*answer)));
            }
        });
        Self { port, asked }
    }

    /// What it was asked so far.
    pub(super) fn asked(&self, sort: Sort) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked.sort() == sort)
            .cloned()
            .collect()
    }

    pub(super) async fn connect(&self) -> Connection {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        let server = format!("http://127.0.0.1:{}", self.port);
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "anybody"}}],
            "users": [{"name": "anybody", "user": {}}],
            "clusters": [{"name": "test", "cluster": {"server": server}}]});
        fs::write(&file, config.to_string()).unwrap();
        let access = Access {
            kubeconfig: Some(file),
            context: None,
        };
        access::connect(&access).await.unwrap()
    }

    /// Watches a kind of it.
    pub(super) async fn watch(&self, kind: usize, groups: Groups) -> Heard {
        self.watch_by(kind, groups, |_| ()).await
    }

    /// The same, otherwise than usual.
    pub(super) async fn watch_by(
        &self,
        kind: usize,
        groups: Groups,
        change: impl FnOnce(&mut Watch),
    ) -> Heard {
        let client = self.connect().await.client;
        let (into, said) = mpsc::channel(1024);
        let (tell, groups) = watch::channel(groups);
        let kind = (kind, &KINDS[kind]);
        let mut watch = Watch::new(client, kind, Validation::Off, into, groups);
        change(&mut watch);
        let running = tokio::spawn(watch.run(Duration::ZERO));
        Heard {
            said,
            running,
            _groups: tell,
        }
    }
}

/// What a watch says.
pub(super) struct Heard {
    said: mpsc::Receiver<Said>,
    running: JoinHandle<()>,
    _groups: watch::Sender<Groups>,
}

impl Heard {
    /// What it says next.
    pub(super) async fn next(&mut self) -> What {
        let said = timeout(LIMIT, self.said.recv()).await;
        said.expect("it says something in time").unwrap().what
    }

    /// What it says up to something.
    pub(super) async fn until(&mut self, wanted: impl Fn(&What) -> bool) -> Vec<What> {
        let mut whats = Vec::new();
        while !whats.last().is_some_and(&wanted) {
            whats.push(self.next().await);
        }
        whats
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn serve(
    mut client: &TcpStream,
    noted: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked) -> Answer,
) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut asked = Asked {
        path: path.to_owned(),
        query: query.to_owned(),
        at: Instant::now(),
        before: 0,
    };
    {
        let mut noted = noted.lock().unwrap();
        let alike = |other: &&Asked| (&other.path, other.sort()) == (&asked.path, asked.sort());
        asked.before = noted.iter().filter(alike).count();
        noted.push(asked.clone());
    }
    let (code, lines, is_open) = match answer(&asked) {
        Answer::Nothing => return Ok(()),
        Answer::Whole(value) => (200, vec![value], false),
        Answer::Cut(lines) => (200, lines, false),
        Answer::Open(lines) => (200, lines, true),
        Answer::Status(code) => (code, vec![status(code)], false),
    };
    let head = "Content-Type: application/json\r\nConnection: close\r\n\r\n";
    write!(client, "HTTP/1.1 {code} Whatever\r\n{head}")?;
    for line in lines {
        writeln!(client, "{line}")?;
    }
    if is_open {
        // Until the client goes.
        reader.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// What servers send when they refuse.
pub(super) fn status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "m", "reason": "r"})
}

/// A line of a watch.
pub(super) fn event(r#type: &str, object: Value) -> Value {
    json!({"type": r#type, "object": object})
}

/// The end of a streamed list.
pub(super) fn ends(version: u64) -> Value {
    event(
        "BOOKMARK",
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"}}}),
    )
}

/// A page that is the last.
pub(super) fn page(version: u64, items: Vec<Value>) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string()}, "items": items})
}
