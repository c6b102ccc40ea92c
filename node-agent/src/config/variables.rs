//! Environment variables that look like a flag's and are none.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::{AGENT, Error};
use crate::args::Cli;
use crate::shown;

/// What the variables of flags begin with.
const PREFIX: &str = "NETVERDICT_";
/// Variables of the project's tests, which the agents that they start inherit.
const OF_TESTS: [&str; 3] = ["BIN", "LONG", "SHARED"];

/// Looks through the names of environment variables: one that is nearly a flag's is a mistake, as in the config file.
/// Returns what to say of those that are nothing like one: somebody else may have set them for himself.
///
/// # Errors
///
/// [`Error::Variable`] names the nearest flag's.
pub fn check(names: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, Error> {
    let cli = Cli::command();
    let agent = cli.find_subcommand(AGENT).into_iter();
    let known: Vec<String> = agent
        .flat_map(clap::Command::get_arguments)
        .filter_map(|flag| flag.get_env()?.to_str()?.strip_prefix(PREFIX))
        .map(str::to_owned)
        .collect();
    let mut remarks = Vec::new();
    for name in names {
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if known.iter().any(|flag| flag == rest) || OF_TESTS.contains(&rest) || is_service(rest) {
            continue;
        }
        let distance = |flag: &&String| strsim::damerau_levenshtein(flag, rest);
        let Some(nearest) = known.iter().min_by_key(distance) else {
            continue;
        };
        if distance(&nearest) <= nearest.len().div_ceil(4) {
            return Err(Error::Variable {
                name: name.into_owned(),
                nearest: format!("{PREFIX}{nearest}"),
            });
        }
        let name = shown::text(&name);
        remarks.push(format!(
            "environment variable `{name}` is no flag's and says nothing; the nearest is `{PREFIX}{nearest}`"
        ));
    }
    Ok(remarks)
}

/// Whether Kubernetes sets such a variable in every pod beside a Service whose name begins with `netverdict`.
fn is_service(name: &str) -> bool {
    let of_port = |rest: &str| {
        let mut words = rest.split('_');
        let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
        let protocol = matches!(words.next(), Some("TCP" | "UDP" | "SCTP"));
        number && protocol
    };
    let name = format!("_{name}");
    name.ends_with("_PORT")
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.match_indices("_PORT_").any(|(at, port)| {
            let rest = name.get(at + port.len()..);
            rest.is_some_and(of_port)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> Result<Vec<String>, String> {
        check([OsString::from(name)]).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_and_foreign_variables_are_left_alone() {
        for name in [
            "PATH",
            "NETVERDICT",
            "NETVERDICT_LOG",
            "NETVERDICT_OUTPUT_ROTATE",
            "NETVERDICT_SHARED",
            "NETVERDICT_LONG",
            "NETVERDICT_PORT",
            "NETVERDICT_SERVICE_HOST",
            "NETVERDICT_SERVICE_PORT_METRICS",
            "NETVERDICT_AGENT_SERVICE_PORT",
            "NETVERDICT_PORT_9469_TCP",
            "NETVERDICT_AGENT_PORT_9469_TCP_ADDR",
        ] {
            assert_eq!(said(name), Ok(vec![]), "{name}");
        }
    }

    #[test]
    fn misspelt_variables_name_the_nearest() {
        for (name, nearest) in [
            ("NETVERDICT_LGO", "NETVERDICT_LOG"),
            ("NETVERDICT_INTERFACE", "NETVERDICT_INTERFACES"),
            ("NETVERDICT_METRICS-LISTEN", "NETVERDICT_METRICS_LISTEN"),
            ("NETVERDICT_CLUSTERNAME", "NETVERDICT_CLUSTER_NAME"),
            ("NETVERDICT_OUPUT", "NETVERDICT_OUTPUT"),
        ] {
            let error = said(name).unwrap_err();
            assert!(error.contains(&format!("`{name}`")), "{error}");
            assert!(error.contains(&format!("`{nearest}`")), "{error}");
        }
    }

    #[test]
    fn others_are_remarked_upon() {
        let remarks = said("NETVERDICT_METRICS\u{1b}").unwrap();
        let [remark] = remarks.as_slice() else {
            panic!("{remarks:?}");
        };
        assert!(remark.contains("`NETVERDICT_METRICS\\u{1b}`"), "{remark}");
        assert!(remark.contains("the nearest is `NETVERDICT_"), "{remark}");
    }
}
