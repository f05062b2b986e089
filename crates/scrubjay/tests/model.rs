//! Random operations on the cache and on a small reference cache give the same answers.

mod fixtures;

use fixtures::{Random, model};

/// Runs many seeds; a failing one is printed, and `model::run` with it alone repeats the failure.
fn run(seeds: std::ops::Range<u64>, operations: usize) {
    for seed in seeds {
        let bytes = Random::new(seed).bytes((operations + 1) * 4);
        model::run(&bytes, &format!("seed {seed}"));
    }
}

#[test]
fn the_cache_answers_like_the_reference_in_many_short_histories() {
    run(0..600, 60);
}

#[test]
fn the_cache_answers_like_the_reference_in_long_histories() {
    run(10_000..10_200, 400);
}

#[test]
fn every_operation_and_every_policy_takes_part_in_the_random_histories() {
    let mut seen = std::collections::BTreeSet::new();
    let mut configs = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let bytes = Random::new(seed).bytes(200);
        for group in bytes.chunks_exact(4) {
            let group = [group[0], group[1], group[2], group[3]];
            let op = format!("{:?}", model::Op::decode(group));
            seen.insert(op.split('(').next().map(str::to_owned));
            configs.insert(format!("{:?}", model::Config::decode(group)));
        }
    }
    assert_eq!(seen.len(), 21);
    for policy in ["Adaptive", "Lru", "Fifo"] {
        assert!(configs.iter().any(|config| config.contains(policy)));
    }
    assert!(
        configs
            .iter()
            .any(|config| config.contains("capacity: None"))
    );
}
