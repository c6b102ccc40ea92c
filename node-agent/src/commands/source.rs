//! Where a command's cluster comes from, and what is open in it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use node_agent_engine::model::Delta;
use node_agent_engine::{Cluster, Moment, Profile};

use super::{Error, names, print};
use crate::cluster::{Empty, Files, Notice, Options};
use crate::settings::Validation;

/// The one time at which everything is known: a command has no past.
pub(super) const NOW: Moment = Moment(1);

/// The flags that name a cluster.
#[derive(Args, Debug)]
pub(super) struct ClusterArgs {
    /// File or folder of manifests (.yaml, .yml, .json), as `kubectl get -o yaml` prints them; may be given
    /// several times.
    #[arg(long, value_name = "SOURCE", required = true)]
    cluster: Vec<PathBuf>,
    /// Who enforces: it decides what the NetworkPolicy specification leaves open.
    #[arg(long, value_name = "NAME", value_enum, default_value = "generic")]
    profile: Dataplane,
    /// End when the API server would refuse an object, instead of skipping it.
    #[arg(long, conflicts_with = "no_validation")]
    strict: bool,
    /// Evaluate objects that the API server would refuse, as far as they make sense.
    #[arg(long)]
    no_validation: bool,
    /// What DNS has answered, for policies with domain names: JSON, {"example.org": ["192.0.2.1"]}.
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
}

/// Who enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dataplane {
    /// Nothing is known of it.
    Generic,
    /// K3s and others with kube-router's policy controller.
    KubeRouter,
    /// Calico.
    Calico,
    /// Cilium.
    Cilium,
}

/// The cluster as it was given, and who enforces in it.
pub(super) struct Ground {
    pub(super) cluster: Cluster,
    pub(super) profile: Profile,
}

impl ClusterArgs {
    /// Reads the cluster; what is skipped is said on stderr.
    pub(super) fn load(self) -> Result<Ground, Error> {
        let Self {
            cluster: paths,
            profile,
            strict,
            no_validation,
            names,
        } = self;
        let options = Options::new(Validation::of(strict, no_validation), Empty::Fail);
        let (_, reading) = Files::open(&paths, options)?;
        reading.notices.iter().for_each(warn);
        let mut cluster = Cluster::new();
        // Pods last: each is then matched once, against every policy, and not again for each policy that comes.
        let is_pod = |delta: &&Delta| matches!(delta, Delta::Pod(_));
        let (pods, others): (Vec<&Delta>, Vec<&Delta>) = reading.deltas.iter().partition(is_pod);
        for delta in others.into_iter().chain(pods) {
            cluster.apply(delta, NOW);
        }
        let unsupported = cluster.unsupported();
        if unsupported > 0 {
            anstream::eprintln!(
                "warning: {unsupported} policies are of kinds that are not evaluated yet: where one may apply the verdict is unknown"
            );
        }
        if let Some(path) = names {
            cluster.set_names(names::read(&path)?.into_iter().collect());
        }
        let profile = match profile {
            Dataplane::Generic => Profile::Generic,
            Dataplane::KubeRouter => Profile::KubeRouter,
            Dataplane::Calico => Profile::Calico,
            Dataplane::Cilium => Profile::Cilium,
        };
        Ok(Ground { cluster, profile })
    }
}

fn warn(notice: &Notice) {
    let skipped = match notice {
        Notice::Refused { .. } => "; the object is skipped",
        Notice::Broken { .. }
        | Notice::Mended { .. }
        | Notice::Vanished { .. }
        | Notice::Twice { .. }
        | Notice::Empty { .. }
        | Notice::Unlisted { .. } => "",
    };
    print::warn(&format!("{notice}{skipped}"));
}
