//! Queues of entry numbers with removal from the middle: doubly linked lists over one array of links.
//!
//! Invariant: every number is in at most one of the `N` lists, and `list_of` names it.

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
    list: Option<u8>,
}

const UNLINKED: Link = Link {
    before: NONE,
    after: NONE,
    list: None,
};

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

/// `N` queues that share the numbers `0..`.
#[derive(Debug)]
pub(super) struct Lists<const N: usize> {
    links: Vec<Link>,
    ends: [Ends; N],
}

impl<const N: usize> Default for Lists<N> {
    fn default() -> Self {
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

    pub(super) fn list_of(&self, number: u32) -> Option<u8> {
        self.links.get(number as usize).and_then(|link| link.list)
    }

    pub(super) fn front(&self, list: u8) -> Option<u32> {
        let front = self.ends[usize::from(list)].front;
        (front != NONE).then_some(front)
    }

    pub(super) fn push_back(&mut self, list: u8, number: u32) {
        if self.links.len() <= number as usize {
            self.links.resize(number as usize + 1, UNLINKED);
        }
        let ends = &mut self.ends[usize::from(list)];
        let before = std::mem::replace(&mut ends.back, number);
        ends.len += 1;
        if before == NONE {
            ends.front = number;
        } else {
            self.links[before as usize].after = number;
        }
        self.links[number as usize] = Link {
            before,
            after: NONE,
            list: Some(list),
        };
    }

    /// Unlinks a number; says from which list.
    pub(super) fn remove(&mut self, number: u32) -> Option<u8> {
        let link = std::mem::replace(self.links.get_mut(number as usize)?, UNLINKED);
        let list = link.list?;
        let ends = &mut self.ends[usize::from(list)];
        ends.len -= 1;
        match link.before {
            NONE => ends.front = link.after,
            before => self.links[before as usize].after = link.after,
        }
        match link.after {
            NONE => ends.back = link.before,
            after => self.links[after as usize].before = link.before,
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
    use super::Lists;

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
}
