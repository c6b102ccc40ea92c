//! Thousands of random sequences of changes, shrunk to a small one when they find a difference.

use naive::made::STEP_BYTES;
use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_engine_answers_as_the_rules_do_after_any_sequence(
        steps in vec(uniform32(any::<u8>()), 1..80),
    ) {
        let bytes: Vec<u8> = steps.concat();
        debug_assert_eq!(bytes.len() % STEP_BYTES, 0);
        fuzz::deltas::run(&bytes);
    }
}
