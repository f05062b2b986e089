//! Two policies written out exactly, to check the others by: least recently used, and Belady's optimum.

use std::collections::BinaryHeap;

/// No request: the end of a list, or a key that is not asked for again.
const NONE: u32 = u32::MAX;

/// Counts the hits of a cache that evicts the key used longest ago.
#[must_use]
pub fn lru_hits(requests: &[u32], capacity: usize) -> u64 {
    // The recency order is the order of each key's latest request: the hand walks the requests and passes over all that
    // are not the latest of a resident key.
    let mut latest = vec![NONE; key_count(requests)];
    let (mut resident, mut hand, mut hits) = (0, 0, 0);
    for (now, key) in requests.iter().enumerate() {
        if latest[*key as usize] == NONE {
            resident += 1;
        } else {
            hits += 1;
        }
        latest[*key as usize] = now as u32;
        while resident > capacity {
            let oldest = requests[hand] as usize;
            if latest[oldest] == hand as u32 {
                latest[oldest] = NONE;
                resident -= 1;
            }
            hand += 1;
        }
    }
    hits
}

/// Counts the hits that no policy can exceed: of the residents and the newcomer, whoever is needed last leaves
/// (Belady, "A study of replacement algorithms for a virtual-storage computer", 1966, with bypass).
#[must_use]
pub fn belady_hits(requests: &[u32], capacity: usize) -> u64 {
    let next_uses = next_uses(requests);
    let mut is_resident = vec![false; key_count(requests)];
    let (mut resident, mut hits) = (0, 0);
    // Entries of the past stay in the heap, below every entry of the future: the top is always a resident's next use.
    let mut future = BinaryHeap::new();
    for (key, next) in requests.iter().zip(next_uses) {
        if is_resident[*key as usize] {
            hits += 1;
        } else {
            is_resident[*key as usize] = true;
            resident += 1;
        }
        future.push((next, *key));
        if resident > capacity {
            let (_, last) = future.pop().expect("every resident is in the heap");
            is_resident[last as usize] = false;
            resident -= 1;
        }
    }
    hits
}

/// For each request, the next one for the same key.
fn next_uses(requests: &[u32]) -> Vec<u32> {
    let mut upcoming = vec![NONE; key_count(requests)];
    let mut next_uses = vec![NONE; requests.len()];
    for (now, key) in requests.iter().enumerate().rev() {
        next_uses[now] = upcoming[*key as usize];
        upcoming[*key as usize] = now as u32;
    }
    next_uses
}

fn key_count(requests: &[u32]) -> usize {
    requests.iter().max().map_or(0, |max| *max as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::{belady_hits, lru_hits};

    #[test]
    fn a_loop_longer_than_the_capacity_defeats_lru_and_not_the_optimum() {
        let requests: Vec<u32> = (0..4).cycle().take(40).collect();
        assert_eq!(lru_hits(&requests, 3), 0);
        // Two of the three keep their places, and the third takes turns.
        assert_eq!(belady_hits(&requests, 3), 27);
    }

    #[test]
    fn what_fits_misses_once() {
        let requests: Vec<u32> = (0..4).cycle().take(40).collect();
        assert_eq!(lru_hits(&requests, 4), 36);
        assert_eq!(belady_hits(&requests, 4), 36);
    }
}
