//! Thousands of random sequences of changes, shrunk to a small one when they find a difference.

use naive::made::STEP_BYTES;
use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// How many sequences.
fn config() -> ProptestConfig {
    let cases = match std::env::var_os("NETVERDICT_LONG") {
        Some(_) => 50_000,
        None => 2_000,
    };
    ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_engine_answers_as_the_rules_do_after_any_sequence(
        steps in vec(uniform32(any::<u8>()), 1..80),
    ) {
        let bytes: Vec<u8> = steps.concat();
        debug_assert_eq!(bytes.len() % STEP_BYTES, 0);
        fuzz::deltas::run(&bytes);
    }
}
