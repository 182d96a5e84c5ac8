//! Random numbers, the same from the same seed on every platform.

/// PCG-XSH-RR 64/32 (O'Neill 2014): 64 bits of state, 32 bits out.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
    increment: u64,
}

impl Random {
    /// The sequence that begins at `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_stream(seed, 0xDA3E_39CB_94B9_5BDB >> 1)
    }

    /// As the reference implementation's `pcg32_srandom_r`.
    fn with_stream(seed: u64, stream: u64) -> Self {
        let mut random = Self { state: 0, increment: (stream << 1) | 1 };
        random.next_u32();
        random.state = random.state.wrapping_add(seed);
        random.next_u32();
        random
    }

    fn next_u32(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(self.increment);
        let shifted = (((old >> 18) ^ old) >> 27) as u32;
        shifted.rotate_right((old >> 59) as u32)
    }

    /// From 0 to below 1, in steps of 2^-53.
    pub(crate) fn unit(&mut self) -> f64 {
        let (high, low) = (u64::from(self.next_u32() >> 5), u64::from(self.next_u32() >> 6));
        ((high << 26) | low) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of the reference implementation's `pcg32-demo`.
    #[test]
    fn the_reference_numbers() {
        let mut random = Random::with_stream(42, 54);
        let found: Vec<_> = (0..6).map(|_| random.next_u32()).collect();
        assert_eq!(found, [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e]);
    }

    #[test]
    fn units_are_uniform_along_a_sequence_and_across_seeds() {
        let chi_squared = |values: &mut dyn Iterator<Item = f64>| {
            let mut counts = [0f64; 64];
            values.take(64_000).for_each(|v| counts[(v * 64.0) as usize] += 1.0);
            counts.iter().map(|n| (n - 1000.0).powi(2) / 1000.0).sum::<f64>()
        };
        let mut random = Random::new(7);
        // 63 degrees of freedom: above 120 once in a hundred thousand times.
        assert!(chi_squared(&mut std::iter::repeat_with(|| random.unit())) < 120.0);
        for draws in 1..4 {
            let nth = |seed| {
                let mut random = Random::new(seed);
                (0..draws).map(|_| random.unit()).last().unwrap_or(0.0)
            };
            let sum = chi_squared(&mut (0..).map(nth));
            assert!(sum < 120.0, "draw {draws} of consecutive seeds: {sum}");
        }
    }
}
