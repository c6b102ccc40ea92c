//! Bad input and poor machines: each has a clear line on stderr and the exit code of the contract, and what can go on
//! goes on.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use netns::agent::{Agent, Setup};
use netns::child::{Ended, run};
use netns::node::TEST_PREFIX;
use netns::ns::Namespace;
use netns::paths;
use netns::scenario::Scenario;
use netns::trials;

/// Longest that the agent may take to find out that it cannot work.
const LIMIT: Duration = Duration::from_secs(20);
/// Bad usage or unreadable input.
const BAD_INPUT: i32 = 2;
/// The machine lacks something.
const MACHINE: i32 = 3;
/// Anybody, without any capability.
const NOBODY: u32 = 65534;

fn main() {
    trials::conclude(Ok(vec![
        trials::test("a folder that is not there ends it", no_folder),
        trials::test("a file that is no YAML ends it", no_yaml),
        trials::test("a file that is no text ends it", no_text),
        trials::test("an unknown flag ends it", unknown_flag),
        trials::test("a recording that is none ends it", no_recording),
        trials::test("an empty folder is waited for", empty_folder),
        trials::test("YAML that is no Kubernetes object is skipped", no_object),
        trials::test(
            "a policy that the API server refuses is skipped",
            refused_policy,
        ),
        trials::test("strictly, a refused policy ends it", refused_strictly),
        trials::test("two pods with one address are told", one_address),
        trials::test("a pod without an address is no problem", no_address),
        trials::test("without root it says what it needs", no_root),
        trials::test("without CAP_NET_ADMIN it names it", || {
            without_capability("-net_admin", "NET_ADMIN")
        }),
        trials::test("without CAP_BPF it names it", || {
            without_capability("-bpf,-sys_admin", "BPF")
        }),
        trials::test("without CAP_PERFMON it names it", || {
            without_capability("-perfmon,-sys_admin", "PERFMON")
        }),
        trials::test("without BTF it names it", no_btf),
        trials::test("a closed stdout is no panic", closed_stdout),
    ]))
}

/// A namespace of its own for the agent: it must never watch this machine's interfaces.
fn namespace(name: &str) -> anyhow::Result<Namespace> {
    let name = format!("{TEST_PREFIX}{}-{name}", std::process::id());
    Namespace::create(vec![name])?
        .into_iter()
        .next()
        .context("one namespace was asked for")
}

/// `netverdict agent` with `arguments`, in the namespace, started through `wrapper`.
fn agent(namespace: &Namespace, wrapper: &[&str], arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", namespace.name()])
        .args(wrapper)
        .arg(paths::agent()?)
        .args([
            "agent",
            "--node",
            "node-1",
            "--metrics-listen",
            "127.0.0.1:0",
        ])
        .args(arguments);
    Ok(command)
}

fn said(ended: &Ended, code: i32, words: &[&str]) -> anyhow::Result<()> {
    ensure!(
        ended.code == Some(code),
        "the exit code is {:?}, not {code}; it said:\n{}",
        ended.code,
        ended.stderr
    );
    ensure!(
        ended.stdout.is_empty(),
        "stdout is for records only: {}",
        ended.stdout
    );
    mentions(&ended.stderr, words)
}

/// A single line holds all of the words, and nothing looks like a crash.
fn mentions(stderr: &str, words: &[&str]) -> anyhow::Result<()> {
    ensure!(!stderr.contains("panicked"), "it panicked:\n{stderr}");
    let found = stderr
        .lines()
        .any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(found, "no line says {words:?}:\n{stderr}");
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Runs it on a folder that it must refuse.
fn refuses(
    name: &str,
    flags: &[&str],
    files: &[(&str, &[u8])],
    words: &[&str],
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for (file, content) in files {
        fs::write(folder.path().join(file), content)?;
    }
    let namespace = namespace(name)?;
    let mut arguments = vec!["--cluster", text(folder.path())?];
    arguments.extend(flags);
    said(
        &run(&mut agent(&namespace, &[], &arguments)?, LIMIT)?,
        BAD_INPUT,
        words,
    )
}

/// Runs it on a folder that it must live with; gives back what it said.
fn lives_with(name: &str, files: &[(&str, &str)]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    for (file, content) in files {
        fs::write(folder.path().join(file), content)?;
    }
    let namespace = namespace(name)?;
    let setup = Setup::new(&paths::agent()?, folder.path());
    Ok(Agent::start(&setup, &namespace)?.stop()?.stderr)
}

fn no_folder() -> anyhow::Result<()> {
    let namespace = namespace("nofolder")?;
    let mut command = agent(&namespace, &[], &["--cluster", "/nowhere/at/all"])?;
    said(&run(&mut command, LIMIT)?, BAD_INPUT, &["/nowhere/at/all"])
}

fn no_yaml() -> anyhow::Result<()> {
    refuses(
        "noyaml",
        &[],
        &[("broken.yaml", b"kind: [")],
        &["broken.yaml"],
    )
}

fn no_text() -> anyhow::Result<()> {
    refuses(
        "notext",
        &[],
        &[("bytes.yaml", &[0xff, 0xfe, 0x00, 0x9f])],
        &["bytes.yaml"],
    )
}

fn unknown_flag() -> anyhow::Result<()> {
    let namespace = namespace("flag")?;
    let mut command = agent(&namespace, &[], &["--clustre", "."])?;
    said(&run(&mut command, LIMIT)?, BAD_INPUT, &["--clustre"])
}

fn no_recording() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("recording");
    fs::write(&file, "no recording at all\n")?;
    let namespace = namespace("norec")?;
    let mut command = agent(&namespace, &[], &["--replay", text(&file)?])?;
    said(&run(&mut command, LIMIT)?, BAD_INPUT, &[text(&file)?])
}

