//! What a few repetitions say: means, medians, and the interval that holds the truth 19 times of 20.
//!
//! Intervals are Student's, of the mean of repetitions that vary normally. Five repetitions are few: percentiles of a
//! bootstrap of them would be too narrow.

use babil_runtime::statistics::student;
use serde::{Deserialize, Serialize};

/// Several measurements of the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; 0 of a single one.
    pub stddev: f64,
    /// The middle one, of an even number the mean of the middle two.
    pub median: f64,
    /// Where the mean of any number of repetitions lies with a probability of 95 %; nothing of a single one.
    pub ci95: Option<[f64; 2]>,
}

impl Spread {
    /// That of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let median = median(values)?;
        let (mean, stddev) = (mean(values), stddev(values));
        let half = interval(values.len(), stddev);
        Some(Self { mean, stddev, median, ci95: half.map(|half| [mean - half, mean + half]) })
    }
}

/// The mean of `values`; 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation of what `values` are a sample of; 0 of fewer than two.
pub fn stddev(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if values.len() < 2 { 0.0 } else { (squares / (values.len() - 1) as f64).sqrt() }
}

/// The middle one of `values`, of an even number the mean of the middle two; `None` if there are none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) { (upper + sorted[sorted.len() / 2 - 1]) / 2.0 } else { upper })
}

/// Half of the 95 % interval of a mean of `count` values that deviate by `stddev`; `None` of fewer than two.
pub fn interval(count: usize, stddev: f64) -> Option<f64> {
    (count > 1).then(|| student(0.975, (count - 1) as f64) * stddev / (count as f64).sqrt())
}

/// A quotient, and the interval that holds the true one with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Of the geometric means.
    pub ratio: f64,
    /// Nothing where a side has a single repetition.
    pub ci95: Option<[f64; 2]>,
}

impl Ratio {
    /// `above / below`, both lists of positive values: Welch's interval of the difference of their logarithms.
    /// `systematic` is a relative uncertainty (half a 95 % interval) that repetitions do not show, such as a meter's
    /// gain; it is added in squares. `None` if a list is empty or has a value that is not positive.
    pub fn of(above: &[f64], below: &[f64], systematic: f64) -> Option<Self> {
        if above.is_empty() || below.is_empty() || !above.iter().chain(below).all(|value| *value > 0.0) {
            return None;
        }
        let [a, b] = [above, below].map(|values| values.iter().map(|value| value.ln()).collect::<Vec<f64>>());
        let difference = mean(&a) - mean(&b);
        let ci95 = (a.len() > 1 && b.len() > 1).then(|| {
            let [va, vb] = [&a, &b].map(|values| stddev(values).powi(2) / values.len() as f64);
            let (na, nb) = ((a.len() - 1) as f64, (b.len() - 1) as f64);
            // Without any variance the degrees of freedom do not matter.
            let freedom = if va + vb > 0.0 { (va + vb).powi(2) / (va.powi(2) / na + vb.powi(2) / nb) } else { na + nb };
            let half = (student(0.975, freedom) * (va + vb).sqrt()).hypot(systematic);
            [(difference - half).exp(), (difference + half).exp()]
        });
        Some(Self { ratio: difference.exp(), ci95 })
    }

    /// Whether the sides may be the same: the interval holds 1, or there is none.
    pub fn within_noise(&self) -> bool {
        self.ci95.is_none_or(|[low, high]| low <= 1.0 && 1.0 <= high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_do_not_depend_on_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_single_repetition_has_no_interval() {
        let spread = Spread::of(&[3.0]).unwrap();
        assert_eq!((spread.mean, spread.stddev, spread.ci95), (3.0, 0.0, None));
        assert_eq!(Spread::of(&[]), None);
        let [low, high] = Spread::of(&[1.0, 2.0, 3.0]).unwrap().ci95.unwrap();
        assert!((low - (2.0 - 4.30265 / 3.0f64.sqrt())).abs() < 1e-4 && (high + low - 4.0).abs() < 1e-9);
    }

    /// Normal values by the sum of twelve uniform ones.
    fn normal(seed: &mut u64) -> f64 {
        let mut uniform = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    #[test]
    fn intervals_hold_the_truth_nineteen_times_of_twenty() {
        let (mut seed, mut held, mut ratios) = (1, 0, 0);
        for _ in 0..2000 {
            let values: Vec<f64> = (0..5).map(|_| 10.0 + normal(&mut seed)).collect();
            let [low, high] = Spread::of(&values).unwrap().ci95.unwrap();
            held += usize::from(low <= 10.0 && 10.0 <= high);
            let side = |scale: f64, count: usize, seed: &mut u64| -> Vec<f64> {
                (0..count).map(|_| scale * (0.02 * normal(seed)).exp()).collect()
            };
            let (above, below) = (side(3.0, 5, &mut seed), side(2.0, 7, &mut seed));
            let [low, high] = Ratio::of(&above, &below, 0.0).unwrap().ci95.unwrap();
            ratios += usize::from(low <= 1.5 && 1.5 <= high);
        }
        assert!((1860..=1940).contains(&held), "{held}");
        assert!((1860..=1940).contains(&ratios), "{ratios}");
    }

    #[test]
    fn what_cannot_be_a_ratio_is_none() {
        assert_eq!(Ratio::of(&[], &[1.0], 0.0), None);
        assert_eq!(Ratio::of(&[0.0], &[1.0], 0.0), None);
        let single = Ratio::of(&[2.0], &[1.0], 0.0).unwrap();
        assert!((single.ratio - 2.0).abs() < 1e-12 && single.within_noise() && single.ci95.is_none());
        // A meter that may be wrong by a tenth can tell no difference of 5 %, however often it is asked.
        let (above, below) = ([1.05, 1.0500001], [1.0, 1.0000001]);
        assert!(!Ratio::of(&above, &below, 0.0).unwrap().within_noise());
        assert!(Ratio::of(&above, &below, 0.1).unwrap().within_noise());
    }
}
