//! Everything that fuzzing kept runs again, crashes of the past among it.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

fn check(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let files = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("read folder `{}`: {error}", folder.display()));
    let mut ran = 0;
    for file in files {
        let path = file.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
        ran += 1;
    }
    assert!(ran > 0, "`{}` is empty", folder.display());
}

#[test]
fn deltas() {
    check("deltas", fuzz::deltas::run);
}

#[test]
fn objects() {
    check("objects", fuzz::objects::run);
}

#[test]
fn packets() {
    check("packet", fuzz::packet::run);
}

#[test]
fn yaml() {
    check("yaml", fuzz::yaml::run);
}
