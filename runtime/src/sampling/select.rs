//! The largest of many values, without sorting them all.

use crate::Token;

/// The `count` largest values of `row` that are above `bar` and their indices, largest first (equal ones by index), into
/// `best`. Made for counts up to a few hundred.
pub(crate) fn largest(row: &[f32], count: usize, bar: f32, best: &mut Vec<(f32, Token)>) {
    /// Values looked at together: most groups hold nothing of interest once `best` has filled.
    const GROUP: usize = 64;
    best.clear();
    let mut threshold = bar;
    for (group, values) in row.chunks(GROUP).enumerate() {
        // Lane by lane, so that it vectorises everywhere.
        let mut lanes = [f32::NEG_INFINITY; 8];
        let (eights, rest) = values.as_chunks::<8>();
        for eight in eights {
            for (lane, &value) in lanes.iter_mut().zip(eight) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        for (lane, &value) in lanes.iter_mut().zip(rest) {
            *lane = if value > *lane { value } else { *lane };
        }
        if lanes.iter().all(|&max| max <= threshold) {
            continue;
        }
        for (i, &value) in values.iter().enumerate() {
            if value > threshold {
                let at = best.partition_point(|&(other, _)| other >= value);
                best.insert(at, (value, (group * GROUP + i) as Token));
                best.truncate(count);
                if best.len() == count {
                    threshold = best[count - 1].0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn largest_equals_sorting(row in prop::collection::vec(-9i8..9, 1..300), count in 1usize..9) {
            let row: Vec<f32> = row.into_iter().map(f32::from).collect();
            let mut best = Vec::new();
            largest(&row, count, f32::NEG_INFINITY, &mut best);
            let mut expected: Vec<_> = row.iter().copied().zip(0..).collect();
            expected.sort_by(|a: &(f32, Token), b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            expected.truncate(count);
            prop_assert_eq!(best, expected);
        }
    }
}
