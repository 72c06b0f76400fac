//! The codebooks of IQ1, IQ2 and IQ3: points that a block names by number, four or eight values at a time.
//!
//! A point is kept as its digits, 9 KB in all; the tables the decoders read are expanded by the compiler. The numbers
//! are the format: they come from ggml (MIT, © the ggml authors, `LICENSE` beside this file).

mod iq1;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;

pub(crate) static IQ1: [[i8; 8]; 2048] = points(&iq1::POINTS, &[-1, 0, 1]);
pub(crate) static IQ2_XXS: [[i8; 8]; 256] = points(&iq2_xxs::POINTS, &IQ2_VALUES);
pub(crate) static IQ2_XS: [[i8; 8]; 512] = points(&iq2_xs::POINTS, &IQ2_VALUES);
pub(crate) static IQ2_S: [[i8; 8]; 1024] = points(&iq2_s::POINTS, &IQ2_VALUES);
pub(crate) static IQ3_XXS: [[i8; 4]; 256] = points(&iq3_xxs::POINTS, &[4, 12, 20, 28, 36, 44, 52, 62]);
pub(crate) static IQ3_S: [[i8; 4]; 512] = points(&iq3_s::POINTS, &[1, 3, 5, 7, 9, 11, 13, 15]);

/// `x[j] = scale · point[j]`, negated where bit `j` of `signs` is set.
pub(crate) fn write(scale: f32, point: &[i8], signs: u8, x: &mut [f32]) {
    for (j, (x, &p)) in x.iter_mut().zip(point).enumerate() {
        let value = scale * f32::from(p);
        *x = if signs >> j & 1 == 1 { -value } else { value };
    }
}

/// Eight signs from seven: the last makes the number of negatives even.
pub(crate) fn even_signs(seven: u32) -> u8 {
    let seven = seven as u8 & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

const IQ2_VALUES: [i8; 3] = [8, 25, 43];

/// Each digit of each point replaced by its value. A digit has as many bits as 16 allow: two of eight, three of four.
const fn points<const D: usize, const N: usize>(codes: &[u16; N], values: &[i8]) -> [[i8; D]; N] {
    let bits = if D == 8 { 2 } else { 3 };
    let mut points = [[0; D]; N];
    // A `const fn` has no iterators.
    let mut i = 0;
    while i < N {
        let mut j = 0;
        while j < D {
            points[i][j] = values[(codes[i] >> (bits * j)) as usize % (1 << bits)];
            j += 1;
        }
        i += 1;
    }
    points
}
