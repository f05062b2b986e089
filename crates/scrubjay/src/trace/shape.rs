//! The shape of a trace: who called whom, and which subtrees look the same.
//!
//! Two calls have the same *pattern* exactly if they print alike: same function, arguments, outcome, result and thread,
//! and children of the same patterns in the same order. Times do not count. Patterns are compared in full (they are
//! numbered through a table, as in hash consing), never by their hash alone.

use std::collections::HashMap;

use super::{Call, Outcome};

/// Children, patterns, sizes and heights of all calls, each indexed by the position of the call.
#[derive(Debug)]
pub(super) struct Shape {
    /// The calls without a parent.
    pub(super) roots: Vec<usize>,
    /// The calls made during this one's load, in the order of their beginning.
    pub(super) children: Vec<Vec<usize>>,
    /// The number of the subtree's pattern.
    pub(super) pattern: Vec<usize>,
    /// The number of calls in the subtree, this one included.
    pub(super) size: Vec<usize>,
    /// The number of levels in the subtree, this one included.
    pub(super) height: Vec<usize>,
}

/// What a call looks like, apart from its time, and the patterns of its children.
type Look<'a> = (
    &'a str,
    &'a str,
    Outcome,
    Option<&'a str>,
    usize,
    Vec<usize>,
);

impl Shape {
    pub(super) fn of(calls: &[Call]) -> Self {
        let mut shape = Shape {
            roots: Vec::new(),
            children: vec![Vec::new(); calls.len()],
            pattern: vec![0; calls.len()],
            size: vec![1; calls.len()],
            height: vec![1; calls.len()],
        };
        shape.link(calls);
        shape.measure(calls);
        shape
    }

    fn link(&mut self, calls: &[Call]) {
        for (position, call) in calls.iter().enumerate() {
            match call.parent {
                Some(parent) => self.children[parent].push(position),
                None => self.roots.push(position),
            }
        }
    }

    /// Backwards, so that children come before their parents without a recursion.
    fn measure<'a>(&mut self, calls: &'a [Call]) {
        let mut patterns: HashMap<Look<'a>, usize> = HashMap::new();
        for (position, call) in calls.iter().enumerate().rev() {
            let below: Vec<usize> = self.children[position]
                .iter()
                .map(|&child| self.pattern[child])
                .collect();
            let result = call.result.as_deref();
            let look = (
                call.function,
                call.args.as_str(),
                call.outcome,
                result,
                call.thread,
                below,
            );
            let next = patterns.len();
            self.pattern[position] = *patterns.entry(look).or_insert(next);
            if let Some(parent) = call.parent {
                self.size[parent] += self.size[position];
                self.height[parent] = self.height[parent].max(self.height[position] + 1);
            }
        }
    }

    /// Groups consecutive calls of the same pattern: the first of each run, and the length of the run.
    pub(super) fn runs(&self, calls: &[usize]) -> Vec<(usize, usize)> {
        calls
            .chunk_by(|&left, &right| self.pattern[left] == self.pattern[right])
            .map(|run| (run[0], run.len()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::tests::{chain, hit, miss};
    use super::super::trace;
    use super::*;

    #[test]
    fn subtrees_share_a_pattern_exactly_if_they_print_alike() {
        let trace = trace(|| {
            miss("f", "1", "x", || hit("g", "1", "y"));
            miss("f", "1", "x", || hit("g", "1", "y"));
            miss("f", "1", "x", || hit("g", "1", "other"));
            miss("f", "1", "x", || ());
        });
        let shape = Shape::of(trace.calls());
        assert_eq!(shape.roots, [0, 2, 4, 6]);
        assert_eq!(shape.pattern[0], shape.pattern[2]);
        assert_ne!(shape.pattern[0], shape.pattern[4]);
        assert_ne!(shape.pattern[0], shape.pattern[6]);
        assert_eq!(shape.runs(&shape.roots), [(0, 2), (4, 1), (6, 1)]);
        assert_eq!((shape.size[0], shape.height[0]), (2, 2));
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_calls_is_measured() {
        let trace = chain(100_000);
        let shape = Shape::of(trace.calls());
        assert_eq!((shape.size[0], shape.height[0]), (100_000, 100_000));
    }
}
