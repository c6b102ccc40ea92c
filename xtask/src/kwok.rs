//! kwok, which says of nodes and pods that are nowhere that they run: a bench fills an API server with them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::recipe;
use crate::servers;

const KWOK: &str = "0.8.0";
const MODULE: &str = "sigs.k8s.io/kwok";
const PROGRAM: &str = "kwok";
/// What nodes and pods go through, as the program is told.
const STAGES: &str = "stages.yaml";
/// Its parts in the module: those that its own `fast` set names.
const PARTS: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];

/// Finds the folder of the program and its stages in the tools' cache.
pub(crate) fn find() -> Option<PathBuf> {
    folder().filter(|folder| is_complete(folder))
}

/// Says what [`build`] makes.
pub(crate) fn title() -> String {
    format!("kwok {KWOK}")
}

fn folder() -> Option<PathBuf> {
    let recipe = format!("kwok-{KWOK}-{}", env::consts::ARCH);
    recipe::tools_folder().map(|folder| folder.join(recipe))
}

fn is_complete(folder: &Path) -> bool {
    let mut names = [PROGRAM, STAGES].iter();
    names.all(|name| folder.join(name).is_file())
}

/// Builds it into the tools' cache.
pub(crate) fn build() -> anyhow::Result<()> {
    let folder = folder().ok_or_else(servers::no_cache)?;
    servers::fill(&folder, is_complete, |part| {
        let module =
            format!("module netverdict.test/kwok\n\ngo 1.25.0\n\nrequire {MODULE} v{KWOK}\n");
        let package = format!("{MODULE}/cmd/{PROGRAM}");
        servers::go_build(part, &part.join(PROGRAM), &module, &[&package], "-s -w")?;
        let theirs = servers::download(part, &format!("{MODULE}@v{KWOK}"), "Dir")?;
        let stages = theirs.join("kustomize/stage");
        let texts = PARTS.map(|name| {
            let file = stages.join(name);
            fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
        });
        let texts: Vec<_> = texts.into_iter().collect::<anyhow::Result<_>>()?;
        fs::write(part.join(STAGES), texts.join("\n---\n")).context("write the stages")
    })
}
