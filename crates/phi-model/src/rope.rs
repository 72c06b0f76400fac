//! Rotary positions: which angles, and with longrope, which of two sets.

/// The rotation of queries and keys.
#[derive(Clone, PartialEq, Debug)]
pub struct Rope {
    /// Values of a head that are rotated.
    pub n_rot: usize,
    /// Which of them form pairs.
    pub pairs: Pairs,
    /// θ: pair `i` turns by `θ^(−2i / n_rot)` per position.
    pub freq_base: f32,
    /// Positions count as so many times fewer.
    pub stretch: f32,
    /// Whether the file has one list of factors, for contexts of any length.
    pub factors: bool,
    /// Longrope, when the file has its factors.
    pub long: Option<LongRope>,
}

/// Which values of a head form pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pairs {
    /// `i` and `i + n_rot / 2`.
    Halves,
    /// `2i` and `2i + 1`.
    Neighbours,
}

/// Longrope: every frequency is divided by a factor, from one list within the original context and from another beyond.
#[derive(Clone, PartialEq, Debug)]
pub struct LongRope {
    /// Positions the model was first trained on; the long factors begin beyond.
    pub original_ctx: usize,
    /// Cosines and sines are multiplied by this, with either list.
    pub attn_factor: f32,
}

impl LongRope {
    /// The factor that follows from how far the context was stretched: `√(1 + ln(max / original) / ln original)`.
    pub fn attn_factor(original_ctx: usize, max_ctx: usize) -> f32 {
        let scale = max_ctx as f64 / original_ctx as f64;
        if scale <= 1.0 { 1.0 } else { (1.0 + scale.ln() / (original_ctx as f64).ln()).sqrt() as f32 }
    }
}

/// Which longrope factors a pass uses. One choice holds for all positions of a sequence, cached ones included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Factors {
    /// Those for sequences within the original context.
    Short,
    /// Those for longer sequences.
    Long,
}

impl Rope {
    /// The model's contract: long as soon as the sequence, with everything known to come, is longer than the original
    /// context.
    pub fn factors_for(&self, sequence_len: usize) -> Factors {
        match &self.long {
            Some(long) if sequence_len > long.original_ctx => Factors::Long,
            _ => Factors::Short,
        }
    }

    /// A rotation of halves without factors of any kind.
    pub fn plain(n_rot: usize, freq_base: f32) -> Rope {
        Rope { n_rot, pairs: Pairs::Halves, freq_base, stretch: 1.0, factors: false, long: None }
    }

    /// Nothing turns.
    pub fn none() -> Rope {
        Rope::plain(0, 1.0)
    }

    /// Radians per position of each pair: `1 / (factor[i] · stretch · θ^(2i / n_rot))`.
    pub fn frequencies(&self, factors: Option<&[f32]>) -> Vec<f64> {
        let (base, n_rot, stretch) = (f64::from(self.freq_base), self.n_rot as f64, f64::from(self.stretch));
        (0..self.n_rot / 2)
            .map(|i| factors.map_or(1.0, |f| f64::from(f[i])) * stretch * base.powf(2.0 * i as f64 / n_rot))
            .map(f64::recip)
            .collect()
    }

    /// Fills `cos` and `sin`, `[tokens, n_rot / 2]`, for positions from `first` on, scaled by the attention factor.
    ///
    /// Angles are computed in f64: at position 131 071 their product in f32 would be off by up to 0.008 rad.
    pub fn angles(&self, frequencies: &[f64], first: usize, cos: &mut [f32], sin: &mut [f32]) {
        let m = self.long.as_ref().map_or(1.0, |long| f64::from(long.attn_factor));
        let pairs = frequencies.len();
        for (t, (cos, sin)) in cos.chunks_exact_mut(pairs).zip(sin.chunks_exact_mut(pairs)).enumerate() {
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
                let (s, c) = ((first + t) as f64 * frequency).sin_cos();
                (*cos, *sin) = ((c * m) as f32, (s * m) as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attn_factor_of_the_published_models() {
        assert_eq!(LongRope::attn_factor(4096, 131_072), 1.190_238_1);
        assert_eq!(LongRope::attn_factor(8192, 131_072), 1.143_543_7);
        assert_eq!(LongRope::attn_factor(4096, 4096), 1.0);
    }

    #[test]
    fn the_choice_follows_the_length_of_the_sequence() {
        let long = LongRope { original_ctx: 4096, attn_factor: 1.0 };
        let rope = Rope { long: Some(long), ..Rope::plain(96, 10_000.0) };
        assert_eq!(rope.factors_for(4096), Factors::Short);
        assert_eq!(rope.factors_for(4097), Factors::Long);
    }
}
