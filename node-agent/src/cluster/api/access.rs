//! From a kubeconfig or a pod's service account to a client.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError, NamedContext};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::cluster::Error;

const CONNECT: Duration = Duration::from_secs(10);
/// A peer that is gone without a word is noticed after 15 s and three unanswered probes: a watch may be silent for
/// as long as it lasts.
const KEEPALIVE: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// How much of a connection is read at a time. Larger pieces save no time, and each watch would hold its own.
const MOST_READ_BYTES: usize = 1 << 16;

/// How the API server is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// File to read instead of `KUBECONFIG`, `~/.kube/config` and the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// Context in it, instead of its current one.
    pub context: Option<String>,
}

/// Who we are to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A pod by its service account: one of many that start together.
    Pod,
    /// Somebody with a kubeconfig.
    Person,
}

/// A client, and where it leads.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) server: String,
    pub(super) caller: Caller,
}

/// Makes a client; whether the server answers is not found out here.
pub(super) async fn connect(access: &Access) -> Result<Connection, Error> {
    let (mut config, caller) = find(access).await?;
    let agent = concat!("netverdict/", env!("CARGO_PKG_VERSION"));
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(agent)));
    let server = config.cluster_url.to_string();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(PROBE));
    connector.set_keepalive_retries(Some(PROBES));
    connector.set_nodelay(true);
    let connector = config
        .rustls_https_connector_with_connector(connector)
        .map_err(unusable)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .http1_max_buf_size(MOST_READ_BYTES)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(unusable)?)
        .layer(config.extra_headers_layer().map_err(unusable)?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Connection {
        client: Client::new(service, config.default_namespace),
        server,
        caller,
    })
}

/// What the user named; else the pod's own account; else the usual kubeconfig.
async fn find(access: &Access) -> Result<(Config, Caller), Error> {
    if access.kubeconfig.is_none()
        && access.context.is_none()
        && let Ok(config) = Config::incluster()
    {
        return Ok((config, Caller::Pod));
    }
    let kubeconfig = read(access, std::env::var_os("KUBECONFIG").as_deref())?;
    let context = context(&kubeconfig, access)?;
    if has_proxy(&kubeconfig, context) {
        return Err(unusable("`proxy-url` is not supported"));
    }
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| match error {
        // It is not the kubeconfig's.
        KubeconfigError::ParseProxyUrl(why) => unusable(format!("HTTPS_PROXY is no URL: {why}")),
        error => unusable(error),
    })?;
    if config.proxy_url.take().is_some() {
        tracing::info!("HTTPS_PROXY is set, and is not used for the API server");
    }
    Ok((config, Caller::Person))
}

/// The file that was named, else those of `KUBECONFIG`, else the usual one.
pub(super) fn read(access: &Access, variable: Option<&OsStr>) -> Result<Kubeconfig, Error> {
    if let Some(path) = &access.kubeconfig {
        return Kubeconfig::read_from(path).map_err(unusable);
    }
    let paths = variable.into_iter().flat_map(std::env::split_paths);
    let paths: Vec<_> = paths.filter(|path| !path.as_os_str().is_empty()).collect();
    if paths.is_empty() {
        return Kubeconfig::read().map_err(unread);
    }
    let mut merged: Option<Kubeconfig> = None;
    let mut missing = None;
    for path in paths {
        match Kubeconfig::read_from(path) {
            Ok(next) => {
                let before = merged.take().unwrap_or_default();
                merged = Some(before.merge(next).map_err(unusable)?);
            }
            Err(error) if is_missing(&error) => missing = Some(error),
            Err(error) => return Err(unusable(error)),
        }
    }
    merged.ok_or_else(|| unread(missing.unwrap_or(KubeconfigError::FindPath)))
}

fn is_missing(error: &KubeconfigError) -> bool {
    matches!(error, KubeconfigError::ReadConfig(why, _) if why.kind() == ErrorKind::NotFound)
}

fn unread(error: KubeconfigError) -> Error {
    match error {
        KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath => Error::NoKubeconfig {
            message: error.to_string(),
        },
        error => unusable(error),
    }
}

fn unusable(error: impl ToString) -> Error {
    Error::Kubeconfig {
        message: error.to_string(),
    }
}

/// The context that counts.
fn context<'a>(kubeconfig: &'a Kubeconfig, access: &Access) -> Result<&'a NamedContext, Error> {
    let current = kubeconfig.current_context.as_ref();
    let wanted = access.context.as_ref().or(current);
    let wanted = wanted.filter(|name| !name.is_empty());
    let mut contexts = kubeconfig.contexts.iter();
    let found = contexts.find(|context| Some(&context.name) == wanted);
    found.ok_or_else(|| {
        let contexts = kubeconfig.contexts.iter();
        let known: Vec<_> = contexts.map(|context| context.name.as_str()).collect();
        Error::Context {
            wanted: wanted.cloned(),
            known: known.join(", "),
        }
    })
}

fn has_proxy(kubeconfig: &Kubeconfig, context: &NamedContext) -> bool {
    let name = context.context.as_ref().map(|context| &context.cluster);
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|cluster| Some(&cluster.name) == name);
    let proxy = cluster.and_then(|cluster| cluster.cluster.as_ref()?.proxy_url.as_ref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}
