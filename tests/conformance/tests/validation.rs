//! What the API server refuses, the border refuses, and nothing else.

use conformance::ValidationCase;
use node_agent_engine::k8s::{Decode, Rejection, decode};

#[test]
fn objects_are_refused_as_the_api_server_refuses_them() {
    let cases: Vec<ValidationCase> = conformance::read("np-validation").unwrap();
    let mut wrong = Vec::new();
    for ValidationCase {
        case,
        policy,
        valid,
        why,
    } in &cases
    {
        match decode(policy, &Decode::default()) {
            Ok(deltas) if *valid && deltas.len() == 1 => {}
            Ok(deltas) => wrong.push(format!(
                "{case}: taken as {} objects, expected {valid} ({why:?})",
                deltas.len()
            )),
            Err(rejections) if *valid => wrong.push(format!("{case}: refused: {rejections:?}")),
            Err(rejections) => {
                let why = why.as_deref().unwrap();
                if !rejections
                    .iter()
                    .any(|rejection| names_the_place(rejection, why))
                {
                    wrong.push(format!(
                        "{case}: refused for another reason than `{why}`: {rejections:?}"
                    ));
                }
            }
        }
    }
    println!(
        "np-validation: {} objects, {} wrong",
        cases.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 135, "only {} objects to judge", cases.len());
}

/// The corpus leaves out the indices of inner lists: `spec.ingress[0].ports.port`, and some leading parts.
fn names_the_place(rejection: &Rejection, why: &str) -> bool {
    let bare = |text: &str| {
        let mut bare = String::new();
        let mut depth = 0;
        for c in text.chars() {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                c if depth == 0 => bare.push(c),
                _ => {}
            }
        }
        bare
    };
    let place = why.split(": ").next().unwrap_or_default();
    let (place, field) = (bare(place), bare(&rejection.field));
    let inner = place.strip_prefix("spec.").unwrap_or(&place);
    place == "apiVersion/kind" && field == "apiVersion"
        || field.contains(inner)
        || last_words(&field, inner)
}

/// `spec.podSelector.value` stands for `spec.podSelector.matchExpressions.value`.
fn last_words(field: &str, place: &str) -> bool {
    match place.rsplit_once('.') {
        Some((parent, last)) => field.contains(parent) && field.ends_with(last),
        None => false,
    }
}
