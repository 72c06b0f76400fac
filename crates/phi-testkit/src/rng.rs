/// Reproducible numbers (SplitMix64): the same seed gives the same ones on every machine.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Rng { state: seed }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, nearly uniform.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Uniform in `[0, 1)`, in steps of 2⁻²⁴.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// Nearly normal, with mean 0 and deviation 1: the sum of twelve 16-bit uniforms, which unlike a logarithm is the
    /// same on every machine. Never beyond ±6.
    pub fn normal(&mut self) -> f32 {
        let four = |bits: u64| (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum::<u64>();
        let sum = four(self.bits()) + four(self.bits()) + four(self.bits());
        sum as f32 / 65_536.0 - 6.0
    }

    /// `n` normal numbers of deviation `scale`.
    pub fn normals(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| scale * self.normal()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        assert_eq!(Rng::new(0).bits(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn numbers_are_spread_as_they_say() {
        let mut rng = Rng::new(7);
        let x = rng.normals(20_000, 2.0);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
        assert!(mean.abs() < 0.05 && (variance - 4.0).abs() < 0.2, "mean {mean}, variance {variance}");
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.uniform()) && rng.below(3) < 3));
    }
}
