//! The image as `cargo xtask image` writes it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context, ensure};
use cluster::machine;
use cluster::node::named;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

type Files = BTreeMap<String, Vec<u8>>;

fn files(archive: &[u8]) -> anyhow::Result<Files> {
    let mut archive = tar::Archive::new(archive);
    let mut files = Files::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(path, content);
    }
    Ok(files)
}

fn image() -> anyhow::Result<Files> {
    let path = named("NETVERDICT_IMAGE")?;
    files(&fs::read(path).context("read the image")?)
}

fn parsed(bytes: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(bytes).context("read JSON")
}

/// What a description leads to, which must be as large and have the digest that it says.
fn blob<'a>(files: &'a Files, described: &Value) -> anyhow::Result<&'a [u8]> {
    let digest = described["digest"].as_str().context("no digest")?;
    let path = digest.replace("sha256:", "blobs/sha256/");
    let content = files.get(&path).with_context(|| format!("no {path}"))?;
    ensure!(described["size"] == content.len(), "{path}: another size");
    let sum = Sha256::digest(content);
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(digest == format!("sha256:{sum}"), "{path}: another digest");
    Ok(content)
}

/// The files of its only layer, everything on the way there being as described.
fn root() -> anyhow::Result<Files> {
    let image = image()?;
    let read = |name: &str| parsed(image.get(name).with_context(|| format!("no {name}"))?);
    is(&read("oci-layout")?, "/imageLayoutVersion", &json!("1.0.0"))?;
    let index = read("index.json")?;
    is(&index, "/schemaVersion", &json!(2))?;
    let manifest = parsed(blob(&image, at(&index, "/manifests/0")?)?)?;
    let configuration = parsed(blob(&image, at(&manifest, "/config")?)?)?;
    is(&configuration, "/os", &json!("linux"))?;
    let layer = at(&manifest, "/layers/0")?;
    ensure!(manifest.pointer("/layers/1").is_none(), "several layers");
    is(&configuration, "/rootfs/diff_ids/0", at(layer, "/digest")?)?;
    files(blob(&image, layer)?)
}

fn at<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a Value> {
    let found = value.pointer(pointer);
    found.with_context(|| format!("no {pointer} in {value}"))
}

fn is(value: &Value, pointer: &str, wanted: &Value) -> anyhow::Result<()> {
    let found = at(value, pointer)?;
    ensure!(found == wanted, "{pointer} is {found}, not {wanted}");
    Ok(())
}

pub(crate) async fn is_whole() -> anyhow::Result<()> {
    let root = root()?;
    let names: Vec<_> = root.keys().collect();
    ensure!(names == ["netverdict"], "{names:?}");
    Ok(())
}

/// Where there is nothing else, a program that needs a loader or a library does not start.
pub(crate) async fn is_alone() -> anyhow::Result<()> {
    let root = root()?;
    let program = root.get("netverdict").context("no program")?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let file = folder.path().join("netverdict");
    fs::write(&file, program).context("unpack the program")?;
    fs::set_permissions(&file, Permissions::from_mode(0o755))?;
    let mut command = Command::new("chroot");
    command
        .arg(folder.path())
        .args(["/netverdict", "--version"]);
    let said = machine::run(&mut command)?;
    ensure!(said.starts_with("netverdict "), "{said}");
    Ok(())
}
