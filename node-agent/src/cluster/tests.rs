//! Files that change under the reader.

mod unsettled;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use node_agent_engine::model::{Namespace, ObjectKey, Pod, Workload};
use tempfile::TempDir;

use super::*;

/// Stands for the engine's decoder: pods and namespaces, and a kind that is refused.
fn decode(value: &Value) -> Result<Vec<Delta>, Vec<Refusal>> {
    let text = |pointer: &str| -> Arc<str> {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
            .into()
    };
    let key = ObjectKey {
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    };
    match &*text("/kind") {
        "Pod" => Ok(vec![Delta::Pod(Pod {
            workload: Workload {
                kind: "Pod".into(),
                name: key.name.clone(),
            },
            key,
            uid: "".into(),
            labels: Default::default(),
            annotations: Default::default(),
            ips: vec![],
            node: text("/spec/nodeName"),
            host_network: false,
            finished: false,
            ports: Default::default(),
            service_account: "default".into(),
        })]),
        "Namespace" => Ok(vec![Delta::Namespace(Namespace {
            name: key.name,
            labels: Default::default(),
            annotations: Default::default(),
        })]),
        "NetworkPolicy" => Err(vec![Refusal {
            object: format!("NetworkPolicy {}/{}", key.namespace, key.name),
            field: "spec.policyTypes[1]".into(),
            rule: "V9".into(),
            message: "is no string".into(),
        }]),
        _ => Ok(vec![]),
    }
}

fn options() -> Options {
    Options {
        decode: Box::new(decode),
        refused: Refused::Skip,
        empty: Empty::Wait,
    }
}

fn pod(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: ns, name: {name}}}\nspec: {{nodeName: \"{node}\"}}\n"
    )
}

fn open(path: &Path) -> (Files, Reading) {
    Files::open(&[path.to_owned()], options()).unwrap()
}

/// So many milliseconds after a time at which all that these tests write has long stood still.
fn later(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000) + Duration::from_millis(ms)
}

/// One word for each delta and each notice.
fn shown(reading: &Reading) -> (Vec<String>, Vec<String>) {
    let deltas = reading
        .deltas
        .iter()
        .map(|delta| match delta {
            Delta::Pod(pod) => format!("{}@{}", pod.key.name, pod.node),
            Delta::PodGone(key) => format!("-{}", key.name),
            Delta::Namespace(namespace) => {
                format!("{}/{}", namespace.name, namespace.labels.len())
            }
            Delta::NamespaceGone(name) => format!("-{name}/"),
            other => format!("{other:?}"),
        })
        .collect();
    let notices = reading.notices.iter().map(Notice::to_string).collect();
    (deltas, notices)
}

fn check(reading: &Reading, deltas: &[&str], notices: &[&str]) {
    let (found_deltas, found_notices) = shown(reading);
    assert_eq!(found_deltas, deltas, "{found_notices:?}");
    assert_eq!(found_notices.len(), notices.len(), "{found_notices:?}");
    for (found, wanted) in found_notices.iter().zip(notices) {
        assert!(found.contains(wanted), "`{found}` lacks `{wanted}`");
    }
}

#[test]
fn broken_file_keeps_its_objects_until_it_is_mended() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pod("a", "1")).unwrap();
    let (mut files, reading) = open(folder.path());
    check(&reading, &["ns/1", "a@1"], &[]);

    fs::write(&file, "kind: [Pod\n").unwrap();
    let reading = files.reload(later(0));
    check(&reading, &[], &["keeping its last good state (1 objects)"]);
    assert!(!reading.complete);
    let reading = files.reload(later(0));
    check(&reading, &[], &[]);
    assert!(!reading.complete, "a broken file confirms nothing");

    fs::write(&file, " \n").unwrap();
    check(&files.reload(later(0)), &[], &["is empty"]);

    fs::write(&file, pod("a", "2")).unwrap();
    let reading = files.reload(later(0));
    check(&reading, &["a@2"], &["good again"]);
    assert!(reading.complete);
}

