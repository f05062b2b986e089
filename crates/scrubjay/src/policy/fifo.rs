//! First in, first out: hits change nothing.

use super::list::Lists;
use super::{Marks, Rules};

#[derive(Debug, Default)]
pub(super) struct Fifo {
    queue: Lists<1>,
}

impl Rules for Fifo {
    fn insert(&mut self, number: u32, _weight: u64, _marks: &dyn Marks) {
        self.queue.push_back(0, number);
    }

    fn knows(&self, number: u32) -> bool {
        self.queue.list_of(number).is_some()
    }

    fn remove(&mut self, number: u32, _marks: &dyn Marks) {
        self.queue.remove(number);
    }

    fn victim(&mut self, _marks: &dyn Marks) -> Option<u32> {
        self.queue.pop_front(0)
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn assert_consistent(&self, entries: &[(u32, u64)]) {
        assert_eq!(self.queue.len(0), entries.len());
        for (number, _) in entries {
            assert_eq!(self.queue.list_of(*number), Some(0));
        }
    }
}
