//! Keys asked for by Zipf's law: the key of rank r with a probability proportional to 1 / r^exponent.

/// A source of numbers that look random and are the same in every run (Steele et al., "SplitMix", 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to and without 1.
    fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Draws `count` keys below `n`: exact, by inversion of the summed probabilities.
///
/// Which key has which rank is shuffled, so that neighbours in rank are not neighbours in memory.
#[must_use]
pub fn keys(n: usize, exponent: f64, count: usize) -> Vec<u64> {
    let mut random = Random::seeded(n as u64);
    let mut key_of_rank: Vec<u64> = (0..n as u64).collect();
    for last in (1..n).rev() {
        key_of_rank.swap(last, (random.number() % (last as u64 + 1)) as usize);
    }
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=n)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut draw = || {
        let drawn = random.fraction() * sum;
        // Rounding could lead past the last rank.
        sums.partition_point(|upto| *upto <= drawn).min(n - 1)
    };
    (0..count).map(|_| key_of_rank[draw()]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    #[test]
    fn the_first_rank_is_drawn_twice_as_often_as_the_second_when_the_exponent_is_one() {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for key in super::keys(100, 1.0, 100_000) {
            *counts.entry(key).or_default() += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        let ratio = counts[99] as f64 / counts[98] as f64;
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
    }
}
