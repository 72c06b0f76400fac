//! One token's step of a selective recurrence. Lanes are values of a channel's state.

use super::float::exp;
use super::simd::Simd;

/// Values of state come in these: whole vectors of any instruction set.
pub(crate) const STATE: usize = 16;

/// See [`Table::scan`](super::Table::scan).
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inputs, state and output of one equation")]
pub(crate) fn scan<S: Simd>(
    s: S,
    a: &[[u8; 4]],
    d: &[[u8; 4]],
    delta: &[f32],
    b_c: &[f32],
    x: &[f32],
    state: &mut [f32],
    y: &mut [f32],
) {
    let n_state = b_c.len() / 2;
    assert!(n_state.is_multiple_of(S::LANES) && b_c.len() == 2 * n_state, "whole vectors of state");
    assert!(state.len() == y.len() * n_state && a.len() == state.len(), "each channel has a state");
    assert!(d.len() == y.len() && delta.len() == y.len() && x.len() == y.len(), "each channel has its numbers");
    let (b, c) = b_c.split_at(n_state);
    for i in 0..y.len() {
        let (step, input) = (s.splat(delta[i]), s.splat(delta[i] * x[i]));
        let mut sum = s.splat(0.0);
        for j in (0..n_state).step_by(S::LANES) {
            let at = i * n_state + j;
            // SAFETY: all four have a vector's floats from there on.
            unsafe {
                let decay = exp(s, s.mul(step, s.load(a.as_ptr().add(at).cast())));
                let new = s.mul(input, s.load(b.as_ptr().add(j)));
                let new = s.fma(decay, s.load(state.as_ptr().add(at)), new);
                s.store(state.as_mut_ptr().add(at), new);
                sum = s.fma(s.load(c.as_ptr().add(j)), new, sum);
            }
        }
        y[i] = s.sum(sum) + f32::from_le_bytes(d[i]) * x[i];
    }
}
