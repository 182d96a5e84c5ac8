//! Student's distribution: how sure a figure is that comes of a few values.

/// From so many degrees of freedom on, Student's distribution is the normal one to a hundred-thousandth.
const MANY: f64 = 1e5;

/// The quantile `p` (over one half) of Student's distribution with `freedom` degrees of freedom, which may be infinitely
/// many, to a hundred-thousandth.
pub fn student(p: f64, freedom: f64) -> f64 {
    let freedom = freedom.min(MANY);
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
        let table = [
            (1.0, 12.7062),
            (2.0, 4.30265),
            (4.0, 2.77645),
            (9.0, 2.26216),
            (30.0, 2.04227),
            (1000.0, 1.96234),
            (1e4, 1.96020),
            (f64::INFINITY, 1.95996),
        ];
        for (freedom, expected) in table {
            let found = student(0.975, freedom);
            assert!((found - expected).abs() < 1e-4 * expected, "{freedom}: {found}, not {expected}");
        }
        // Of the halves, which Welch's formula gives: between those of 4 and 5.
        assert!((2.57058..2.77645).contains(&student(0.975, 4.5)));
    }
}
