//! The config file: every flag of `netverdict agent` is a key, under the flag's name.
//!
//! A flag wins over the environment, the environment over the file, the file over the default. The file becomes
//! flags, so that it means exactly what they do.

pub mod variables;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use serde_json::{Map, Value};

use crate::args::Cli;
use crate::shown;

/// The subcommand that reads a config file.
const AGENT: &str = "agent";
/// The flag that names it; it is no key.
const CONFIG: &str = "config";

/// Flags that mean something for a replay, too.
const IN_REPLAYS: [&str; 4] = ["replay", "output", "output-rotate", CONFIG];

/// Why it is not known what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bad usage, or a wish for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read config file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no YAML, or no map.
    #[error("config file `{}` is no YAML map of flags to values: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A key that is no flag.
    #[error("config file `{}`: unknown key `{}`; the nearest is `{nearest}`", path.display(), key.escape_debug())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The flag whose name is most like it.
        nearest: String,
    },
    /// An environment variable that is nearly a flag's.
    #[error(
        "unknown environment variable `{}`; the nearest is `{nearest}`",
        shown::text(name)
    )]
    Variable {
        /// The variable.
        name: String,
        /// The variable of the flag whose name is most like it.
        nearest: String,
    },
    /// A value that its flag does not take.
    #[error("config file `{}`: key `{key}`: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
}

/// A command line, and what to say of it.
#[derive(Debug)]
pub struct Read {
    /// What is to be done.
    pub cli: Cli,
    /// What was given and changes nothing.
    pub remarks: Vec<String>,
}

/// Reads the command line, the environment, and the config file when one of them names it.
///
/// # Errors
///
/// [`Error`] says what is wrong and where.
pub fn command_line(words: impl IntoIterator<Item = OsString>) -> Result<Read, Error> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut matches = Cli::command().try_get_matches_from(&words)?;
    if let Some(agent) = matches.subcommand_matches(AGENT)
        && let Some(path) = agent.get_one::<PathBuf>(CONFIG)
    {
        words.extend(File::read(path)?.flags(agent)?);
        matches = Cli::command().try_get_matches_from(&words)?;
    }
    let agent = matches.subcommand_matches(AGENT);
    let remarks = agent.map(without_effect).unwrap_or_default();
    let cli = Cli::from_arg_matches(&matches)?;
    Ok(Read { cli, remarks })
}

/// What was asked of a replay that only says something live: a recording holds the options that it was made with.
fn without_effect(agent: &ArgMatches) -> Vec<String> {
    if agent.get_one::<PathBuf>("replay").is_none() {
        return Vec::new();
    }
    let is_given = |arg: &&Arg| match agent.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine | ValueSource::EnvVariable) => true,
        Some(_) | None => false,
    };
    let cli = Cli::command();
    let flags = cli.find_subcommand(AGENT).into_iter();
    flags
        .flat_map(Command::get_arguments)
        .filter(is_given)
        .filter_map(Arg::get_long)
        .filter(|long| !IN_REPLAYS.contains(long))
        .map(|long| {
            format!("`--{long}` says nothing with `--replay`: a recording is judged with the options it was made with")
        })
        .collect()
}

struct File<'a> {
    path: &'a Path,
    keys: Map<String, Value>,
}

impl<'a> File<'a> {
    fn read(path: &'a Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        // `metrics-listen: off` means the word.
        let options = serde_saphyr::options! { strict_booleans: true };
        let keys: Option<Map<String, Value>> = serde_saphyr::from_str_with_options(&text, options)
            .map_err(|error| Error::Syntax {
                path: path.to_owned(),
                message: error.to_string(),
            })?;
        let keys = keys.unwrap_or_default();
        Ok(Self { path, keys })
    }

    /// The flags that it stands for, without those that were given by other means.
    fn flags(&self, given: &ArgMatches) -> Result<Vec<OsString>, Error> {
        let cli = Cli::command();
        let known: Vec<&Arg> = cli
            .find_subcommand(AGENT)
            .into_iter()
            .flat_map(Command::get_arguments)
            .filter(|arg| arg.get_long().is_some_and(|long| long != CONFIG))
            .collect();
        let mut flags = Vec::new();
        for (key, value) in &self.keys {
            let arg = self.find(&known, key)?;
            let words = words(arg, key, value).map_err(|message| self.wrong(key, message))?;
            self.check(key, &words)?;
            let overruled = match given.value_source(arg.get_id().as_str()) {
                Some(ValueSource::CommandLine | ValueSource::EnvVariable) => true,
                Some(_) | None => false,
            };
            if !overruled {
                flags.extend(words);
            }
        }
        Ok(flags)
    }

    fn find<'b>(&self, known: &[&'b Arg], key: &str) -> Result<&'b Arg, Error> {
        if let Some(arg) = known.iter().find(|arg| arg.get_long() == Some(key)) {
            return Ok(arg);
        }
        let visible = known.iter().filter(|arg| !arg.is_hide_set());
        let nearest = visible
            .filter_map(|arg| arg.get_long())
            .min_by_key(|long| strsim::damerau_levenshtein(long, key));
        Err(Error::Key {
            path: self.path.to_owned(),
            key: key.to_owned(),
            nearest: nearest.unwrap_or_default().to_owned(),
        })
    }

    /// Each key alone, so that what is wrong with its value is said of the key.
    fn check(&self, key: &str, words: &[OsString]) -> Result<(), Error> {
        let start = ["netverdict", AGENT].map(OsString::from);
        let words = start.iter().chain(words);
        let parsed = Cli::command().try_get_matches_from(words);
        parsed.map(drop).map_err(|error| {
            let message = error.to_string();
            let message = message.split("\n\n").next().unwrap_or_default();
            self.wrong(
                key,
                message
                    .strip_prefix("error: ")
                    .unwrap_or(message)
                    .to_owned(),
            )
        })
    }

    fn wrong(&self, key: &str, message: String) -> Error {
        Error::Value {
            path: self.path.to_owned(),
            key: key.to_owned(),
            message,
        }
    }
}

