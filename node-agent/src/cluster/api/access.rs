//! From a kubeconfig or a pod's service account to a client.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::cluster::Error;

const CONNECT: Duration = Duration::from_secs(10);
/// A peer that is gone without a word is noticed after 15 s and three unanswered probes: a watch is silent for
/// up to a minute.
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
    if config.proxy_url.is_some() {
        return Err(unusable("`proxy-url` is not supported"));
    }
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
    let kubeconfig = read(access)?;
    check_context(&kubeconfig, access)?;
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Ok((config.map_err(unusable)?, Caller::Person))
}

fn read(access: &Access) -> Result<Kubeconfig, Error> {
    match &access.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map_err(unusable),
        None => Kubeconfig::read().map_err(|error| match error {
            KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath => Error::NoKubeconfig {
                message: error.to_string(),
            },
            error => unusable(error),
        }),
    }
}

fn unusable(error: impl ToString) -> Error {
    Error::Kubeconfig {
        message: error.to_string(),
    }
}

fn check_context(kubeconfig: &Kubeconfig, access: &Access) -> Result<(), Error> {
    let wanted = access
        .context
        .as_ref()
        .or(kubeconfig.current_context.as_ref())
        .cloned()
        .unwrap_or_default();
    let known: Vec<_> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.clone())
        .collect();
    if known.contains(&wanted) {
        Ok(())
    } else {
        Err(Error::Context {
            wanted,
            known: known.join(", "),
        })
    }
}
