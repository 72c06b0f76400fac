//! Weights that nobody trained: reproducible, nearly normal, and cheap.
//!
//! A row depends on the seed, the tensor's name and the row's number, and on nothing else: rows may be made in any order,
//! by any number of threads, and a model with fewer layers begins like the whole one. The values are BF16; being small
//! multiples of 2⁻²¹ they are exact in F16 and F32 as well, so that a model is the same whichever way its weights went.

use phi_tensor::Shape;

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 2;
/// Generators that take turns. As many as the compiler likes to keep in vectors; part of what a seed means.
const LANES: usize = 8;
/// `sum · 2⁻²¹` has deviation 0.018, close to what transformers are initialized with.
const WEIGHT_UNIT: f32 = 1.0 / (1 << 21) as f32;
/// Norms: 1, give or take 0.07.
const NORM_UNIT: f32 = 1.0 / (1 << 19) as f32;

/// What a tensor's values are spread around, and how far.
#[derive(Clone, Copy)]
struct Spread {
    center: f32,
    unit: f32,
}

/// Fills `bytes` with a tensor's BF16 values, from byte `first` of it on.
pub(crate) fn fill(seed: u64, name: &str, shape: &Shape, first: u64, bytes: &mut [u8]) {
    let is_norm = ["norm", "subln"].iter().any(|part| name.contains(part)) && name.ends_with(".weight");
    let is_norm = is_norm && shape.dims().len() == 1;
    let spread = match is_norm {
        true => Spread { center: 1.0, unit: NORM_UNIT },
        false => Spread { center: 0.0, unit: WEIGHT_UNIT },
    };
    let tensor = name.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
    let row_bytes = shape.cols() * VALUE_BYTES as u64;
    let mut scratch = Vec::new();
    let (mut at, mut rest) = (first, bytes);
    while !rest.is_empty() {
        let (row, skip) = (at / row_bytes, (at % row_bytes) as usize);
        let len = rest.len().min(row_bytes as usize - skip);
        let (part, after) = rest.split_at_mut(len);
        let key = mix(tensor ^ mix(row));
        if len as u64 == row_bytes {
            fill_row(key, spread, part);
        } else {
            scratch.resize(row_bytes as usize, 0);
            fill_row(key, spread, &mut scratch);
            part.copy_from_slice(&scratch[skip..][..len]);
        }
        at += len as u64;
        rest = after;
    }
}

/// The sum of four 16-bit numbers per value, from a generator of shifts alone (Marsaglia's xorshift): no multiplication,
/// so that several values fit one vector.
fn fill_row(key: u64, spread: Spread, bytes: &mut [u8]) {
    // Never zero, from which a xorshift would not come away.
    let mut lanes: [u64; LANES] = std::array::from_fn(|i| mix(key.wrapping_add(i as u64)) | 1);
    let (chunks, rest) = bytes.as_chunks_mut::<{ LANES * VALUE_BYTES }>();
    for chunk in chunks {
        *chunk = eight(&mut lanes, spread);
    }
    let last = eight(&mut lanes, spread);
    rest.copy_from_slice(&last[..rest.len()]);
}

#[inline(always)]
fn eight(lanes: &mut [u64; LANES], spread: Spread) -> [u8; LANES * VALUE_BYTES] {
    let mut out = [0; LANES * VALUE_BYTES];
    for (state, value) in lanes.iter_mut().zip(out.as_chunks_mut::<VALUE_BYTES>().0) {
        let mut x = *state;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        *state = x;
        let pairs = (x & 0x0000_ffff_0000_ffff) + ((x >> 16) & 0x0000_ffff_0000_ffff);
        let sum = (pairs as u32) + ((pairs >> 32) as u32);
        // Its mean is 2 · 65535.
        let number = spread.center + (sum as i32 - 131_070) as f32 * spread.unit;
        // To nearest even: half a step, less one where the bit above is 0.
        let bits = number.to_bits();
        let rounded = bits + 0x7fff + ((bits >> 16) & 1);
        *value = ((rounded >> 16) as u16).to_le_bytes();
    }
    out
}

/// A bijection that spreads every bit over all (SplitMix64's last step).
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: u64, name: &str, shape: &Shape) -> Vec<f32> {
        let mut bytes = vec![0; shape.len() as usize * VALUE_BYTES];
        fill(seed, name, shape, 0, &mut bytes);
        let bits = |b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
        bytes.as_chunks().0.iter().map(bits).collect()
    }

    fn moments(x: &[f32]) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        (mean, (x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn values_are_spread_as_they_say() {
        let x = values(1, "w.weight", &Shape::matrix(300, 333));
        let (mean, deviation) = moments(&x);
        assert!(mean.abs() < 3e-4 && (deviation - 0.018).abs() < 3e-4, "{mean} {deviation}");
        let beyond = x.iter().filter(|x| x.abs() > 2.0 * 0.018).count() as f64 / x.len() as f64;
        assert!((0.03..0.06).contains(&beyond), "{beyond}");
        let (mean, deviation) = moments(&values(1, "a.norm.weight", &Shape::vector(4096)));
        assert!((mean - 1.0).abs() < 0.01 && (0.06..0.08).contains(&deviation), "{mean} {deviation}");
        // Neighbours in a row, in a column, and in another tensor have nothing to do with each other.
        let y = values(1, "v.weight", &Shape::matrix(300, 333));
        let product = |other: &[f32]| {
            let sum: f64 = x.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum();
            sum / x.len() as f64 / 0.018_f64.powi(2)
        };
        for other in [&x[1..], &x[8..], &x[333..], &y[..]] {
            assert!(product(other).abs() < 0.02, "{}", product(other));
        }
    }

    #[test]
    fn half_precision_is_exact() {
        for x in values(3, "w.weight", &Shape::matrix(64, 100)) {
            let steps = x * 2_f32.powi(24);
            assert!(steps == steps.round() && x.abs() < 1.0, "{x}");
        }
    }

    #[test]
    fn any_part_is_a_part_of_the_whole() {
        let shape = Shape::matrix(5, 37);
        let mut whole = vec![0; 5 * 74];
        fill(9, "w", &shape, 0, &mut whole);
        for (first, len) in [(0, 1), (73, 2), (74, 74), (10, 300), (369, 1)] {
            let mut part = vec![0; len];
            fill(9, "w", &shape, first as u64, &mut part);
            assert_eq!(part, whole[first..][..len]);
        }
        let mut other = whole.clone();
        fill(10, "w", &shape, 0, &mut other);
        assert_ne!(whole, other);
    }
}
