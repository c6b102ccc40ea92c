//! The command line: what can be written. What it means is for [`crate::settings`].

mod cluster;

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use jiff::SignedDuration;

use crate::commands::evaluate::{self, EvaluateArgs};
use crate::commands::explain::{self, ExplainArgs};
use crate::commands::lint::{self, LintArgs};
use crate::commands::reach::{self, ReachArgs};
use crate::commands::state::{self, StateArgs};
use crate::settings::{
    Attach, Listen, Log, Nanoseconds, Output, Profile, Rotate, Settings, Source, Spans,
    Surroundings, Validation,
};

/// Where the metrics are found when nothing else is said.
const METRICS: &str = "127.0.0.1:9469";
/// The same in a pod, where probes and scrapes come from outside.
const METRICS_IN_POD: &str = "[::]:9469";

/// Compares what Kubernetes network policies say with what the network does.
///
/// It watches every pod's connections and drops with eBPF, works out what the policies say about each, and
/// writes down where the two differ. It never touches a packet.
#[derive(Debug, Parser)]
#[command(name = "netverdict", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What netverdict can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this node and write a record for each finding.
    #[command(after_help = AGENT_EXAMPLES)]
    Agent(Box<AgentArgs>),
    /// Say what policies make of connections, and hold it against what is expected.
    #[command(override_usage = evaluate::USAGE, after_help = evaluate::EXAMPLES)]
    Evaluate(Box<EvaluateArgs>),
    /// Say for one connection what every policy and rule makes of it, and what would allow it.
    #[command(after_help = explain::EXAMPLES)]
    Explain(Box<ExplainArgs>),
    /// List whom an endpoint can reach, or who can reach it, with the policies that open each way.
    #[command(after_help = reach::EXAMPLES)]
    Reach(Box<ReachArgs>),
    /// Print what a running agent holds of the cluster.
    #[command(after_help = state::EXAMPLES)]
    State(Box<StateArgs>),
    /// Write a script that completes netverdict's commands and flags in a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Find mistakes in policies, and say what to write instead.
    #[command(after_help = lint::EXAMPLES)]
    Lint(Box<LintArgs>),
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  netverdict completions bash > /etc/bash_completion.d/netverdict
  netverdict completions zsh > \"${fpath[1]}/_netverdict\"
  netverdict completions fish > ~/.config/fish/completions/netverdict.fish";

const AGENT_EXAMPLES: &str = "\
Examples:
  Watch this node; pods and policies come from a folder of manifests:
    kubectl get ns,nodes,pods,svc,endpointslices,netpol -A -o yaml > cluster/all.yaml
    sudo netverdict agent --cluster cluster/

  The same from the API server, as the kubeconfig's current context:
    sudo netverdict agent --cluster kube --kubeconfig ~/.kube/config

  Keep every connection, not only problems, in a file:
    sudo netverdict agent --cluster cluster/ --log all --output records.jsonl

  Record for a bug report; replay anywhere, without privileges:
    sudo netverdict agent --cluster cluster/ --record netverdict.rec
    netverdict agent --replay netverdict.rec

It needs root, or the capabilities BPF, PERFMON and NET_ADMIN, and a kernel with BTF. A line that is exactly \
`ready` on stderr says that it watches. Ctrl-C ends it and leaves nothing behind.

Exit codes: 0 done, 2 bad usage or unreadable input, 3 the machine lacks something \
(a capability, BTF, the API server).";

