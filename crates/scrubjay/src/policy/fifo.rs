//! First in, first out: hits change nothing.

use super::list::Lists;

#[derive(Debug, Default)]
pub(crate) struct Fifo {
    queue: Lists<1>,
}

impl Fifo {
    pub(super) fn insert(&mut self, number: u32) {
        self.queue.push_back(0, number);
    }

    pub(super) fn knows(&self, number: u32) -> bool {
        self.queue.list_of(number).is_some()
    }

    pub(super) fn remove(&mut self, number: u32) {
        self.queue.remove(number);
    }

    pub(super) fn victim(&mut self) -> Option<u32> {
        self.queue.pop_front(0)
    }

    pub(super) fn assert_consistent(&self, entries: &[(u32, u64)]) {
        assert_eq!(self.queue.len(0), entries.len());
        for (number, _) in entries {
            assert_eq!(self.queue.list_of(*number), Some(0));
        }
    }
}
