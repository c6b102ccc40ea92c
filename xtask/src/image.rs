//! `cargo xtask image`: the agent as an OCI archive, made without a container engine.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use crate::shell::House;
use crate::{Found, build};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What to write.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The archive [default: netverdict-image.tar in the target folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the image is called
    #[arg(long, value_name = "NAME:TAG", default_value = NAME)]
    name: String,
}

/// Builds the agent as one static file, and writes an image that holds it and nothing else.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<Found> {
    let output = arguments
        .output
        .clone()
        .unwrap_or_else(|| house.target.join("netverdict-image.tar"));
    agent(house, &arguments.name, &output)?;
    anstream::eprintln!("wrote {} as {}", output.display(), arguments.name);
    Ok(Found::Nothing)
}

/// What the agent's image is called when nothing else is said; the deployment asks for it.
pub(crate) const NAME: &str = concat!("netverdict:", env!("CARGO_PKG_VERSION"));

/// Writes the agent's image.
pub(crate) fn agent(house: &House, name: &str, output: &Path) -> anyhow::Result<()> {
    let program = Program {
        file: &build::static_agent(house)?,
        path: "netverdict",
        usual: &["agent"],
    };
    write(&program, name, output)
}

/// A static file, which is all that an image holds.
pub(crate) struct Program<'a> {
    /// Where it is.
    pub(crate) file: &'a Path,
    /// Where it lies in the image's root.
    pub(crate) path: &'a str,
    /// Its words when nothing else is asked for.
    pub(crate) usual: &'a [&'a str],
}

/// Writes an image of one program.
pub(crate) fn write(program: &Program<'_>, name: &str, output: &Path) -> anyhow::Result<()> {
    let Program { file, path, usual } = program;
    let binary = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let archive = archive(&binary, path, usual, name)?;
    fs::write(output, archive).with_context(|| format!("write {}", output.display()))
}

/// A part of an image, known by what it holds.
struct Blob {
    media: &'static str,
    content: Vec<u8>,
}

impl Blob {
    fn json(media: &'static str, value: &Value) -> Self {
        let content = value.to_string().into_bytes();
        Self { media, content }
    }

    fn digest(&self) -> String {
        let digest = Sha256::digest(&self.content);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn described(&self) -> Value {
        json!({"mediaType": self.media, "digest": format!("sha256:{}", self.digest()), "size": self.content.len()})
    }
}

/// The whole archive: the same binary gives the same bytes.
fn archive(binary: &[u8], path: &str, usual: &[&str], name: &str) -> anyhow::Result<Vec<u8>> {
    let mut root = Builder::new(Vec::new());
    add(&mut root, path, 0o755, binary)?;
    let layer = Blob {
        media: LAYER,
        content: root.into_inner().context("end a layer")?,
    };
    let config = Blob::json(
        CONFIG,
        &json!({
            "architecture": architecture(), "os": "linux",
            "config": {"Entrypoint": [format!("/{path}")], "Cmd": usual, "User": "0:0"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest())]},
        }),
    );
    let manifest = Blob::json(
        MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.described(), "layers": [layer.described()]}),
    );
    let mut described = manifest.described();
    let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
    if let Value::Object(fields) = &mut described {
        let names = json!({"io.containerd.image.name": image_name(name), "org.opencontainers.image.ref.name": tag});
        fields.insert("annotations".to_owned(), names);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]});
    let mut archive = Builder::new(Vec::new());
    let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
    add(&mut archive, "oci-layout", 0o644, layout.as_bytes())?;
    add(
        &mut archive,
        "index.json",
        0o644,
        index.to_string().as_bytes(),
    )?;
    for blob in [&layer, &config, &manifest] {
        let path = format!("blobs/sha256/{}", blob.digest());
        add(&mut archive, &path, 0o644, &blob.content)?;
    }
    archive.into_inner().context("end the archive")
}

fn add(to: &mut Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let mut header = Header::new_ustar();
    header.set_size(u64::try_from(content.len())?);
    header.set_mode(mode);
    header.set_mtime(0);
    to.append_data(&mut header, path, content)
        .with_context(|| format!("add {path}"))
}

/// As kubelets look for it: `docker.io/library/` is what they add to a name without a registry.
fn image_name(name: &str) -> String {
    match name.split_once('/') {
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// Go's words for it.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap();
        let files = entries.map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, content)
        });
        files.collect()
    }

    /// What a description leads to, its size being right.
    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, described: &Value) -> &'a [u8] {
        let digest = described["digest"].as_str().unwrap();
        let content = &files[&digest.replace("sha256:", "blobs/sha256/")];
        assert_eq!(described["size"], content.len());
        content
    }

    #[test]
    fn the_index_leads_to_the_binary() {
        let archive = archive(b"a program", "netverdict", &["agent"], "netverdict:1.2").unwrap();
        let files = files(&archive);
        assert_eq!(files["oci-layout"], b"{\"imageLayoutVersion\":\"1.0.0\"}");
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let names = &index["manifests"][0]["annotations"];
        assert_eq!(
            names["io.containerd.image.name"],
            "docker.io/library/netverdict:1.2"
        );
        assert_eq!(names["org.opencontainers.image.ref.name"], "1.2");
        let manifest: Value = serde_json::from_slice(blob(&files, &index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/netverdict"]));
        assert_eq!(config["config"]["Cmd"], json!(["agent"]));
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        let root = self::files(blob(&files, &manifest["layers"][0]));
        assert_eq!(
            root,
            BTreeMap::from([("netverdict".to_owned(), b"a program".to_vec())])
        );
        for (path, content) in files.iter().filter(|(path, _)| path.starts_with("blobs/")) {
            let content = content.clone();
            let digest = Blob { media: "", content }.digest();
            assert_eq!(*path, format!("blobs/sha256/{digest}"));
        }
    }

    #[test]
    fn names_are_as_kubelets_look_for_them() {
        for (name, wanted) in [
            ("netverdict:1", "docker.io/library/netverdict:1"),
            ("some/netverdict:1", "docker.io/some/netverdict:1"),
            (
                "registry.example/netverdict:1",
                "registry.example/netverdict:1",
            ),
            ("localhost:5000/netverdict:1", "localhost:5000/netverdict:1"),
            ("localhost/netverdict:1", "localhost/netverdict:1"),
        ] {
            assert_eq!(image_name(name), wanted);
        }
    }
}
