//! An API server that knows how to list by a stream, and how to watch.

use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use cluster::plane::plain_kubeconfig;
use tempfile::NamedTempFile;

use crate::measure::{BURST, Source};
use crate::objects::{KINDS, Objects, event};

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";

/// Serves one cluster on a port of its own.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
    kubeconfig: NamedTempFile,
}

/// What its threads have in common.
struct Shared {
    objects: Objects,
    /// Bytes that were asked of it, heads left out.
    sent: AtomicU64,
    /// When something was asked first.
    asked: Mutex<Option<Instant>>,
    /// Who follows a kind.
    followers: Mutex<Vec<(String, Sender<Vec<u8>>)>>,
}

impl Server {
    pub(crate) fn start(objects: Objects) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listen")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            objects,
            sent: AtomicU64::new(0),
            asked: Mutex::default(),
            followers: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&theirs);
                // Whoever goes away is of no interest.
                std::thread::spawn(move || drop(shared.answer(client)));
            }
        });
        let kubeconfig = NamedTempFile::new().context("make a kubeconfig")?;
        let config = plain_kubeconfig(port).to_string();
        fs::write(&kubeconfig, config).context("write a kubeconfig")?;
        Ok(Self {
            port,
            shared,
            kubeconfig,
        })
    }

    fn asked_first(&self) -> MutexGuard<'_, Option<Instant>> {
        self.shared
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Server {
    fn name(&self) -> String {
        format!("{} pods", self.shared.objects.size.pods)
    }

    fn read(&self) -> anyhow::Result<()> {
        for (path, plural) in KINDS {
            let mut stream =
                TcpStream::connect(("127.0.0.1", self.port)).context("reach the server")?;
            write!(
                stream,
                "GET {path}/{plural}?sendInitialEvents=true HTTP/1.1\r\n\r\n"
            )?;
            let lines = BufReader::with_capacity(1 << 16, stream).split(b'\n');
            let mut lines = lines.map_while(Result::ok);
            let ends = lines.any(|line| line.starts_with(b"{\"type\":\"BOOKMARK\""));
            ensure!(ends, "the list of {plural} did not end");
        }
        Ok(())
    }

    fn begin(&mut self) -> anyhow::Result<PathBuf> {
        self.shared.sent.store(0, Ordering::Relaxed);
        self.asked_first().take();
        Ok(self.kubeconfig.path().to_owned())
    }

    fn asked(&self) -> Option<Instant> {
        *self.asked_first()
    }

    fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    fn change_pods(&self, round: usize) -> anyhow::Result<()> {
        let objects = &self.shared.objects;
        let mut lines = Vec::new();
        for place in 0..BURST {
            let number = objects.changed(round, place);
            objects.pod("MODIFIED", number, round, &mut lines)?;
        }
        self.shared.tell("pods", &lines);
        Ok(())
    }

    fn change_policy(&self, round: usize) -> anyhow::Result<()> {
        let objects = &self.shared.objects;
        let policy = objects.policy(round % objects.size.policies, round);
        let mut line = Vec::new();
        event("MODIFIED", &policy, &mut line)?;
        self.shared.tell("networkpolicies", &line);
        Ok(())
    }
}

impl Shared {
    /// Tells everybody who follows a kind.
    fn tell(&self, plural: &str, lines: &[u8]) {
        let mut followers = self
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        followers
            .retain(|(kind, follower)| kind != plural || follower.send(lines.to_vec()).is_ok());
    }

    fn answer(&self, client: TcpStream) -> io::Result<()> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(Instant::now);
        client.set_nodelay(true)?;
        let Some((path, query)) = request(&client)? else {
            return Ok(());
        };
        let out = &client;
        if path == "/apis" {
            let groups = b"{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[]}";
            let mut out = out;
            return out.write_all(HEAD).and_then(|()| out.write_all(groups));
        }
        if path == "/livez" {
            let mut out = out;
            return out.write_all(HEAD).and_then(|()| out.write_all(b"ok"));
        }
        let plural = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut out = BufWriter::with_capacity(1 << 16, Counted { out, shared: self });
        out.get_mut().out.write_all(HEAD)?;
        let (follower, changes) = channel();
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((plural.clone(), follower));
        if query.contains("sendInitialEvents=true") {
            self.objects.list(&plural, &mut out)?;
            let bookmark = serde_json::json!({"kind": "Bookmark", "metadata": {"resourceVersion": "1",
                "annotations": {"k8s.io/initial-events-end": "true"}}});
            event("BOOKMARK", &bookmark, &mut out)?;
        }
        out.flush()?;
        for lines in changes {
            out.write_all(&lines)?;
            out.flush()?;
        }
        Ok(())
    }
}

/// Path and query.
fn request(client: &TcpStream) -> io::Result<Option<(String, String)>> {
    let mut lines = BufReader::new(client).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(None);
    };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some((path.to_owned(), query.to_owned())))
}

/// Counts what passes.
struct Counted<'a> {
    out: &'a TcpStream,
    shared: &'a Shared,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        let count = u64::try_from(written).unwrap_or_default();
        self.shared.sent.fetch_add(count, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
