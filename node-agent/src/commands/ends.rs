//! Who the ends of a connection are, in this cluster.

use std::net::IpAddr;

use node_agent_engine::model::{ObjectKey, Pod};
use node_agent_engine::{Cluster, Connection, Party};

use super::connections::{Asked, Problem};
use super::source::NOW;
use super::{Error, print};

/// How many names an error offers.
const OFFERED: usize = 6;

/// The connection between the real ends.
pub(super) fn located(cluster: &Cluster, asked: &Asked) -> Result<Connection, Error> {
    connection(cluster, asked).map_err(|problem| Error::Connection {
        place: asked.place.clone(),
        problem,
    })
}

fn connection(cluster: &Cluster, asked: &Asked) -> Result<Connection, Problem> {
    let source = party(cluster, &asked.from, asked.from_ip)?;
    let destination = party(cluster, &asked.to, asked.to_ip)?;
    if let (Some(from), Some(to)) = (source.ip, destination.ip)
        && from.is_ipv4() != to.is_ipv4()
    {
        return Err(Problem::Families { from, to });
    }
    Ok(Connection {
        source,
        destination,
        protocol: asked.protocol,
        port: asked.port,
        via_service: asked.via_service,
    })
}

/// Who `text` is: `namespace/pod`, or whoever has that address.
pub(super) fn party(cluster: &Cluster, text: &str, ip: Option<IpAddr>) -> Result<Party, Problem> {
    if let Some(named) = address(text) {
        return match ip {
            Some(other) if other.to_canonical() != named.to_canonical() => {
                Err(Problem::OtherAddress {
                    end: text.to_owned(),
                    ip: other,
                })
            }
            Some(_) | None => Ok(cluster.party_at(named, NOW)),
        };
    }
    let key = key(text)?;
    let Some(pod) = cluster.pod(&key) else {
        return Err(no_pod(cluster, key));
    };
    if let Some(ip) = ip
        && !pod.ips.contains(&ip.to_canonical())
    {
        return Err(Problem::NotItsAddress {
            pod: text.to_owned(),
            ip,
            ips: listed(pod.ips.iter()),
        });
    }
    if pod.finished {
        print::warn(&finished(cluster, pod, ip));
    }
    cluster
        .party_of(&key, ip, NOW)
        .ok_or_else(|| no_pod(cluster, key))
}

/// What a pod that owns nothing any more (R33) is judged as.
fn finished(cluster: &Cluster, pod: &Pod, ip: Option<IpAddr>) -> String {
    let ObjectKey { namespace, name } = &pod.key;
    let judged = match cluster.heir(pod, ip, NOW) {
        Some(heir) => format!(
            "its address is another's now: {}; ask for that one",
            cluster.describe(&heir)
        ),
        None => "it is judged as an address outside the cluster".to_owned(),
    };
    format!("pod {namespace}/{name} is finished, no policy sees it any more; {judged}")
}

/// Reads the address in a field that may be left out.
pub(super) fn given(field: &'static str, text: Option<String>) -> Result<Option<IpAddr>, Problem> {
    text.map(|text| address(&text).ok_or(Problem::Address { field, text }))
        .transpose()
}

/// Reads an address; the zone of a link-local one says nothing about who has it.
fn address(text: &str) -> Option<IpAddr> {
    let (text, _zone) = text.split_once('%').unwrap_or((text, ""));
    text.parse().ok()
}

fn key(text: &str) -> Result<ObjectKey, Problem> {
    let is_range = text.parse::<ipnet::IpNet>().is_ok();
    match text.split_once('/') {
        Some((namespace, name))
            if !is_range && !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(ObjectKey {
                namespace: namespace.into(),
                name: name.into(),
            })
        }
        Some(_) | None => Err(Problem::End {
            text: text.to_owned(),
        }),
    }
}

fn no_pod(cluster: &Cluster, key: ObjectKey) -> Problem {
    let pods = cluster.pods_in(&key.namespace).map(|pod| &pod.key.name);
    let offered = listed(pods);
    if offered.is_empty() {
        return Problem::NoNamespace {
            namespace: key.namespace,
            offered: listed(cluster.namespaces().map(|namespace| &namespace.name)),
        };
    }
    Problem::NoPod { key, offered }
}

/// The first few, and that there are more.
fn listed<T: ToString>(names: impl Iterator<Item = T>) -> String {
    let mut names: Vec<String> = names
        .map(|name| name.to_string())
        .take(OFFERED + 1)
        .collect();
    if names.len() > OFFERED {
        names.truncate(OFFERED);
        names.push("...".to_owned());
    }
    names.join(", ")
}
