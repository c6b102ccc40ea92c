//! `netverdict explain`.

use std::fs;

use crate::support::World;

/// Writes what would allow it into the cluster, and asks again.
fn verdict_after_fix(flags: &str) -> (serde_json::Value, serde_json::Value) {
    let world = World::shop();
    let explained = world.run("explain", &format!("{flags} -o json")).well(0);
    let explained = &explained.json()[0];
    for (index, fix) in explained["fix"].as_array().unwrap().iter().enumerate() {
        // The last file by name counts where an object is there twice.
        let file = world.cluster().join(format!("z{index}.yaml"));
        fs::write(file, fix["object"].as_str().unwrap()).unwrap();
    }
    let said = world.run("evaluate", flags);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    (
        explained["verdict"].clone(),
        said.json()[0]["verdict"].clone(),
    )
}

#[test]
fn what_it_prints_allows_the_connection() {
    for flags in [
        "--from shop/web-0 --to shop/db-0 --port 5432/TCP",
        "--from shop/web-0 --to shop/api-6d-a --port 8080/TCP",
        "--from shop/db-0 --to shop/web-0 --port 8080/UDP",
        "--from shop/web-0 --to 192.0.2.1 --port 80/TCP",
        "--from shop/web-0 --from-ip fd00::1 --to 2001:db8::1 --port 443/TCP",
        "--from 192.0.2.1 --to shop/db-0 --port 5432/SCTP",
        "--from shop/web-0 --to 10.96.0.4 --port 55432/TCP",
    ] {
        let (before, after) = verdict_after_fix(flags);
        assert_eq!(
            (before, after),
            ("denied".into(), "allowed".into()),
            "{flags}"
        );
    }
}

#[test]
fn both_sides_are_answered_when_both_deny() {
    let world = World::shop();
    let flags = "--from shop/web-0 --to shop/db-0 --port 5432/TCP";
    let explained = world.run("explain", &format!("{flags} -o json")).well(0);
    let explained = &explained.json()[0];
    for side in ["egress", "ingress"] {
        assert_eq!(explained[side]["verdict"], "denied");
        assert_eq!(
            explained[side]["policies"].as_array().unwrap().len(),
            2,
            "{side}"
        );
    }
    let fixed = explained["fix"].as_array().unwrap();
    let fixed: Vec<&str> = fixed
        .iter()
        .map(|fix| fix["policy"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(fixed, ["web", "db"]);
    let text = world.run("explain", flags).well(0).stdout;
    for words in [
        "shop/web-0 → shop/db-0, port 5432/TCP: denied",
        "Egress of shop/web-0: denied",
        "Ingress of shop/db-0: denied",
        "shop/default-deny: no ingress rule, so it allows nothing",
        "from[0] misses: pod labels: app=api wanted, app=web found",
        "to[0] misses: except: 0.0.0.0/0 except 10.0.0.0/8 wanted, 10.0.0.4 found",
        "ports[0] misses: port: 443 wanted, 5432 found",
        "both sides must change",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn nothing_is_to_be_fixed_where_nothing_is_denied() {
    let world = World::shop();
    for flags in [
        "--from shop/api-6d-a --to shop/db-0 --port 5432/TCP",
        "--from shop/web-0 --to shop/db-0 --port ICMP",
    ] {
        let said = world.run("explain", &format!("{flags} -o json")).well(0);
        assert_eq!(said.json()[0]["fix"], serde_json::json!([]), "{flags}");
    }
}
