//! Queues of entry numbers with removal from the middle: doubly linked lists over one array of links.
//!
//! A link takes 8 bytes: the number before it and the number after it, 30 bits each, and in the bits that are left
//! which list it is in. Invariant: every number is in at most one of the `N` lists, and `list_of` names it.

/// No number: one more than the largest that a link can name.
const NONE: u32 = (1 << NUMBER_BITS) - 1;
const NUMBER_BITS: u32 = 30;

/// A number's neighbours. The two upper bits of `before` are the list, [`NOWHERE`] if it is in none.
#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

const NOWHERE: u32 = 3;
const UNLINKED: Link = Link {
    before: NOWHERE << NUMBER_BITS | NONE,
    after: NONE,
};

impl Link {
    fn new(list: u8, before: u32) -> Self {
        Self {
            before: u32::from(list) << NUMBER_BITS | before,
            after: NONE,
        }
    }

    #[inline]
    fn before(self) -> u32 {
        self.before & NONE
    }

    fn set_before(&mut self, before: u32) {
        self.before = self.before & !NONE | before;
    }

    #[inline]
    fn list(self) -> Option<u8> {
        let list = self.before >> NUMBER_BITS;
        (list != NOWHERE).then_some(list as u8)
    }
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    front: u32,
    back: u32,
    len: usize,
}

const EMPTY: Ends = Ends {
    front: NONE,
    back: NONE,
    len: 0,
};

/// `N` queues, three at most, that share the numbers `0..2^30 - 1`.
#[derive(Debug)]
pub(super) struct Lists<const N: usize> {
    links: Vec<Link>,
    ends: [Ends; N],
}

impl<const N: usize> Default for Lists<N> {
    fn default() -> Self {
        const { assert!(N <= NOWHERE as usize) };
        Self {
            links: Vec::new(),
            ends: [EMPTY; N],
        }
    }
}

impl<const N: usize> Lists<N> {
    pub(super) fn len(&self, list: u8) -> usize {
        self.ends[usize::from(list)].len
    }

    #[inline]
    pub(super) fn list_of(&self, number: u32) -> Option<u8> {
        (self.links.get(number as usize)).and_then(|link| link.list())
    }

    #[inline]
    pub(super) fn front(&self, list: u8) -> Option<u32> {
        let front = self.ends[usize::from(list)].front;
        (front != NONE).then_some(front)
    }

    pub(super) fn push_back(&mut self, list: u8, number: u32) {
        self.make_link(number);
        let ends = &mut self.ends[usize::from(list)];
        let before = std::mem::replace(&mut ends.back, number);
        ends.len += 1;
        if before == NONE {
            ends.front = number;
        } else {
            self.links[before as usize].after = number;
        }
        self.links[number as usize] = Link::new(list, before);
    }

    /// Grows the array by a sixteenth and not, as a `Vec` does, to twice its length: there is a link for every entry.
    fn make_link(&mut self, number: u32) {
        let (len, needed) = (self.links.len(), number as usize + 1);
        if len < needed {
            assert!(number < NONE, "fewer than a billion entries");
            if self.links.capacity() < needed {
                self.links.reserve_exact(needed - len + len / 16);
            }
            self.links.resize(needed, UNLINKED);
        }
    }

    /// Unlinks a number; says from which list.
    pub(super) fn remove(&mut self, number: u32) -> Option<u8> {
        let link = std::mem::replace(self.links.get_mut(number as usize)?, UNLINKED);
        let list = link.list()?;
        let ends = &mut self.ends[usize::from(list)];
        ends.len -= 1;
        match link.before() {
            NONE => ends.front = link.after,
            before => self.links[before as usize].after = link.after,
        }
        match link.after {
            NONE => ends.back = link.before(),
            after => self.links[after as usize].set_before(link.before()),
        }
        Some(list)
    }

    pub(super) fn pop_front(&mut self, list: u8) -> Option<u32> {
        let front = self.front(list)?;
        self.remove(front);
        Some(front)
    }

    pub(super) fn iter(&self, list: u8) -> impl Iterator<Item = u32> {
        std::iter::successors(self.front(list), |&number| {
            let after = self.links[number as usize].after;
            (after != NONE).then_some(after)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, Lists};

    #[test]
    fn a_queue_keeps_its_order_when_the_middle_leaves() {
        let mut lists = Lists::<2>::default();
        for number in [5, 0, 3, 9] {
            lists.push_back(0, number);
        }
        lists.push_back(1, 7);
        assert_eq!(lists.remove(3), Some(0));
        assert_eq!(lists.remove(3), None);
        assert_eq!(lists.iter(0).collect::<Vec<_>>(), [5, 0, 9]);
        assert_eq!((lists.len(0), lists.len(1)), (3, 1));
        assert_eq!(lists.pop_front(0), Some(5));
        assert_eq!(lists.list_of(7), Some(1));
    }

    #[test]
    fn a_link_takes_eight_bytes_and_the_array_little_more() {
        assert_eq!(size_of::<Link>(), 8);
        let mut lists = Lists::<1>::default();
        for number in 0..10_000 {
            lists.push_back(0, number);
        }
        assert!(lists.links.capacity() <= 10_700);
    }
}