/// The flags of `netverdict agent`, as written.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// `kube` for the Kubernetes API server, or a file or folder of manifests (.yaml, .yml, .json) as
    /// `kubectl get -o yaml` prints them, given as often as needed and read again whenever it changes
    /// [default: in a pod `kube`]
    #[arg(long, value_name = "SOURCE", env = "NETVERDICT_CLUSTER")]
    cluster: Vec<PathBuf>,
    /// Kubeconfig of the API server [default: the pod's own account, else KUBECONFIG, else ~/.kube/config]
    #[arg(
        long,
        value_name = "FILE",
        env = "NETVERDICT_KUBECONFIG",
        conflicts_with = "replay"
    )]
    kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig [default: its current one]
    #[arg(
        long,
        value_name = "NAME",
        env = "NETVERDICT_CONTEXT",
        conflicts_with = "replay"
    )]
    context: Option<String>,
    /// Name of this node in the cluster [default: the host's name]
    #[arg(long, value_name = "NAME", env = "NETVERDICT_NODE")]
    node: Option<String>,
    /// Watch only interfaces whose name matches one of these [default: every pod's]
    #[arg(
        long,
        value_name = "GLOB,..",
        env = "NETVERDICT_INTERFACES",
        value_delimiter = ','
    )]
    interfaces: Vec<String>,
    /// How hooks are attached to interfaces.
    #[arg(
        long,
        value_name = "HOW",
        env = "NETVERDICT_ATTACH",
        value_enum,
        default_value = "auto"
    )]
    attach: Attach,
    /// Watch the connects and sends of the processes below this cgroup (version 2, /sys/fs/cgroup for all): which Service
    /// they ask for where a socket load balancer takes it away, which call is denied before there is a packet, and who
    /// calls [default: none]
    #[arg(long, value_name = "PATH", env = "NETVERDICT_CGROUP_ROOT")]
    cgroup_root: Option<PathBuf>,
    /// File that records are added to, `-` for stdout.
    #[arg(
        long,
        value_name = "FILE",
        env = "NETVERDICT_OUTPUT",
        default_value = "-"
    )]
    output: PathBuf,
    /// Rename the output file before it grows over SIZE (K, M, G) and begin anew; KEEP old ones stay, as FILE.1 and
    /// so on.
    #[arg(long, value_name = "SIZE,KEEP", env = "NETVERDICT_OUTPUT_ROTATE", value_parser = rotate)]
    output_rotate: Option<Rotate>,
    /// Address for /metrics, /livez and /readyz, or `off` [default: 127.0.0.1:9469, in a pod [::]:9469]
    #[arg(long, value_name = "ADDR", env = "NETVERDICT_METRICS_LISTEN", value_parser = listen)]
    metrics_listen: Option<Listen>,
    /// Socket at which `netverdict state` may ask, root only; what an agent left there is replaced.
    #[arg(long, value_name = "PATH", env = "NETVERDICT_API_SOCKET")]
    api_socket: Option<PathBuf>,
    /// Write all that is consumed to this file, for `--replay`.
    #[arg(
        long,
        value_name = "FILE",
        env = "NETVERDICT_RECORD",
        conflicts_with = "replay"
    )]
    record: Option<PathBuf>,
    /// Judge what was recorded in this file, with no kernel and no privileges.
    #[arg(
        long,
        value_name = "FILE",
        env = "NETVERDICT_REPLAY",
        conflicts_with = "cluster"
    )]
    replay: Option<PathBuf>,
    /// What is written.
    #[arg(
        long,
        value_name = "WHAT",
        env = "NETVERDICT_LOG",
        value_enum,
        default_value = "problems"
    )]
    log: Log,
    /// How long repeats are folded into one record at first.
    #[arg(long, value_name = "TIME", env = "NETVERDICT_WINDOW", default_value = "10s", value_parser = duration)]
    window: Nanoseconds,
    /// How long a policy, label or namespace must have stood before a claim rests on it.
    #[arg(long, value_name = "TIME", env = "NETVERDICT_SETTLE", default_value = "5s", value_parser = duration)]
    settle: Nanoseconds,
    /// How long a claim that needs confirmation is held.
    #[arg(long, value_name = "TIME", env = "NETVERDICT_CONFIRM", default_value = "5s", value_parser = duration)]
    confirm: Nanoseconds,
    /// How long a new pod's first packets wait for the cluster to name it.
    #[arg(long, value_name = "TIME", env = "NETVERDICT_GRACE", default_value = "2s", value_parser = duration)]
    grace: Nanoseconds,
    /// After how long without word from the cluster nothing is claimed any more; at least 1s.
    #[arg(long, value_name = "TIME", env = "NETVERDICT_STALE_AFTER", default_value = "60s", value_parser = stale_after)]
    stale_after: Nanoseconds,
    /// Who enforces here: it decides what the NetworkPolicy specification leaves open.
    #[arg(
        long,
        value_name = "NAME",
        env = "NETVERDICT_PROFILE",
        value_enum,
        default_value = "auto"
    )]
    profile: Profile,
    /// Name of the cluster, for every record.
    #[arg(
        long,
        value_name = "NAME",
        env = "NETVERDICT_CLUSTER_NAME",
        default_value = "",
        hide_default_value = true
    )]
    cluster_name: String,
    /// End when the API server would refuse an object, instead of skipping it. The variable takes 1, true, yes or on,
    /// and 0, false, no or off.
    #[arg(
        long,
        env = "NETVERDICT_STRICT",
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new()
    )]
    strict: bool,
    /// Evaluate objects that the API server would refuse, as far as they make sense. Its variable takes the same words.
    #[arg(
        long,
        env = "NETVERDICT_NO_VALIDATION",
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new()
    )]
    no_validation: bool,
    /// File of YAML that has flags as keys, `log: all`; a flag wins over the environment, that over the file.
    #[arg(long, value_name = "FILE", env = "NETVERDICT_CONFIG")]
    config: Option<PathBuf>,
    /// Size of the ring buffer, for tests.
    #[arg(long, hide = true, value_parser = ring_bytes)]
    ring_bytes: Option<u32>,
    /// Size of the table of attempts, for tests.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: Option<u32>,
}

