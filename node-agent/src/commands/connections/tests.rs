use super::*;

fn parsed(text: &str) -> Result<Vec<Asked>, Error> {
    parse(Path::new("asked"), text)
}

fn expected(text: &str) -> Vec<Expected> {
    let asked = parsed(text).unwrap();
    asked.iter().map(|asked| asked.expected).collect()
}

#[test]
fn the_last_two_columns_may_be_left_out() {
    for header in [
        "from\tto\tport/protocol",
        "from\tto\tport/protocol\tverdict",
        "from\tto\tport/protocol\tverdict\tdenied in direction",
    ] {
        let asked = parsed(&format!("{header}\na/b\t192.0.2.1\t53/UDP\n")).unwrap();
        let [one] = asked.as_slice() else {
            panic!("{asked:?}");
        };
        assert_eq!((one.from.as_str(), one.to.as_str()), ("a/b", "192.0.2.1"));
        assert_eq!((one.port, one.protocol), (Some(53), Protocol::Udp));
        assert_eq!(one.expected, Expected::default());
    }
}

#[test]
fn tables_come_with_windows_line_ends_comments_and_empty_lines() {
    let text =
        "\r\n# a comment\r\nfrom\tto\tport/protocol\tverdict\r\n\r\na/b\tc/d\t1/TCP\tdeny\r\n";
    let asked = parsed(text).unwrap();
    assert_eq!(asked[0].expected.verdict, Some(Decision::Denied));
    let Place::Line { line, .. } = asked[0].place else {
        panic!("inline");
    };
    assert_eq!(line, 5);
}

#[test]
fn a_named_direction_excludes_the_other() {
    let header = "from\tto\tport/protocol\tverdict\tdenied in direction\n";
    let denied = Some(Wanted::Is(Decision::Denied));
    let not = Some(Wanted::NotDenied);
    for (cell, egress, ingress) in [
        ("-", None, None),
        ("", None, None),
        ("egress", denied, not),
        ("ingress", not, denied),
        ("egress+ingress", denied, denied),
        ("ingress, egress", denied, denied),
    ] {
        let found = expected(&format!("{header}a/b\tc/d\t1/TCP\tdenied\t{cell}"));
        assert_eq!(
            (found[0].egress, found[0].ingress),
            (egress, ingress),
            "{cell}"
        );
    }
}

#[test]
fn ports_are_read_with_their_protocol() {
    for (text, port, protocol) in [
        ("5432/TCP", Some(5432), Protocol::Tcp),
        ("53/udp", Some(53), Protocol::Udp),
        ("65535/SCTP", Some(65535), Protocol::Sctp),
        ("80", Some(80), Protocol::Tcp),
        ("-/ICMP", None, Protocol::Icmp),
        ("icmpv6", None, Protocol::Icmpv6),
        ("-/TCP", None, Protocol::Tcp),
    ] {
        assert_eq!(port_and_protocol(text), Ok((port, protocol)), "{text}");
    }
    for text in [
        "0/TCP",
        "65536/TCP",
        "http/TCP",
        "80/QUIC",
        "8/ICMP",
        "",
        "-1/TCP",
    ] {
        assert!(port_and_protocol(text).is_err(), "{text}");
    }
}

#[test]
fn json_lines_say_the_same_as_a_table() {
    let text = r#"{"from":"a/b","to":"c/d","port":1,"protocol":"TCP","expect":"deny","expect_egress":"allowed","via":"service"}
{"from":"a/b","to":"fe80::1%eth0","port":null,"protocol":"ICMPv6","from_ip":"10.0.0.1","to_ip":"fe80::1"}"#;
    let asked = parsed(text).unwrap();
    assert!(asked[0].via_service && !asked[1].via_service);
    assert_eq!(asked[0].expected.verdict, Some(Decision::Denied));
    assert_eq!(
        asked[0].expected.egress,
        Some(Wanted::Is(Decision::Allowed))
    );
    assert_eq!(asked[1].to_ip, Some("fe80::1".parse().unwrap()));
    assert_eq!((asked[1].port, asked[1].protocol), (None, Protocol::Icmpv6));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let header = "from\tto\tport/protocol\tverdict\tdenied in direction\n";
    for (text, wanted) in [
        (
            "a/b\tc/d\t1/TCP\n".to_owned(),
            "`asked` line 1: expected the header",
        ),
        (
            "from\tto\tport\n".to_owned(),
            "`asked` line 1: expected the header",
        ),
        (
            format!("{header}a/b c/d 1/TCP"),
            "`asked` line 2: the header has 5 columns, this line 1",
        ),
        (
            format!("{header}a/b\tc/d\t1/TCP\tdenied\t-\tmore"),
            "line 2: the header has 5 columns, this line 6",
        ),
        (
            format!("{header}a/b\tc/d\thttp/TCP"),
            "`http/TCP`: a port is a number",
        ),
        (
            format!("{header}\na/b\tc/d\t1/TCP\tmaybe"),
            "line 3: `maybe`: an expectation is",
        ),
        (
            format!("{header}a/b\tc/d\t1/TCP\tdenied\tsideways"),
            "`sideways`: a direction is",
        ),
        (
            r#"{"from":"a/b","to":"c/d","port":1,"protocol":"TCP","expcet":"deny"}"#.to_owned(),
            "unknown field `expcet`",
        ),
        (
            r#"{"from":"a/b","to":"c/d","port":70000,"protocol":"TCP"}"#.to_owned(),
            "`70000`: a port is a number",
        ),
        (
            r#"{"from":"a/b","to":"c/d","port":1,"protocol":"QUIC"}"#.to_owned(),
            "`QUIC`: a protocol is",
        ),
        (
            r#"{"from":"a/b","port":1,"protocol":"TCP"}"#.to_owned(),
            "missing field `to`",
        ),
        (
            r#"{"from":"a/b","to":"c/d","port":1,"protocol":"TCP","to_ip":"x"}"#.to_owned(),
            "`to_ip`: `x` is no address",
        ),
        ("{\"from\":\n".to_owned(), "line 1: column"),
    ] {
        let error = parsed(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}\n{error}");
    }
}