fn empty_folder() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let namespace = namespace("empty")?;
    let setup = Setup::new(&paths::agent()?, folder.path());
    let path = text(folder.path())?.to_owned();
    let (agent, stderr) = Agent::start_when(&setup, &namespace, |stderr| {
        // Only when it has said that it waits may the content come.
        if stderr.contains(&path) && !folder.path().join("cluster.json").exists() {
            write_kasm(folder.path())?;
        }
        Ok(())
    })?;
    mentions(&stderr, &[&path])?;
    agent.stop().map(drop)
}

fn write_kasm(folder: &Path) -> anyhow::Result<()> {
    let kasm = Scenario::read("kasm")?.write()?;
    for file in ["policies.yaml", "cluster.json"] {
        fs::copy(kasm.path().join(file), folder.join(file)).context("copy a manifest")?;
    }
    Ok(())
}

fn no_object() -> anyhow::Result<()> {
    let odd = "just: a\nmapping: without a kind\n";
    let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: good}\n";
    let stderr = lives_with("noobject", &[("odd.yaml", odd), ("good.yaml", good)])?;
    mentions(&stderr, &["odd.yaml"])
}

fn refused_policy() -> anyhow::Result<()> {
    let folder = paths::shared()?.join("scenarios/app");
    let policies = fs::read_to_string(folder.join("policies.yaml"))?;
    let cluster = fs::read_to_string(folder.join("cluster.yaml"))?;
    let files = [
        ("policies.yaml", policies.as_str()),
        ("cluster.yaml", &cluster),
    ];
    let stderr = lives_with("refused", &files)?;
    mentions(
        &stderr,
        &["policies.yaml", "default-deny-egress", "policyTypes"],
    )
}

fn refused_strictly() -> anyhow::Result<()> {
    let file = paths::shared()?.join("scenarios/app/policies.yaml");
    let policies = fs::read(file)?;
    refuses(
        "strict",
        &["--strict"],
        &[("policies.yaml", &policies)],
        &["policies.yaml", "default-deny-egress"],
    )
}

fn pod(name: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: home}}\n\
         spec:\n  nodeName: node-1\n  containers: [{{name: main, image: example/app:1}}]\n\
         status: {{{status}}}\n"
    )
}

fn one_address() -> anyhow::Result<()> {
    let status = "phase: Running, podIP: 10.42.0.9, podIPs: [{ip: 10.42.0.9}]";
    let files = [
        ("one.yaml", pod("one", status)),
        ("two.yaml", pod("two", status)),
    ];
    let stderr = lives_with(
        "oneaddress",
        &files.each_ref().map(|(name, it)| (*name, it.as_str())),
    )?;
    mentions(&stderr, &["10.42.0.9", "home/one", "home/two"])
}

fn no_address() -> anyhow::Result<()> {
    let pending = pod("pending", "phase: Pending");
    let stderr = lives_with("noaddress", &[("pod.yaml", &pending)])?;
    ensure!(!stderr.contains("panicked"), "it panicked:\n{stderr}");
    Ok(())
}

/// Somebody else's home may be closed to `nobody`, so the binary is copied to where anybody can run it.
fn no_root() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = folder.path().join("netverdict");
    fs::copy(paths::agent()?, &binary)?;
    fs::write(
        folder.path().join("home.yaml"),
        pod("one", "phase: Running"),
    )?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new(&binary);
    command
        .args([
            "agent",
            "--node",
            "node-1",
            "--metrics-listen",
            "127.0.0.1:0",
            "--cluster",
        ])
        .arg(folder.path().join("home.yaml"))
        .uid(NOBODY)
        .gid(NOBODY);
    said(&run(&mut command, LIMIT)?, MACHINE, &["root"])
}

fn without_capability(dropped: &str, named: &str) -> anyhow::Result<()> {
    let folder = Scenario::read("kasm")?.write()?;
    let namespace = namespace(&named.to_lowercase().replace('_', ""))?;
    let bounding = format!("--bounding-set={dropped}");
    let inherited = format!("--inh-caps={dropped}");
    let wrapper = ["setpriv", bounding.as_str(), inherited.as_str()];
    let mut command = agent(&namespace, &wrapper, &["--cluster", text(folder.path())?])?;
    said(&run(&mut command, LIMIT)?, MACHINE, &[named])
}

/// `ip netns exec` gives the agent a /sys of its own, in which BTF can be hidden from it alone.
fn no_btf() -> anyhow::Result<()> {
    let folder = Scenario::read("kasm")?.write()?;
    let namespace = namespace("nobtf")?;
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", hide, "sh"];
    let mut command = agent(&namespace, &wrapper, &["--cluster", text(folder.path())?])?;
    said(&run(&mut command, LIMIT)?, MACHINE, &["BTF"])
}

/// Whoever read the records has gone: it ends without a panic when there is something to write, and on SIGTERM anyway.
fn closed_stdout() -> anyhow::Result<()> {
    let folder = Scenario::read("kasm")?.write()?;
    let namespace = namespace("closed")?;
    let mut command = agent(
        &namespace,
        &[],
        &["--output", "-", "--cluster", text(folder.path())?],
    )?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the agent")?;
    drop(child.stdout.take());
    let mut stderr = BufReader::new(child.stderr.take().context("a pipe for stderr")?);
    let mut said = String::new();
    while !said.lines().any(|line| line == "ready") {
        if stderr.read_line(&mut said)? == 0 {
            break;
        }
    }
    let code = netns::child::end(&mut child, LIMIT)?;
    stderr.read_to_string(&mut said)?;
    ensure!(!said.contains("panicked"), "it panicked:\n{said}");
    ensure!(
        code == Some(0),
        "the exit code is {code:?}; it said:\n{said}"
    );
    Ok(())
}