#[test]
fn what_is_not_taken_in_is_an_error_for_as_long_as_it_stands() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pod("a", "1")).unwrap();
    let (mut files, reading) = open(folder.path());
    let (mut alone, _) = open(&file);
    assert_eq!(reading.errors(), 0);

    fs::write(&file, "kind: [Pod\n").unwrap();
    assert_eq!(files.reload(later(0)).errors(), 1);
    assert_eq!(files.reload(later(0)).errors(), 1, "it is broken still");
    let refused = "apiVersion: v1\nkind: NetworkPolicy\n";
    fs::write(
        &file,
        [pod("a", "1").as_str(), refused, refused].join("---\n"),
    )
    .unwrap();
    assert_eq!(files.reload(later(0)).errors(), 2, "two are refused");
    assert_eq!(files.reload(later(0)).errors(), 0, "it is said once");

    // Somebody deletes a file of a folder; one that was named is missed.
    alone.reload(later(0));
    fs::remove_file(&file).unwrap();
    let gone = |files: &mut Files| {
        let errors = [0, 5_000].map(|ms| files.reload(later(ms)).errors());
        errors.iter().sum::<u64>()
    };
    assert_eq!((gone(&mut files), gone(&mut alone)), (0, 1));
    fs::remove_dir(folder.path()).unwrap();
    let errors = [0, 0].map(|ms| files.reload(later(ms)).errors());
    assert_eq!(errors, [1, 1], "a folder that cannot be listed");
}

#[test]
fn file_broken_and_restored_as_it_was_is_mended() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pod("a", "1")).unwrap();
    let (mut files, _) = open(&file);
    fs::write(&file, "{").unwrap();
    assert!(!files.reload(later(0)).complete);
    fs::write(&file, pod("a", "1")).unwrap();
    let reading = files.reload(later(0));
    check(&reading, &[], &["good again"]);
    assert!(reading.complete);
}

#[test]
fn vanished_file_takes_its_objects_along() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), pod("a", "1")).unwrap();
    fs::write(
        folder.path().join("b.json"),
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"m","name":"b"}}"#,
    )
    .unwrap();
    let (mut files, reading) = open(folder.path());
    check(&reading, &["m/1", "ns/1", "b@", "a@1"], &[]);
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    files.reload(later(0));
    let reading = files.reload(later(1000));
    check(&reading, &["-ns/", "-a"], &["gone, with 1 objects"]);
    check(&files.reload(later(1000)), &[], &[]);
}

#[test]
fn replaced_by_rename_is_a_change() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pod("a", "1")).unwrap();
    let (mut files, _) = open(&file);
    let new = folder.path().join(".a.yaml.new");
    fs::write(&new, pod("a", "2") + "---\n" + &pod("b", "2")).unwrap();
    fs::rename(&new, &file).unwrap();
    check(&files.reload(later(0)), &["a@2", "b@2"], &[]);
}

#[test]
fn mounted_config_map_is_read_once_and_follows_its_swap() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for (version, node) in [("..1", "1"), ("..2", "2")] {
        fs::create_dir(path.join(version)).unwrap();
        fs::write(path.join(version).join("a.yaml"), pod("a", node)).unwrap();
    }
    std::os::unix::fs::symlink("..1", path.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", path.join("a.yaml")).unwrap();
    let (mut files, reading) = open(path);
    check(&reading, &["ns/1", "a@1"], &[]);
    std::os::unix::fs::symlink("..2", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    check(&files.reload(later(0)), &["a@2"], &[]);
}

#[test]
fn last_definition_by_path_counts_and_its_removal_uncovers_the_other() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), pod("a", "1")).unwrap();
    fs::write(folder.path().join("b.yaml"), pod("a", "2")).unwrap();
    let (mut files, reading) = open(folder.path());
    check(&reading, &["ns/1", "a@2"], &["Pod ns/a is defined twice"]);
    check(&files.reload(later(0)), &[], &[]);
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    files.reload(later(0));
    check(&files.reload(later(1000)), &["a@1"], &["gone"]);
}

