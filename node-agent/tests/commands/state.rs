//! What a running agent holds, asked at its socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::thread;

use crate::support::run;

/// What is said when this is what somebody behind a socket answers.
fn said_of(answer: &'static str) -> crate::support::Said {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let serving = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        client.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    let said = run(
        &["state", "--api-socket", &socket.display().to_string()],
        "",
    );
    let request = serving.join().unwrap();
    assert!(
        request.starts_with("GET /v1/state HTTP/1.1\r\n"),
        "{request}"
    );
    said
}

#[test]
fn what_the_agent_answers_is_printed_as_it_is() {
    let said = said_of("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n{}\n{}\n");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(said.stdout, "{}\n{}\n");
    assert_eq!(said.stderr, "");
}

#[test]
fn an_agent_that_does_not_answer_is_lacking() {
    for (answer, words) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 33\r\n\r\nthe cluster is not known \x1b[31myet\n\r\n",
            "the cluster is not known",
        ),
        ("no HTTP at all\r\n\r\n", "no agent answers"),
        ("", "no agent answers"),
    ] {
        let said = said_of(answer);
        assert_eq!(said.code, Some(3), "{answer:?}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{answer:?}: {}", said.stderr);
        assert!(!said.stderr.contains('\x1b'), "{:?}", said.stderr);
        assert_eq!(said.stdout, "", "{answer:?}");
    }
}

/// What comes is not taken for the whole.
#[test]
fn an_answer_that_is_cut_is_no_answer() {
    let said = said_of("HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\n{}\n");
    assert_eq!(said.code, Some(3), "{}", said.stderr);
}

#[test]
fn without_an_agent_the_socket_is_named() {
    let said = run(&["state", "--api-socket", "/nowhere/socket"], "");
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("`/nowhere/socket`"), "{}", said.stderr);
    assert!(said.stderr.contains("--api-socket"), "{}", said.stderr);
}
