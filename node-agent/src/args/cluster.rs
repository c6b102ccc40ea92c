//! `--cluster`, `--kubeconfig` and `--context` together.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::Cli;
use crate::settings::Cluster;

/// Where the cluster is read from: `kube` is no path, `./kube` is one.
pub(super) fn source(
    cluster: Vec<PathBuf>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    in_pod: bool,
) -> Result<Cluster, clap::Error> {
    let wrong = |kind, message: &str| Err(Cli::command().error(kind, message));
    let is_kube = cluster.iter().any(|source| source.as_os_str() == "kube");
    let is_access_given = kubeconfig.is_some() || context.is_some();
    if is_kube && cluster.len() > 1 {
        wrong(
            ErrorKind::ArgumentConflict,
            "`--cluster kube` is the whole cluster and goes with no other `--cluster`",
        )
    } else if is_kube || (cluster.is_empty() && (in_pod || is_access_given)) {
        Ok(Cluster::Api {
            kubeconfig,
            context,
        })
    } else if cluster.is_empty() {
        wrong(
            ErrorKind::MissingRequiredArgument,
            "where the cluster is read from is not given: `--cluster kube` or `--cluster FOLDER`",
        )
    } else if is_access_given {
        wrong(
            ErrorKind::ArgumentConflict,
            "`--kubeconfig` and `--context` go with `--cluster kube` only",
        )
    } else {
        Ok(Cluster::Files(cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_is_the_api_server_and_no_path() {
        let found = |cluster: &[&str], kubeconfig: Option<&str>, in_pod: bool| {
            let cluster = cluster.iter().map(PathBuf::from).collect();
            source(cluster, kubeconfig.map(PathBuf::from), None, in_pod).ok()
        };
        let api = |kubeconfig: Option<&str>| {
            Some(Cluster::Api {
                kubeconfig: kubeconfig.map(PathBuf::from),
                context: None,
            })
        };
        let files =
            |paths: &[&str]| Some(Cluster::Files(paths.iter().map(PathBuf::from).collect()));
        for (cluster, kubeconfig, in_pod, wanted) in [
            (&["kube"][..], None, false, api(None)),
            (&["kube"], Some("k"), false, api(Some("k"))),
            (&[], Some("k"), false, api(Some("k"))),
            (&[], None, true, api(None)),
            (&[], None, false, None),
            (&["./kube"], None, false, files(&["./kube"])),
            (&["a", "b"], None, true, files(&["a", "b"])),
            (&["a"], Some("k"), false, None),
            (&["kube", "a"], None, false, None),
        ] {
            assert_eq!(
                found(cluster, kubeconfig, in_pod),
                wanted,
                "{cluster:?} {kubeconfig:?}"
            );
        }
    }
}
