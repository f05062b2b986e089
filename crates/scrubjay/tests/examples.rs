//! The examples run, and what they assert holds.
//!
//! Each is a module of this test, so that it is neither built nor started once more.

#![cfg(all(feature = "macros", feature = "snapshot"))]

use std::error::Error;

#[path = "../examples/asynchronous.rs"]
mod asynchronous;
#[path = "../examples/conditional.rs"]
mod conditional;
#[path = "../examples/custom_key.rs"]
mod custom_key;
#[path = "../examples/error_caching.rs"]
mod error_caching;
#[path = "../examples/invalidate_by_tag.rs"]
mod invalidate_by_tag;
#[path = "../examples/lru_bounded.rs"]
mod lru_bounded;
#[path = "../examples/monitoring.rs"]
mod monitoring;
#[path = "../examples/recursive_closure.rs"]
mod recursive_closure;
#[path = "../examples/shared_between_threads.rs"]
mod shared_between_threads;
#[path = "../examples/stampede.rs"]
mod stampede;
#[path = "../examples/time_to_live.rs"]
mod time_to_live;
#[path = "../examples/unbounded.rs"]
mod unbounded;
#[path = "../examples/warming.rs"]
mod warming;
#[path = "../examples/weak_values.rs"]
mod weak_values;
#[path = "../examples/write_through.rs"]
mod write_through;

#[test]
fn an_unbounded_memo_loads_each_argument_once() {
    unbounded::main();
}

#[test]
fn a_bounded_cache_lets_the_least_recently_used_go() -> Result<(), impl Error> {
    lru_bounded::main()
}

#[test]
fn an_answer_is_forgotten_at_the_end_of_its_life() -> Result<(), impl Error> {
    time_to_live::main()
}

#[test]
fn threads_share_one_cache() {
    shared_between_threads::main();
}

#[test]
fn only_the_calls_that_were_asked_for_are_stored() -> Result<(), impl Error> {
    conditional::main()
}

#[test]
fn tasks_share_one_load() -> Result<(), Box<dyn Error>> {
    asynchronous::main()
}

#[test]
fn errors_are_forgotten_or_remembered_as_asked() -> Result<(), impl Error> {
    error_caching::main()
}

#[test]
fn weak_values_are_found_while_they_are_in_use() -> Result<(), impl Error> {
    weak_values::main()
}

#[test]
fn unhashable_arguments_are_memoized_by_a_key_made_from_them() {
    custom_key::main();
}

#[test]
fn events_of_other_writers_invalidate() -> Result<(), impl Error> {
    write_through::main()
}

#[test]
fn entries_with_a_common_tag_leave_together() -> Result<(), impl Error> {
    invalidate_by_tag::main()
}

#[test]
fn every_removal_is_counted_and_told() -> Result<(), impl Error> {
    monitoring::main()
}

#[test]
fn a_snapshot_warms_the_next_process() -> Result<(), Box<dyn Error>> {
    warming::main()
}

#[test]
fn a_closure_may_call_its_memoized_self() {
    recursive_closure::main();
}

#[test]
fn a_stampede_is_one_load() {
    stampede::main();
}
