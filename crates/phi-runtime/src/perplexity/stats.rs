/// A figure and its uncertainty: one standard error.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error; 0 where there is too little to tell.
    pub error: f64,
}

impl Estimate {
    /// `e^x`, its error to first order.
    pub(super) fn exp(self) -> Estimate {
        let value = self.value.exp();
        Estimate { value, error: value * self.error }
    }

    /// `√x`, its error to first order.
    pub(super) fn sqrt(self) -> Estimate {
        let value = self.value.max(0.0).sqrt();
        Estimate { value, error: if value > 0.0 { 0.5 / value * self.error } else { 0.0 } }
    }

    /// `a − b`, where the errors of both have this covariance.
    pub(super) fn minus(self, other: Estimate, covariance: f64) -> Estimate {
        let variance = self.error * self.error + other.error * other.error - 2.0 * covariance;
        Estimate { value: self.value - other.value, error: variance.max(0.0).sqrt() }
    }
}

/// How many values, their sum, and the sum of their squares.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Moments {
    n: usize,
    sum: f64,
    sum2: f64,
}

impl Moments {
    pub(super) fn push(&mut self, x: f64) {
        self.n += 1;
        self.sum += x;
        self.sum2 += x * x;
    }

    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// Mean and its standard error.
    pub(super) fn mean(&self) -> Estimate {
        let n = self.n as f64;
        if self.n == 0 {
            return Estimate { value: 0.0, error: 0.0 };
        }
        let value = self.sum / n;
        let variance = (self.sum2 / n - value * value).max(0.0);
        Estimate { value, error: if self.n > 1 { (variance / (n - 1.0)).sqrt() } else { 0.0 } }
    }

    /// Covariance of two means, given the sum of the products of their values.
    pub(super) fn covariance(&self, other: &Moments, products: f64) -> f64 {
        let n = self.n as f64;
        if self.n < 2 { 0.0 } else { (products / n - (self.sum / n) * (other.sum / n)) / (n - 1.0) }
    }
}

impl Extend<f64> for Moments {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|x| self.push(x));
    }
}

/// Values in order of size.
#[derive(Clone, Debug)]
pub struct Distribution(Vec<f32>);

impl Distribution {
    pub(super) fn of(values: &[f32]) -> Distribution {
        let mut values = values.to_vec();
        values.sort_unstable_by(f32::total_cmp);
        Distribution(values)
    }

    /// The value below which this fraction of them lies, between two values in proportion. 0 is the least of them, 0.5 the
    /// median, 1 the greatest.
    pub fn quantile(&self, fraction: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return 0.0 };
        let at = fraction.clamp(0.0, 1.0) * last as f64;
        let (below, part) = (at.floor() as usize, at.fract());
        let [a, b] = [below, (below + 1).min(last)].map(|i| f64::from(self.0[i]));
        (1.0 - part) * a + part * b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_mean() {
        let mut moments = Moments::default();
        moments.extend([1.0, 2.0, 3.0, 6.0]);
        let Estimate { value, error } = moments.mean();
        // Variance 14/4 of the values, by their n.
        assert_eq!(value, 3.0);
        assert!((error - (3.5_f64 / 3.0).sqrt()).abs() < 1e-12, "{error}");
        let products = 1.0 + 4.0 + 9.0 + 36.0;
        assert!((moments.covariance(&moments, products) - error * error).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_one_have_no_error() {
        let mut moments = Moments::default();
        assert_eq!(moments.mean(), Estimate { value: 0.0, error: 0.0 });
        moments.push(2.0);
        assert_eq!(moments.mean(), Estimate { value: 2.0, error: 0.0 });
    }

    #[test]
    fn quantiles_are_between_values() {
        let d = Distribution::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!([0.0, 0.5, 1.0].map(|f| d.quantile(f)), [1.0, 2.5, 4.0]);
        assert!((d.quantile(0.9) - 3.7).abs() < 1e-6);
        assert_eq!(Distribution::of(&[]).quantile(0.5), 0.0);
    }
}
