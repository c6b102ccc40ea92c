//! Files in the middle of being written.

use super::*;

/// Sets when a file was last written.
fn written(file: &Path, at: SystemTime) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_modified(at).unwrap();
}

/// A part of a file is valid YAML, too: without the rest of it policies would go and come again.
#[test]
fn file_in_the_middle_of_being_written_keeps_its_objects() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    let whole = pod("a", "1") + "---\n" + &pod("b", "1");
    fs::write(&file, &whole).unwrap();
    let (mut files, _) = open(folder.path());

    fs::write(&file, pod("a", "1")).unwrap();
    written(&file, later(0));
    let reading = files.reload(later(10));
    check(&reading, &[], &[]);
    assert!(
        !reading.complete,
        "a file that is being written confirms nothing"
    );
    assert_eq!(reading.again_in, Some(Duration::from_millis(990)));
    fs::write(&file, whole.clone() + "---\n" + &pod("c", "1")).unwrap();
    written(&file, later(400));
    let reading = files.reload(later(1000));
    check(&reading, &[], &[]);
    assert_eq!(reading.again_in, Some(Duration::from_millis(400)));
    let reading = files.reload(later(1400));
    check(&reading, &["c@1"], &[]);
    assert!(reading.complete);
    assert_eq!(reading.again_in, None);

    fs::write(&file, "kind: [Pod\n").unwrap();
    written(&file, later(5000));
    check(&files.reload(later(5001)), &[], &[]);
    fs::write(&file, whole + "---\n" + &pod("c", "1")).unwrap();
    written(&file, later(5002));
    let reading = files.reload(later(5003));
    check(&reading, &[], &[]);
    assert!(reading.complete, "it is as it was");
}

/// Its time of writing may be that of another clock, or ahead.
#[test]
fn file_that_is_seen_unchanged_for_long_enough_counts() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pod("a", "1")).unwrap();
    let (mut files, _) = open(folder.path());
    fs::write(&file, pod("a", "2")).unwrap();
    written(&file, later(3_600_000));
    check(&files.reload(later(0)), &[], &[]);
    check(&files.reload(later(999)), &[], &[]);
    check(&files.reload(later(1000)), &["a@2"], &[]);
}

#[test]
fn file_that_is_away_for_a_moment_keeps_its_objects() {
    let folder = TempDir::new().unwrap();
    let (file, aside) = (folder.path().join("a.yaml"), folder.path().join("a~"));
    fs::write(&file, pod("a", "1")).unwrap();
    let (mut files, _) = open(folder.path());
    fs::rename(&file, &aside).unwrap();
    let reading = files.reload(later(0));
    check(&reading, &[], &[]);
    assert!(!reading.complete, "a file that is away confirms nothing");
    assert_eq!(reading.again_in, Some(Duration::from_millis(1000)));
    check(&files.reload(later(999)), &[], &[]);
    fs::rename(&aside, &file).unwrap();
    let reading = files.reload(later(1000));
    check(&reading, &[], &[]);
    assert!(reading.complete);

    let new = folder.path().join("new.yaml");
    fs::write(&new, pod("n", "1")).unwrap();
    written(&new, later(2000));
    assert!(!files.reload(later(2001)).complete);
    fs::remove_file(&new).unwrap();
    let reading = files.reload(later(2002));
    check(&reading, &[], &[]);
    assert!(reading.complete, "what never counted cannot vanish");
}