/// What one would write on the command line.
fn words(arg: &Arg, key: &str, value: &Value) -> Result<Vec<OsString>, String> {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let repeats = matches!(arg.get_action(), ArgAction::Append);
    let with = |value: String| OsString::from(format!("--{key}={value}"));
    match value {
        Value::Bool(true) if is_switch => Ok(vec![format!("--{key}").into()]),
        Value::Bool(false) if is_switch => Ok(Vec::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)
            if is_switch =>
        {
            Err("expected true or false".to_owned())
        }
        Value::Bool(value) => Ok(vec![with(value.to_string())]),
        Value::Number(value) => Ok(vec![with(value.to_string())]),
        Value::String(value) => Ok(vec![with(value.clone())]),
        Value::Array(values) if repeats => {
            let each = values.iter().map(|value| match value {
                Value::Array(_) => Err("expected a list of plain values".to_owned()),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_) => words(arg, key, value),
            });
            Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Value::Array(_) => Err("expected one value, not a list".to_owned()),
        Value::Null => Err("expected a value".to_owned()),
        Value::Object(_) => Err("expected a value, not a map".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::args;
    use crate::settings::{
        Cluster, Listen, Log, Nanoseconds, Output, Rotate, Settings, Source, Surroundings,
        Validation,
    };

    fn settings(text: &str, flags: &str) -> Result<Settings, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let words = ["netverdict", "agent", "--config"]
            .map(OsString::from)
            .into_iter()
            .chain([file.path().as_os_str().to_owned()])
            .chain(flags.split_whitespace().map(OsString::from));
        let Cli { command } = command_line(words)?.cli;
        let args::Command::Agent(args) = command else {
            panic!("another command: {command:?}");
        };
        Ok(args.settings(Surroundings {
            host_name: "host".to_owned(),
            in_pod: false,
        })?)
    }

    #[test]
    fn keys_are_flags() {
        let settings = settings(
            "cluster: [a, b]\nlog: denied\nwindow: 1m\nstrict: true\nnode: 7\ninterfaces: 'veth*,cali*'\n\
             output: records.jsonl\noutput-rotate: 10M,5\n",
            "",
        )
        .unwrap();
        let cluster = Cluster::Files(vec!["a".into(), "b".into()]);
        let record = None;
        assert_eq!(settings.source, Source::Live { cluster, record });
        assert_eq!(settings.log, Log::Denied);
        assert_eq!(settings.spans.window, Nanoseconds(60_000_000_000));
        assert_eq!(settings.validation, Validation::Strict);
        assert_eq!(&*settings.node, "7");
        assert_eq!(settings.interfaces, ["veth*", "cali*"]);
        let rotate = Some(Rotate {
            bytes: 10 << 20,
            keep: 5,
        });
        let path = "records.jsonl".into();
        assert_eq!(settings.output, Output::File { path, rotate });
    }

    #[test]
    fn flag_wins_over_file() {
        let settings = settings(
            "cluster: a\nlog: denied\nnode: n\nmetrics-listen: off\n",
            "--log all --cluster b",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.log, Log::All);
        let (cluster, record) = (Cluster::Files(vec!["b".into()]), None);
        assert_eq!(settings.source, Source::Live { cluster, record });
        assert_eq!(&*settings.node, "n");
        assert_eq!(settings.metrics, Listen::Off);
    }

    #[test]
    fn empty_file_says_nothing() {
        assert_eq!(settings("", "--cluster b").unwrap().log, Log::Problems);
    }

    #[test]
    fn replay_says_what_has_no_effect() {
        let remarks = |flags: &str| {
            let words = format!("netverdict agent --replay file {flags}");
            let read = command_line(words.split_whitespace().map(OsString::from)).unwrap();
            read.remarks
        };
        assert_eq!(remarks("--output out --output-rotate 10M,5"), [""; 0]);
        let remarks = remarks("--log all --metrics-listen off");
        let [metrics, log] = remarks.as_slice() else {
            panic!("{remarks:?}");
        };
        assert!(metrics.starts_with("`--metrics-listen` says nothing with `--replay`"));
        assert!(log.starts_with("`--log` says nothing with `--replay`"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wanted) in [
            ("lgo: all", "unknown key `lgo`; the nearest is `log`"),
            ("metrics_listen: off", "the nearest is `metrics-listen`"),
            ("config: other", "unknown key `config`"),
            ("log: some", "key `log`: invalid value 'some'"),
            ("window: 10", "key `window`: "),
            ("log: [all]", "key `log`: expected one value, not a list"),
            ("strict: yes please", "key `strict`: expected true or false"),
            ("node:", "key `node`: expected a value"),
            (
                "cluster: [{a: b}]",
                "key `cluster`: expected a value, not a map",
            ),
            ("- log", "is no YAML map"),
            ("log: [", "is no YAML map"),
            ("\"l\\e[31m\": all", "`l\\u{1b}[31m`"),
        ] {
            let error = settings(text, "--cluster a").expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let missing = command_line(["netverdict", "agent", "--config", "/nowhere"].map(Into::into));
        assert!(matches!(missing, Err(Error::Read { .. })));
    }
}
