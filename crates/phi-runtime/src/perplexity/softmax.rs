use phi_tensor::TokenId;

/// A base keeps probabilities down to `e^−16` of the most likely token's; what is less likely counts as that.
const RANGE: f32 = 16.0;

/// The largest code of a base's log-probability.
const TOP: f32 = 65535.0;

/// Where the codes of a record begin, behind scale and floor.
const CODES: usize = 8;

/// A row of logits as log-probabilities: `log p[i] = logits[i] − max − log_sum`, with `log_sum = log Σ e^(logits[i] − max)`.
pub(super) struct LogSoftmax<'a> {
    logits: &'a [f32],
    max: f32,
    /// Index of the first of the largest.
    top: usize,
    log_sum: f64,
}

impl<'a> LogSoftmax<'a> {
    pub(super) fn of(logits: &'a [f32]) -> Self {
        let (mut max, mut top) = (f32::NEG_INFINITY, 0);
        for (i, &x) in logits.iter().enumerate() {
            if x > max {
                (max, top) = (x, i);
            }
        }
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - f64::from(max)).exp()).sum();
        LogSoftmax { logits, max, top, log_sum: sum.ln() }
    }

    /// `−log p[target]`
    pub(super) fn nll(&self, target: TokenId) -> f64 {
        -self.log_p(self.logits[target.index()])
    }

    fn log_p(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.log_sum
    }

    /// The row as a record of a base: `log p[i] ≈ scale · code[i] + floor`, in 16 bits each. All in f32, as others compute it.
    ///
    /// ```text
    /// f32 scale, f32 floor, u16 code[n_vocab], and one u16 of padding where n_vocab is odd
    /// ```
    pub(super) fn pack(&self, record: &mut [u8]) {
        let min = self.logits.iter().copied().fold(self.max, f32::min).max(self.max - RANGE);
        let scale = (self.max - min) / TOP;
        let floor = min - self.max - self.log_sum as f32;
        let (head, codes) = record.split_at_mut(CODES);
        head[..4].copy_from_slice(&scale.to_le_bytes());
        head[4..].copy_from_slice(&floor.to_le_bytes());
        codes.fill(0);
        if scale == 0.0 {
            return;
        }
        let per_step = 1.0 / scale;
        for (code, &x) in codes.as_chunks_mut::<2>().0.iter_mut().zip(self.logits) {
            if x > min {
                *code = ((per_step * (x - min)).round_ties_even() as u16).to_le_bytes();
            }
        }
    }

    /// Compares the row, `q`, with a record of a base, `p`.
    pub(super) fn compare(&self, base: &Record<'_>, target: TokenId) -> Comparison {
        let mut kld = 0.0;
        let (mut top_code, mut top) = (0, 0);
        for (i, (code, &logit)) in base.codes().zip(self.logits).enumerate() {
            if code > top_code {
                (top_code, top) = (code, i);
            }
            let log_p = base.log_p(code);
            if log_p > -f64::from(RANGE) {
                kld += log_p.exp() * (log_p - self.log_p(logit));
            }
        }
        Comparison {
            nll: self.nll(target),
            nll_base: -base.log_p(u16::from_le_bytes(base.codes[target.index()])),
            kld,
            same_top: top == self.top,
        }
    }
}

/// What one token says about two models.
pub(super) struct Comparison {
    /// `−log q[target]`
    pub(super) nll: f64,
    /// `−log p[target]`
    pub(super) nll_base: f64,
    /// `Σ_i p[i] · (log p[i] − log q[i])`
    pub(super) kld: f64,
    /// Whether both have the same most likely token.
    pub(super) same_top: bool,
}

/// A record of a base.
pub(super) struct Record<'a> {
    scale: f32,
    floor: f32,
    codes: &'a [[u8; 2]],
}

