//! What Kubernetes lets names, labels, ports and addresses look like.

use std::net::IpAddr;

use ipnet::IpNet;

/// A DNS-1123 label of at most 63 characters.
pub(super) fn is_dns_label(text: &str) -> bool {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()]
        .iter()
        .all(|end| end.is_some_and(|end| *end != b'-'));
    bytes.len() <= 63 && ends && bytes.iter().all(|c| inside(*c))
}

/// A DNS-1123 subdomain of at most 253 characters; its parts may be longer than 63.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = [bytes.first(), bytes.last()]
            .iter()
            .all(|end| end.is_some_and(|end| *end != b'-'));
        ends && bytes.iter().all(|c| inside(*c))
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

/// A label key: a name, with a DNS subdomain and a slash before it if wanted.
pub(super) fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// A label value: a name, or empty.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_name(value)
}

fn is_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let inside = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let ends = [bytes.first(), bytes.last()]
        .iter()
        .all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()));
    bytes.len() <= 63 && ends && bytes.iter().all(|c| inside(*c))
}

/// An IANA service name: what a port may be called.
pub(super) fn is_port_name(name: &str) -> bool {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let letter = name.bytes().any(|c| c.is_ascii_lowercase());
    let dashes = name.contains("--") || name.starts_with('-') || name.ends_with('-');
    name.len() <= 15 && name.bytes().all(inside) && letter && !dashes
}

/// A domain name of at least two labels, or `*.` and such a name; a dot may end it. The first character of a
/// label may be what lies between `Z` and `a` too: the CRD's pattern says so.
pub(super) fn is_domain_pattern(text: &str) -> bool {
    let first = |c: u8| c.is_ascii_digit() || (b'A'..=b'z').contains(&c);
    let inside = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let is_label = |label: &str| match label.as_bytes() {
        [] => false,
        [only] => first(*only),
        [begin, middle @ .., end] => {
            first(*begin) && middle.iter().all(|c| inside(*c)) && end.is_ascii_alphanumeric()
        }
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    name.contains('.') && name.split('.').all(is_label)
}

/// A block of addresses, host bits masked off.
pub(super) struct Block {
    pub(super) net: IpNet,
    /// It is spelled as new objects must not: leading zeros, or IPv4 written as IPv6.
    pub(super) legacy: bool,
}

/// Reads a block. Spellings of old are read as the API server reads them: leading zeros count nothing.
pub(super) fn block(text: &str) -> Option<Block> {
    let (ip, prefix) = text.split_once('/')?;
    if !prefix.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let zeros = prefix.len() > 1 && prefix.starts_with('0');
    // The standard library refuses leading zeros.
    let (address, legacy) = match ip.parse::<IpAddr>() {
        Ok(address) => (address, zeros),
        Err(_) => (with_zeros(ip)?, true),
    };
    let net = IpNet::new(address, prefix.parse().ok()?).ok()?.trunc();
    let canonical = canonical(net);
    Some(Block {
        net: canonical,
        legacy: legacy || canonical != net,
    })
}

fn with_zeros(ip: &str) -> Option<IpAddr> {
    let plain = match ip.rsplit_once(':') {
        Some((v6, v4)) => format!("{v6}:{}", without_zeros(v4)?),
        None => without_zeros(ip)?,
    };
    plain.parse().ok()
}

fn without_zeros(v4: &str) -> Option<String> {
    let parts = v4
        .split('.')
        .map(|part| match part.trim_start_matches('0') {
            "" if !part.is_empty() => Some("0"),
            "" => None,
            rest => Some(rest),
        });
    Some(parts.collect::<Option<Vec<_>>>()?.join("."))
}

/// IPv4 written as IPv6 is IPv4.
fn canonical(net: IpNet) -> IpNet {
    match net.addr().to_canonical() {
        ip @ IpAddr::V4(_) if net.prefix_len() >= 96 && matches!(net, IpNet::V6(_)) => {
            IpNet::new(ip, net.prefix_len() - 96).unwrap_or(net)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_as_the_api_server_reads_them() {
        let table = [
            ("10.0.0.0/8", Some(("10.0.0.0/8", false))),
            ("203.0.113.77/24", Some(("203.0.113.0/24", false))),
            ("010.000.0.1/08", Some(("10.0.0.0/8", true))),
            ("::ffff:10.1.2.3/104", Some(("10.0.0.0/8", true))),
            ("2001:db8::1/32", Some(("2001:db8::/32", false))),
            ("10.0.0.0", None),
            ("10.0.0.0/33", None),
            ("10.0.0/8", None),
            ("10..0.0/8", None),
            ("10.0.0.0/+8", None),
            ("", None),
            (" ", None),
            ("300.300.300.300", None),
        ];
        for (text, expected) in table {
            let read = block(text).map(|block| (block.net.to_string(), block.legacy));
            assert_eq!(
                read,
                expected.map(|(net, legacy)| (net.to_owned(), legacy)),
                "{text}"
            );
        }
    }

    #[test]
    fn names_follow_their_syntax() {
        assert!(
            is_label_key("app")
                && is_label_key("app.kubernetes.io/name")
                && is_label_key("A-b_c.D")
        );
        assert!(
            !is_label_key("")
                && !is_label_key("/a")
                && !is_label_key("a/")
                && !is_label_key("a/b/c")
                && !is_label_key("Up/x")
        );
        assert!(
            is_label_value("")
                && is_label_value("a.b")
                && !is_label_value("a-")
                && !is_label_value(&"x".repeat(64))
        );
        assert!(is_port_name("http") && is_port_name("h-2") && is_port_name("a23456789012345"));
        assert!(
            !is_port_name("80")
                && !is_port_name("a--b")
                && !is_port_name("-a")
                && !is_port_name("Http")
                && !is_port_name("")
        );
        assert!(!is_port_name("a234567890123456"));
        assert!(
            is_dns_subdomain("a.b-c")
                && !is_dns_subdomain("a..b")
                && !is_dns_subdomain("A")
                && !is_dns_subdomain("")
        );
        assert!(is_dns_label("kube-system") && !is_dns_label("a.b") && !is_dns_label("-a"));
    }
}
