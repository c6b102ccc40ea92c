//! What is made of a kubeconfig, and of the environment.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::super::access::{self, Access};
use crate::cluster::Error;

fn kubeconfig() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "test", "user": "anybody"}},
            {"name": "there", "context": {"cluster": "test", "user": "anybody"}}],
        "users": [{"name": "anybody", "user": {}}],
        "clusters": [{"name": "test", "cluster": {"server": "http://127.0.0.1:1"}}]})
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, content).unwrap();
    file
}

async fn refusal(file: PathBuf) -> Error {
    let access = Access {
        kubeconfig: Some(file),
        context: None,
    };
    match access::connect(&access).await {
        Ok(_) => panic!("nothing was refused"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_a_kubeconfig_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut aimless = kubeconfig();
    aimless["current-context"].take();
    let mut lost = kubeconfig();
    lost["current-context"] = json!("nowhere");
    let mut proxied = kubeconfig();
    proxied["clusters"][0]["cluster"]["proxy-url"] = json!("http://127.0.0.1:2");
    for (content, words) in [
        (String::new(), "the kubeconfig has no contexts"),
        (
            aimless.to_string(),
            "the kubeconfig has no current context; name one with --context: here, there",
        ),
        (
            lost.to_string(),
            "the kubeconfig has no context `nowhere`; it has: here, there",
        ),
        (proxied.to_string(), "`proxy-url` is not supported"),
    ] {
        let error = refusal(write(folder.path(), "kubeconfig", &content)).await;
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!error.is_lacking(), "{words}");
    }
}

/// As `kubectl` reads them: the first that says something counts, and those that are not there do not.
#[test]
fn kubeconfigs_that_are_not_there_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = kubeconfig();
    other["current-context"] = json!("there");
    let here = write(folder.path(), "here", &kubeconfig().to_string());
    let there = write(folder.path(), "there", &other.to_string());
    let broken = write(folder.path(), "broken", "clusters: 7");
    let missing = folder.path().join("missing");
    let read = |files: &[&PathBuf]| {
        let variable: OsString = std::env::join_paths(files).unwrap();
        let access = Access::default();
        let read = access::read(&access, Some(&variable));
        read.map(|kubeconfig| kubeconfig.current_context)
    };
    for (files, wanted) in [
        (&[&missing, &here][..], "here"),
        (&[&there, &missing, &here], "there"),
    ] {
        assert_eq!(read(files).unwrap().as_deref(), Some(wanted), "{files:?}");
    }
    assert!(matches!(read(&[&missing]), Err(Error::NoKubeconfig { .. })));
    assert!(matches!(
        read(&[&missing, &broken]),
        Err(Error::Kubeconfig { .. })
    ));
}

/// The environment belongs to the whole process, so this is another one.
#[test]
fn a_proxy_of_the_environment_is_not_the_kubeconfigs() {
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let tests = std::env::current_exe().unwrap();
        let name = "cluster::api::tests::away::a_person_is_told_at_once";
        let ran = Command::new(tests)
            .args(["--exact", name])
            .env(variable, "http://127.0.0.1:2")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(said.contains("1 passed"), "{variable}: {said}");
    }
}
