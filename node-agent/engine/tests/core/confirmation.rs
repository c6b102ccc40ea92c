//! What confirms a claim: a fresh reading of all that it rests on, asked for after it.

use node_agent_engine::input::{DropClass, EventKind, Ground};
use node_agent_engine::model::ObjectKey;
use node_agent_engine::record::Assessment::{Allowed, Unenforced, UnexpectedDrop, Unknown};
use node_agent_engine::verdict::UnknownBecause;
use node_agent_engine::{Input, Profile};

use super::bench::{API, AWAY, Bench, DB, JOB, MS, S, WEB, pod, service, slice};
use super::claims::answered;

#[test]
fn without_a_fresh_reading_it_is_stale() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    for _ in 0..140 {
        bench.now = bench.now.plus(500 * MS);
        bench.give(Input::Tick);
    }
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::Stale));
}

/// What stopped an attempt is known at once, that it stayed stopped only three seconds later.
#[test]
fn a_drop_is_claimed_however_soon_what_is_known_is_stale() {
    for stale_after_ns in [S, 2 * S, 3 * S] {
        for confirm_ns in [0, 5 * S] {
            let mut bench = Bench::settled_by(|options| {
                options.stale_after_ns = stale_after_ns;
                options.confirm_ns = confirm_ns;
            });
            let seen = bench.attempt(WEB, DB).dropped(DropClass::Netfilter, false);
            bench.give(seen.event(bench.now, EventKind::Dropped, 1));
            bench.pass(3 * S);
            bench.give(seen.swept());
            bench.pass(10 * S);
            let found = bench.only();
            assert_eq!(
                (found.assessment, found.unknown_because),
                (UnexpectedDrop, None),
                "{stale_after_ns}, {confirm_ns}"
            );
        }
    }
}

/// One file stays broken, another changes now and then: the cluster is heard of, and nothing is confirmed.
#[test]
fn news_of_the_cluster_confirms_nothing_and_it_is_asked_for_again() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    let unanswered_ticks = |bench: &mut Bench, seconds: u64| {
        for tick in 0..seconds * 10 {
            if tick % 100 == 0 {
                let address = format!("10.42.1.{}", 100 + tick / 100);
                bench.apply(&pod("other", "other", &address, "node-2"));
            }
            bench.now = bench.now.plus(100 * MS);
            let asked = bench.confirms;
            bench.give(Input::Tick);
            if bench.confirms > asked {
                bench.give(Input::GroundsConfirmed(Vec::new()));
            }
        }
    };
    unanswered_ticks(&mut bench, 60);
    assert!(bench.written.is_empty(), "{:#?}", bench.written);
    unanswered_ticks(&mut bench, 10);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::Stale));
    let asked = bench.confirms;
    assert!((50..=61).contains(&asked), "asked {asked} times in 60 s");

    bench.written.clear();
    bench.give(Input::Confirmed);
    answered(&mut bench);
    unanswered_ticks(&mut bench, 20);
    bench.pass(2 * S);
    assert_eq!(bench.only().assessment, Unenforced, "answered late");
}

fn pods(names: &[&str]) -> Vec<Ground> {
    let key = |name: &&str| ObjectKey {
        namespace: "shop".into(),
        name: (*name).into(),
    };
    names.iter().map(key).map(Ground::Pod).collect()
}

#[test]
fn a_question_names_the_pods_and_covers_only_what_was_due() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    bench.wait(S);
    let later = bench.attempt(JOB, AWAY);
    bench.give(later.event(bench.now, EventKind::Answered, 1));
    bench.wait(4 * S);
    let first = pods(&["db", "job"]);
    assert_eq!((bench.confirms, &bench.asked), (1, &first));
    // The second falls due while the first is read, and rests on what happens to be read too.
    bench.wait(2 * S);
    assert_eq!(bench.confirms, 1);
    bench.give(Input::GroundsConfirmed(pods(&["away", "db", "job"])));
    assert_eq!(bench.only().assessment, Unenforced);
    bench.wait(50 * MS);
    let second = pods(&["away", "job"]);
    assert_eq!((bench.confirms, &bench.asked), (2, &second));
    bench.give(Input::GroundsConfirmed(second));
    assert_eq!(bench.written.len(), 2);
}

/// Whoever changes a pod all the time must not keep others from being told of.
#[test]
fn what_cannot_be_confirmed_holds_up_nothing_else() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    let other = bench.attempt(JOB, AWAY);
    bench.give(other.event(bench.now, EventKind::Answered, 1));
    bench.wait(5 * S);
    assert_eq!(bench.asked, pods(&["away", "db", "job"]));
    bench.give(Input::GroundsConfirmed(pods(&["db", "job"])));
    assert_eq!(bench.only().assessment, Unenforced);
    bench.wait(2 * S);
    assert_eq!((bench.confirms, &bench.asked), (2, &pods(&["away", "job"])));
}

/// A cluster with too many Services for a reading to say that an address is nobody's.
#[test]
fn claims_that_are_never_confirmed_go_behind_the_others() {
    let mut bench = Bench::settled();
    for host in 0..100 {
        let seen = bench.attempt(&format!("198.51.100.{host}"), DB).arrived();
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
    }
    bench.wait(100 * MS);
    answered(&mut bench);
    let mut waited = 0;
    while bench.written.is_empty() && waited < 20 {
        waited += 1;
        let asked = bench.confirms;
        bench.wait(500 * MS);
        if bench.confirms > asked {
            let mut confirmed = bench.asked.clone();
            confirmed.retain(|ground| !matches!(ground, Ground::Stranger(_)));
            bench.give(Input::GroundsConfirmed(confirmed));
        }
    }
    assert_eq!(bench.only().assessment, Unenforced);
    // Those that failed are asked about again when nobody else waits.
    bench.wait(3 * S);
    let is_stranger = |ground: &Ground| matches!(ground, Ground::Stranger(_));
    assert_eq!(bench.asked.iter().filter(|it| is_stranger(it)).count(), 63);
}

