//! Searches for the scale that fits a group of weights best, in the least squares where each weight counts as much as
//! its square (or as the caller says).

/// Groups whose largest magnitude is below this are zero.
pub(super) const EPSILON: f32 = 1e-15;

/// The nearest integer, halves to even, of a value within +-2^22. Beyond that it is some integer: the callers clamp,
/// and the reference's results depend on which.
pub(super) fn nearest(value: f32) -> i32 {
    // The sum's exponent is such that the last bit of its mantissa counts 1.
    ((value + 12_582_912.0).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Sums over a group for the best scale of given quants: of w x q, and of w q q.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    xq: f32,
    qq: f32,
}

impl Fit {
    /// Of `w x q` and `w q q` of each weight.
    pub(super) fn new(terms: impl Iterator<Item = (f32, f32)>) -> Self {
        terms.fold(Self { xq: 0.0, qq: 0.0 }, |fit, (xq, qq)| Self { xq: fit.xq + xq, qq: fit.qq + qq })
    }

    /// Of a group whose weights count as much as their squares.
    fn of(x: &[f32; 16], quants: &[i32; 16]) -> Self {
        Self::new(x.iter().zip(quants).map(|(x, &q)| (x * x * x * q as f32, x * x * q as f32 * q as f32)))
    }

    /// The scale of least error.
    pub(super) fn scale(self) -> f32 {
        if self.qq > 0.0 { self.xq / self.qq } else { 0.0 }
    }

    /// How much of the group's energy the fit explains.
    pub(super) fn gain(self) -> f32 {
        self.scale() * self.xq
    }

    /// Whether it explains more than `gain`.
    pub(super) fn beats(self, gain: f32) -> bool {
        self.qq > 0.0 && self.xq * self.xq > gain * self.qq
    }
}

/// `x ~ scale * q`, q in -n..n, stored `+n`: tries 19 scales around the one that makes the largest magnitude `-n`.
pub(super) fn symmetric(x: &[f32; 16], n: i32) -> (f32, [u8; 16]) {
    let largest = super::largest(x);
    if largest.abs() < EPSILON {
        return (0.0, [0; 16]);
    }
    let n_float = n as f32;
    let try_inverse = |inverse: f32| {
        let quants = x.map(|v| nearest(inverse * v).clamp(-n, n - 1));
        (Fit::of(x, &quants), quants)
    };
    let (mut best, mut quants) = try_inverse(-n_float / largest);
    let mut gain = best.gain();
    for step in (-9..=9).filter(|&step| step != 0) {
        let (fit, tried) = try_inverse(-(n_float + 0.1 * step as f32) / largest);
        if fit.beats(gain) {
            (best, quants, gain) = (fit, tried, fit.gain());
        }
    }
    (best.scale(), quants.map(|q| (q + n) as u8))
}

/// As [`symmetric`], but improves one quant after the other, up to five times over the group.
pub(super) fn symmetric_by_coordinates(x: &[f32; 16], n: i32) -> (f32, [u8; 16]) {
    let largest = super::largest(x);
    if largest.abs() < EPSILON {
        return (0.0, [0; 16]);
    }
    let inverse = -(n as f32) / largest;
    let mut quants = x.map(|v| nearest(inverse * v).clamp(-n, n - 1));
    let mut fit = Fit::of(x, &quants);
    for _ in 0..5 {
        let mut changed = false;
        for (&x, quant) in x.iter().zip(&mut quants) {
            let w = x * x;
            let q = *quant as f32;
            // The other fifteen alone, and the quant that suits their scale.
            let others = Fit { xq: fit.xq - w * x * q, qq: fit.qq - w * q * q };
            if others.xq <= 0.0 {
                continue;
            }
            let new = nearest(x * others.qq / others.xq).clamp(-n, n - 1);
            if new == *quant {
                continue;
            }
            let q = new as f32;
            let tried = Fit { xq: others.xq + w * x * q, qq: others.qq + w * q * q };
            if tried.qq > 0.0 && tried.xq * tried.xq * fit.qq > fit.xq * fit.xq * tried.qq {
                (*quant, fit, changed) = (new, tried, true);
            }
        }
        if !changed {
            break;
        }
    }
    (fit.scale(), quants.map(|q| (q + n) as u8))
}

/// How [`affine`] searches.
pub(super) struct Grid {
    /// The largest quant.
    pub(super) n: i32,
    /// Levels more than `n` that the first try spreads over the group's range; each further try has 0.1 more.
    pub(super) first: f32,
    /// Tries after the first.
    pub(super) steps: i32,
    /// How much an error counts.
    pub(super) error: fn(f32) -> f32,
}

/// `x ~ scale * q - offset`, q in 0..=n, offset >= 0: scale and offset of least error for each of several roundings;
/// `weights` says how much each counts. Returns scale, offset and quants.
pub(super) fn affine<const N: usize>(x: &[f32; N], weights: &[f32; N], grid: &Grid) -> (f32, f32, [u8; N]) {
    let n = grid.n as f32;
    let (mut min, mut max) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (weights[0], weights[0] * x[0]);
    for (&x, &w) in x.iter().zip(weights).skip(1) {
        min = if x < min { x } else { min };
        max = if x > max { x } else { max };
        sum_w += w;
        sum_x += w * x;
    }
    min = if min > 0.0 { 0.0 } else { min };
    if max == min {
        return (0.0, -min, [0; N]);
    }
    let round = |inverse: f32, min: f32| x.map(|v| nearest(inverse * (v - min)).clamp(0, grid.n) as u8);
    let error = |scale: f32, min: f32, quants: &[u8; N]| {
        let terms = x.iter().zip(quants).zip(weights);
        terms.fold(0.0, |sum, ((x, &q), w)| sum + w * (grid.error)(scale * f32::from(q) + min - x))
    };
    let inverse = n / (max - min);
    let mut scale = 1.0 / inverse;
    let mut quants = round(inverse, min);
    let mut least = error(scale, min, &quants);
    for step in 0..=grid.steps {
        // From the best minimum so far, not the group's.
        let tried = round((grid.first + 0.1 * step as f32 + n) / (max - min), min);
        let (mut sum_q, mut sum_qq, mut sum_xq) = (0.0f32, 0.0f32, 0.0f32);
        for ((&x, &q), &w) in x.iter().zip(&tried).zip(weights) {
            let q = f32::from(q);
            sum_q += w * q;
            sum_qq += w * q * q;
            sum_xq += w * q * x;
        }
        let determinant = sum_w * sum_qq - sum_q * sum_q;
        if determinant <= 0.0 || determinant.is_nan() {
            continue;
        }
        let mut this_scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
        let mut this_min = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
        if this_min > 0.0 {
            this_min = 0.0;
            this_scale = sum_xq / sum_qq;
        }
        let this_error = error(this_scale, this_min, &tried);
        if this_error < least {
            (least, scale, min, quants) = (this_error, this_scale, this_min, tried);
        }
    }
    (scale, -min, quants)
}
