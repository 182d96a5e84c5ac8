//! What a few repetitions say: means, medians, and the interval that holds the truth 19 times of 20.
//!
//! Intervals are Student's, of the mean of repetitions that vary normally. Five repetitions are few: percentiles of a
//! bootstrap of them would be too narrow.

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

/// The quantile `p` (over one half) of Student's distribution with `freedom` degrees of freedom, to a millionth.
pub fn student(p: f64, freedom: f64) -> f64 {
    // P(|T| > t) = I_x(freedom / 2, 1/2) with x = freedom / (freedom + t²).
    let tail = |t: f64| incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5) / 2.0;
    let (mut low, mut high) = (0.0, 1.0);
    while tail(high) > 1.0 - p && high < 1e12 {
        high *= 2.0;
    }
    while high - low > 1e-7 * high {
        let middle = (low + high) / 2.0;
        if tail(middle) > 1.0 - p { low = middle } else { high = middle }
    }
    high
}

/// The regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // It converges quickly on one side of the mean; the other is the mirror image.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp() / a;
    // Lentz's method.
    let nonzero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..300 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / nonzero(1.0 + term * d);
            c = nonzero(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() < 1e-14 * fraction.abs() {
            break;
        }
    }
    front * fraction
}

/// The logarithm of the gamma function of `x` > 0: Stirling's series, of an argument raised until it is exact.
fn ln_gamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 15.0 {
        below += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles as statistical tables have them.
    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        let table =
            [(1.0, 12.7062), (2.0, 4.30265), (4.0, 2.77645), (9.0, 2.26216), (30.0, 2.04227), (1000.0, 1.96234)];
        for (freedom, expected) in table {
            let found = student(0.975, freedom);
            assert!((found - expected).abs() < 1e-4 * expected, "{freedom}: {found}, not {expected}");
        }
        // Of the halves, which Welch's formula gives: between those of 4 and 5.
        assert!((2.57058..2.77645).contains(&student(0.975, 4.5)));
    }

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
