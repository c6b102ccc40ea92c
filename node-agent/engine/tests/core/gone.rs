//! A pod that is gone before its attempt is judged is told as it was.

use node_agent_engine::Input;
use node_agent_engine::input::DropClass;
use node_agent_engine::model::{Delta, ObjectKey};
use node_agent_engine::record::EndpointKind;

use super::bench::{Bench, DB, JOB, S};
use super::outcomes::drop;

#[test]
fn a_pod_that_is_gone_is_told_as_it_was() {
    let mut bench = Bench::settled();
    let seen = bench.attempt(JOB, DB);
    bench.pass(S);
    for name in ["job", "db"] {
        bench.give(Input::Delta(Box::new(Delta::PodGone(ObjectKey {
            namespace: "shop".into(),
            name: name.into(),
        }))));
    }
    for input in drop(&mut bench, seen, DropClass::Netfilter, false) {
        bench.give(input);
    }
    bench.pass(10 * S);
    let found = bench.only();
    for (end, name) in [(&found.source, "job"), (&found.destination, "db")] {
        assert_eq!(end.kind, EndpointKind::Pod, "{name}");
        assert_eq!(end.name.as_deref(), Some(name));
        assert_eq!(end.uid.as_deref(), Some(format!("uid-{name}").as_str()));
        assert_eq!(
            end.workload.as_ref().map(|workload| &*workload.name),
            Some(name)
        );
        assert!(
            end.labels
                .as_ref()
                .is_some_and(|labels| labels.iter().any(|(_, value)| &**value == name)),
            "{name}: {:?}",
            end.labels
        );
    }
}