#[test]
fn written_namespace_wins_over_the_implied_one() {
    let folder = TempDir::new().unwrap();
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n";
    fs::write(folder.path().join("a.yaml"), pod("a", "1") + namespace).unwrap();
    check(&open(folder.path()).1, &["ns/0", "a@1"], &[]);
}

#[test]
fn bad_objects_are_skipped_and_said() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    let text = format!(
        "{}---\nkind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {{namespace: ns, name: p}}\n---\n\
         replicas: 3\n---\nhello\n",
        pod("a", "1")
    );
    fs::write(&file, text).unwrap();
    check(
        &open(&file).1,
        &["ns/1", "a@1"],
        &[
            "document 2: NetworkPolicy ns/p: spec.policyTypes[1]: is no string (V9)",
            "document 3: apiVersion: no Kubernetes object: missing",
            "document 4: no Kubernetes object: not a mapping",
        ],
    );
    let strict = Options {
        refused: Refused::Fail,
        ..options()
    };
    let error = Files::open(&[file], strict).err().unwrap();
    assert!(matches!(error, Error::Refused { .. }));
    assert!(error.to_string().contains("document 2"), "{error}");
}

#[test]
fn first_reading_fails_on_what_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let error = |path: &Path, empty| {
        let options = Options { empty, ..options() };
        Files::open(&[path.to_owned()], options).err().unwrap()
    };
    let missing = folder.path().join("missing");
    assert!(matches!(
        error(&missing, Empty::Wait),
        Error::Unreadable { .. }
    ));
    assert!(matches!(
        error(folder.path(), Empty::Fail),
        Error::Nothing { .. }
    ));
    assert!(matches!(
        error(Path::new("/dev/null"), Empty::Wait),
        Error::Special { .. }
    ));
    let broken = folder.path().join("a.yaml");
    fs::write(&broken, "a: [").unwrap();
    let malformed = error(folder.path(), Empty::Wait);
    assert!(matches!(malformed, Error::Malformed { .. }));
    assert!(malformed.to_string().contains("a.yaml"), "{malformed}");
}

#[test]
fn empty_folder_waits_for_content() {
    let folder = TempDir::new().unwrap();
    let (mut files, reading) = open(folder.path());
    check(&reading, &[], &["waiting for content"]);
    assert!(files.is_empty());
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/a.yml"), pod("a", "1")).unwrap();
    check(&files.reload(later(0)), &["ns/1", "a@1"], &[]);
    assert!(!files.is_empty());
}

/// Waits for the watch although its future is dropped every few milliseconds, as the agent's loop does.
async fn is_signalled(watch: &mut Watch) -> bool {
    for _ in 0..500 {
        let wait = tokio::time::timeout(Duration::from_millis(10), watch.changed());
        if wait.await.is_ok() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn changes_are_signalled_and_reading_is_none() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pod("a", "1")).unwrap();
    let single = TempDir::new().unwrap();
    let lone = single.path().join("b.yaml");
    fs::write(&lone, pod("b", "1")).unwrap();
    let paths = [folder.path().to_owned(), lone.clone()];
    let mut watch = Watch::start(&paths).unwrap();

    fs::write(&file, pod("a", "2")).unwrap();
    assert!(is_signalled(&mut watch).await, "written in place");

    let new = single.path().join("new");
    fs::write(&new, pod("b", "2")).unwrap();
    fs::rename(&new, &lone).unwrap();
    assert!(is_signalled(&mut watch).await, "replaced by rename");

    fs::create_dir(folder.path().join("sub")).unwrap();
    assert!(is_signalled(&mut watch).await, "new folder");
    fs::write(folder.path().join("sub/c.yaml"), pod("c", "1")).unwrap();
    assert!(is_signalled(&mut watch).await, "new file in it");

    let mut files = Files::open(&paths, options()).unwrap().0;
    files.reload(later(0));
    let wait = tokio::time::timeout(Duration::from_millis(300), watch.changed());
    assert!(wait.await.is_err(), "reading signalled a change");
}
