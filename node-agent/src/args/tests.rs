use super::*;
use crate::settings::Cluster;

fn settings(flags: &str) -> Result<Settings, clap::Error> {
    let words = ["netverdict", "agent"]
        .into_iter()
        .chain(flags.split_whitespace());
    let Cli { command } = Cli::try_parse_from(words)?;
    let Command::Agent(args) = command else {
        panic!("another command: {command:?}");
    };
    args.settings(Surroundings {
        host_name: "host".to_owned(),
        in_pod: false,
    })
}

#[test]
fn command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_contract() {
    let settings = settings("--cluster a --cluster b").unwrap();
    let second = |seconds: u64| Nanoseconds(seconds * 1_000_000_000);
    let wanted = Settings {
        source: Source::Live {
            cluster: Cluster::Files(vec!["a".into(), "b".into()]),
            record: None,
        },
        validation: Validation::Skip,
        node: "host".into(),
        cluster_name: "".into(),
        interfaces: vec![],
        attach: Attach::Auto,
        output: Output::Stdout,
        metrics: Listen::At("127.0.0.1:9469".parse().unwrap()),
        api_socket: None,
        log: Log::Problems,
        spans: Spans {
            window: second(10),
            settle: second(5),
            confirm: second(5),
            grace: second(2),
            stale_after: second(60),
        },
        profile: Profile::Auto,
        ring_bytes: None,
        attempts: None,
        cgroup_root: None,
    };
    assert_eq!(settings, wanted);
}

#[test]
fn flags_say_what_they_mean() {
    let settings = settings(
        "--cluster a --node n --interfaces veth*,cali* --attach tcx --output o --metrics-listen off \
         --record r --log all --window 1m --settle 0s --profile kube-router --no-validation \
         --ring-bytes 4096 --attempts 8",
    )
    .unwrap();
    assert_eq!(settings.interfaces, ["veth*", "cali*"]);
    let (path, rotate) = ("o".into(), None);
    assert_eq!(settings.output, Output::File { path, rotate });
    assert_eq!(settings.metrics, Listen::Off);
    assert_eq!(settings.spans.window, Nanoseconds(60_000_000_000));
    assert_eq!(settings.spans.settle, Nanoseconds(0));
    assert_eq!(settings.profile, Profile::KubeRouter);
    assert_eq!(settings.validation, Validation::Off);
    assert_eq!(
        (settings.ring_bytes, settings.attempts),
        (Some(4096), Some(8))
    );
}

#[test]
fn bad_usage_is_refused_with_exit_code_2() {
    for flags in [
        "",
        "--cluster a --replay b",
        "--cluster kube --cluster a",
        "--cluster a --kubeconfig b",
        "--cluster a --context b",
        "--replay b --record c",
        "--cluster a --window 10",
        "--cluster a --settle -5s",
        "--cluster a --stale-after 0s",
        "--cluster a --stale-after 999ms",
        "--cluster a --log some",
        "--cluster a --metrics-listen 9469",
        "--cluster a --ring-bytes 5000",
        "--cluster a --strict --no-validation",
        "--cluster a --nod x",
        "--cluster a --output-rotate 10M,5",
        "--cluster a --output o --output-rotate 10M",
        "--cluster a --output o --output-rotate 10X,5",
        "--cluster a --output o --output-rotate 0,5",
    ] {
        let error = settings(flags).expect_err(flags);
        assert_eq!(error.exit_code(), 2, "{flags}");
    }
}