impl<'a> Record<'a> {
    /// From its bytes.
    ///
    /// # Panics
    /// When there are fewer than the eight of scale and floor.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let (words, _) = bytes[..CODES].as_chunks::<4>();
        let [scale, floor] = [words[0], words[1]].map(f32::from_le_bytes);
        Record { scale, floor, codes: bytes[CODES..].as_chunks().0 }
    }

    /// The first field that no distribution can have, with its value: log-probabilities do not exceed zero.
    pub(super) fn fault(&self) -> Option<(&'static str, f32)> {
        if !(0.0..=1.0).contains(&self.scale) {
            return Some(("scale", self.scale));
        }
        // A little above zero is the rounding of whoever wrote it.
        let sound = self.floor.is_finite() && self.floor + self.scale * TOP < 1e-2;
        (!sound).then_some(("floor", self.floor))
    }

    fn codes(&self) -> impl Iterator<Item = u16> {
        self.codes.iter().map(|code| u16::from_le_bytes(*code))
    }

    fn log_p(&self, code: u16) -> f64 {
        f64::from(self.scale) * f64::from(code) + f64::from(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.5, 3.0, -40.0, 3.0, 1.25];

    fn record(logits: &[f32]) -> Vec<u8> {
        let mut record = vec![0xff; 8 + 2 * logits.len().next_multiple_of(2)];
        LogSoftmax::of(logits).pack(&mut record);
        record
    }

    #[test]
    fn probabilities_sum_to_one() {
        let row = LogSoftmax::of(&LOGITS);
        let sum: f64 = (0..5).map(|i| (-row.nll(TokenId(i))).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert_eq!(row.top, 1, "the first of two equals");
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let row = LogSoftmax::of(&[3e38, -3e38]);
        assert_eq!((row.nll(TokenId(0)), row.nll(TokenId(1)) > 5e38), (0.0, true));
    }

    #[test]
    fn a_record_is_what_it_was_made_of() {
        let bytes = record(&LOGITS);
        let (row, record) = (LogSoftmax::of(&LOGITS), Record::of(&bytes));
        assert_eq!(record.fault(), None);
        let codes: Vec<_> = record.codes().collect();
        assert_eq!((codes[1], codes[2], codes[3], codes[5]), (65535, 0, 65535, 0), "{codes:?}");
        for i in [0, 1, 3, 4] {
            let error = record.log_p(codes[i as usize]) + row.nll(TokenId(i));
            assert!(error.abs() < 1.5e-4, "{i}: {error}");
        }
        let same = row.compare(&record, TokenId(4));
        assert!(same.kld.abs() < 1e-4 && same.same_top && (same.nll - same.nll_base).abs() < 1.5e-4);
    }

    #[test]
    fn equal_logits_are_a_record_of_zeros() {
        let bytes = record(&[2.0; 4]);
        let record = Record::of(&bytes);
        assert!(record.codes().all(|code| code == 0));
        assert!((record.log_p(0) + 4_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_divergence_is_its_sum() {
        // p = (3/4, 1/4) exactly, up to the steps of the codes; q = (1/2, 1/2).
        let bytes = record(&[3_f32.ln(), 0.0]);
        let kld = LogSoftmax::of(&[1.0, 1.0]).compare(&Record::of(&bytes), TokenId(0)).kld;
        let expected = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
        assert!((kld - expected).abs() < 1e-5, "{kld}, expected {expected}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        let with = |scale: f32, floor: f32| {
            let bytes = [scale.to_le_bytes(), floor.to_le_bytes()].concat();
            Record::of(&bytes).fault().map(|(field, _)| field)
        };
        assert_eq!(with(0.0002, -20.0), None);
        for scale in [-0.1, f32::NAN, f32::INFINITY, 2.0] {
            assert_eq!(with(scale, -20.0), Some("scale"), "{scale}");
        }
        for floor in [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 0.1] {
            assert_eq!(with(0.0002, floor), Some("floor"), "{floor}");
        }
        assert_eq!(with(0.0002, -1.0), Some("floor"), "probabilities above one");
    }
}