/// An attempt may end long after it is due: what was read before that says nothing of it.
#[test]
fn an_answer_confirms_no_claim_that_came_after_its_question() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    let late = bench.attempt(JOB, AWAY);
    bench.wait(5 * S);
    assert_eq!(bench.asked, pods(&["db", "job"]));
    bench.wait(S);
    bench.give(late.event(bench.now, EventKind::Answered, 1));
    bench.give(Input::GroundsConfirmed(pods(&["away", "db", "job"])));
    assert_eq!(bench.written.len(), 1);
    bench.wait(S);
    assert_eq!(bench.asked, pods(&["away", "job"]));
}

#[test]
fn a_claim_through_a_service_rests_on_its_backends() {
    let mut bench = Bench::settled();
    bench.apply(&service());
    bench.apply(&slice(&[DB]));
    bench.pass(30 * S);
    let seen = bench.attempt(JOB, API);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.wait(5 * S);
    let mut grounds = pods(&["db", "job"]);
    grounds.push(Ground::Service(ObjectKey {
        namespace: "shop".into(),
        name: "api".into(),
    }));
    assert_eq!(bench.asked, grounds);
    bench.give(Input::GroundsConfirmed(pods(&["db", "job"])));
    assert!(bench.written.is_empty());
}

/// One watch is broken, and another goes on.
#[test]
fn what_is_known_is_as_old_as_the_oldest_of_it() {
    let mut bench = Bench::settled();
    bench.give(Input::Heard);
    bench.wait(30 * S);
    bench.apply(&pod("other", "other", "10.42.1.99", "node-2"));
    let seen = bench.attempt(WEB, DB);
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.give(Input::Tick);
    let as_of = &bench.only().policy_state.as_of;
    assert!(as_of.starts_with("1970-01-01T00:01:40."), "{as_of}");
    bench.written.clear();
    bench.wait(31 * S);
    answered(&mut bench);
    bench.wait(S);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::Stale));
}

/// A thousand denied conversations that all go through must not be a thousand questions in each window.
#[test]
fn repeats_of_a_claim_are_asked_about_after_a_while_and_after_a_change() {
    let mut bench = Bench::settled();
    let mut asked = Vec::new();
    for round in 0..12 {
        // A pod that changes without changing what policy says of it.
        if round == 3 {
            let mut changed = pod("job", "job", JOB, "node-1");
            changed["metadata"]["labels"]["round"] = "3".into();
            bench.apply(&changed);
            bench.pass(6 * S);
        }
        answered(&mut bench);
        bench.pass(10 * S);
        asked.push(bench.confirms);
    }
    bench.give(Input::Ended);
    let claimed: u64 = bench.written.iter().map(|found| found.count).sum();
    assert!(bench.written.iter().all(|it| it.assessment == Unenforced));
    assert_eq!((claimed, bench.counted), (12, 12));
    // What was read stands for 20 s.
    assert_eq!(asked, [1, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]);
}

/// A pod of another node that was not told of is taken for the world.
#[test]
fn a_claim_about_the_world_rests_on_no_pod_having_the_address() {
    let mut bench = Bench::settled();
    let seen = bench.attempt("198.51.100.7", DB).arrived();
    bench.give(seen.event(bench.now, EventKind::Answered, 1));
    bench.wait(5 * S);
    let grounds = [
        pods(&["db"]),
        vec![Ground::Stranger("198.51.100.7".parse().unwrap())],
    ]
    .concat();
    assert_eq!(bench.asked, grounds);
    bench.give(Input::GroundsConfirmed(pods(&["db"])));
    assert!(bench.written.is_empty());
    bench.wait(2 * S);
    bench.give(Input::GroundsConfirmed(bench.asked.clone()));
    assert_eq!(bench.only().assessment, Unenforced);
}

/// Next to a pod's address another pod's may come, or a node's end of a tunnel, which no object names.
#[test]
fn an_address_among_those_of_pods_waits_and_may_be_a_node_of_cilium() {
    for (profile, expected) in [
        (Profile::Generic, (Unenforced, None)),
        (Profile::Cilium, (Unknown, Some(UnknownBecause::Identity))),
        (Profile::Disputed, (Unknown, Some(UnknownBecause::Identity))),
    ] {
        let mut bench = Bench::settled();
        bench.give(Input::Profile(profile));
        let seen = bench.attempt("10.42.1.99", DB).arrived();
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!((found.assessment, found.unknown_because), expected);

        bench.written.clear();
        let seen = bench.attempt("10.42.1.100", DB).arrived();
        bench.give(seen.event(bench.now, EventKind::Dropped, 1));
        bench.pass(S);
        bench.apply(&pod("late", "web", "10.42.1.100", "node-2"));
        bench.give(seen.event(bench.now, EventKind::Answered, 1));
        bench.pass(10 * S);
        let found = bench.only();
        assert_eq!(found.source.name.as_deref(), Some("late"));
        assert_eq!(found.assessment, Allowed);
    }
}

#[test]
fn hearing_of_the_cluster_confirms_nothing() {
    let mut bench = Bench::settled();
    answered(&mut bench);
    for _ in 0..60 {
        bench.wait(S);
        bench.give(Input::Heard);
    }
    assert!(bench.written.is_empty());
    assert!(bench.confirms > 1, "asked {} times", bench.confirms);
    bench.wait(10 * S);
    assert_eq!(bench.only().unknown_because, Some(UnknownBecause::Stale));
}
