//! Domain names, and the addresses that DNS gave for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::DomainName;

/// What DNS has answered: names and their addresses. A name that is not in it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<Arc<str>, BTreeSet<IpAddr>>);

impl Names {
    /// Every name, in lower case and without the dot at its end, with its addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<IpAddr>)> {
        self.0.iter().map(|(name, ips)| (name.as_ref(), ips))
    }
}

/// Names are compared without regard to case and to the dot at their end; a name that comes twice has the
/// addresses of both.
impl<N: AsRef<str>, A: IntoIterator<Item = IpAddr>> FromIterator<(N, A)> for Names {
    fn from_iter<T: IntoIterator<Item = (N, A)>>(answers: T) -> Self {
        let mut names = BTreeMap::<_, BTreeSet<_>>::new();
        for (name, ips) in answers {
            let ips = ips.into_iter().map(|ip| ip.to_canonical());
            names
                .entry(plain(name.as_ref()).into())
                .or_default()
                .extend(ips);
        }
        Self(names)
    }
}

impl DomainName {
    /// Reads a name as policies write it.
    pub(crate) fn parse(text: &str) -> Self {
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        Self {
            name: plain(name).into(),
            wildcard,
        }
    }

    /// Whether it is that name, or with a wildcard one or more whole labels before it (R52).
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self.wildcard {
            false => *self.name == *name,
            true => name
                .strip_suffix(self.name.as_ref())
                .and_then(|labels| labels.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_whole_labels() {
        let table = [
            ("kubernetes.io", "kubernetes.io", true),
            ("kubernetes.io", "www.kubernetes.io", false),
            ("kubernetes.io", "my-kubernetes.io", false),
            ("Kubernetes.IO.", "kubernetes.io", true),
            ("*.kubernetes.io", "www.kubernetes.io", true),
            ("*.kubernetes.io", "latest.blog.kubernetes.io", true),
            ("*.kubernetes.io", "kubernetes.io", false),
            ("*.kubernetes.io", "my-kubernetes.io", false),
            ("*.kubernetes.io", "wikipedia.org", false),
        ];
        for (pattern, name, expected) in table {
            let answers: Names = [(name, None)].into_iter().collect();
            let (name, _) = answers.iter().next().unwrap();
            assert_eq!(
                DomainName::parse(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