impl AgentArgs {
    /// Says what the flags mean.
    ///
    /// # Errors
    ///
    /// When they do not fit together.
    pub fn settings(self, surroundings: Surroundings) -> Result<Settings, clap::Error> {
        let Self {
            cluster,
            kubeconfig,
            context,
            node,
            interfaces,
            attach,
            cgroup_root,
            output,
            output_rotate,
            metrics_listen,
            api_socket,
            record,
            replay,
            log,
            window,
            settle,
            confirm,
            grace,
            stale_after,
            profile,
            cluster_name,
            strict,
            no_validation,
            // It was read before.
            config: _,
            ring_bytes,
            attempts,
        } = self;
        let Surroundings { host_name, in_pod } = surroundings;
        let wrong = |kind, message: &str| Err(Cli::command().error(kind, message));
        // Not left to clap: a variable that says no is given, too.
        if strict && no_validation {
            return wrong(
                ErrorKind::ArgumentConflict,
                "`--strict` and `--no-validation` exclude each other",
            );
        }
        let is_stdout = output.as_os_str() == "-";
        if is_stdout && output_rotate.is_some() {
            return wrong(
                ErrorKind::ArgumentConflict,
                "`--output-rotate` needs `--output FILE`: standard output cannot be renamed",
            );
        }
        Ok(Settings {
            source: match replay {
                Some(file) => Source::Replay(file),
                None => Source::Live {
                    cluster: cluster::source(cluster, kubeconfig, context, in_pod)?,
                    record,
                },
            },
            validation: Validation::of(strict, no_validation),
            node: node.unwrap_or(host_name).into(),
            cluster_name: cluster_name.into(),
            interfaces,
            attach,
            cgroup_root,
            output: if is_stdout {
                Output::Stdout
            } else {
                let (path, rotate) = (output, output_rotate);
                Output::File { path, rotate }
            },
            metrics: metrics_listen.unwrap_or_else(|| usual_listen(in_pod)),
            api_socket,
            log,
            spans: Spans {
                window,
                settle,
                confirm,
                grace,
                stale_after,
            },
            profile,
            ring_bytes,
            attempts,
        })
    }
}

fn usual_listen(in_pod: bool) -> Listen {
    let address = if in_pod { METRICS_IN_POD } else { METRICS };
    address.parse().map_or(Listen::Off, Listen::At)
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    text.parse()
        .map(Listen::At)
        .map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:9469, or `off`".to_owned())
}

fn duration(text: &str) -> Result<Nanoseconds, String> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| "expected a time with its unit, such as 10s, 500ms or 1m".to_owned())?;
    u64::try_from(duration.as_nanos())
        .map(Nanoseconds)
        .map_err(|_| "expected a time from 0 to some hundred years".to_owned())
}

fn stale_after(text: &str) -> Result<Nanoseconds, String> {
    let stale_after = duration(text)?;
    match stale_after.0 >= 1_000_000_000 {
        true => Ok(stale_after),
        false => Err("expected at least 1s: sooner no cluster is heard of again".to_owned()),
    }
}

fn rotate(text: &str) -> Result<Rotate, String> {
    let read = || {
        let (size, keep) = text.split_once(',')?;
        let (number, unit) = match size.as_bytes().last()? {
            b'K' => (size.strip_suffix('K')?, 1 << 10),
            b'M' => (size.strip_suffix('M')?, 1 << 20),
            b'G' => (size.strip_suffix('G')?, 1 << 30),
            _ => (size, 1),
        };
        let bytes = number.parse::<u64>().ok()?.checked_mul(unit)?;
        let keep: u32 = keep.trim().parse().ok()?;
        (bytes > 0 && keep > 0).then_some(Rotate { bytes, keep })
    };
    read().ok_or_else(|| "expected a size and how many files to keep, such as 10M,5".to_owned())
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|bytes: &u32| bytes.is_power_of_two() && *bytes >= 4096)
        .ok_or_else(|| "expected a power of two, at least 4096".to_owned())
}

#[cfg(test)]
mod tests;
