//! Experts: which of them a token uses, and what they make of it.

use phi_kernels::Kernels;
use phi_memory::Live;
use phi_tensor::{Matrix, Tensor};

use crate::{Decoder, ExpertWeights, Experts, Routing};

/// What [`ExpertWeights::add`] works in.
pub(crate) struct Room<'a> {
    pub(crate) routing: &'a mut Routing<Live>,
    /// `[t, f]`
    pub(crate) gate: &'a mut [f32],
    pub(crate) codes: &'a mut [i8],
    pub(crate) sides: &'a mut [f32],
}

impl ExpertWeights<Tensor> {
    /// What the experts of each token make of it, added to the residual.
    ///
    /// ```text
    /// s[t, e] = Wrouter[e] · normed[t]
    /// (e₁, share₁), (e₂, share₂) = sparsemixer(s[t])
    /// x[t] += Σ_i share_i · F(e_i, normed[t]),   F(e, h) = Wdown[e] · (silu(Wgate[e] · h) ⊙ Wup[e] · h)
    /// ```
    ///
    /// One expert after the other, each with all of its tokens at once: a batch reads an expert's weights once, and
    /// nothing of an expert that no token uses. A token's experts are added in the order of their numbers, so that
    /// neither threads nor the other tokens of a batch change a sum.
    ///
    /// * `normed`, `x`: `[tokens, n_embd]`
    pub(crate) fn add(&self, k: &Kernels, d: &Decoder, normed: &[f32], room: Room<'_>, x: &mut [f32]) {
        let Room { routing, gate, codes, sides } = room;
        let Some(experts) = d.experts() else { return };
        let (n_expert, n) = (experts.n_expert, normed.len() / d.n_embd);
        let Routing { scores, picks, shares, members, member_shares, rows } = routing;
        let scores = &mut scores[..n * n_expert]; //       [t, expert]
        let picks = &mut picks[..n * Experts::USED]; //    [t, 2]
        let shares = &mut shares[..n * Experts::USED]; //  [t, 2]

        k.matmul(self.router.matrix(), k.quantize(normed, d.n_embd, codes, sides), scores);
        let (picks, _) = picks.as_chunks_mut::<{ Experts::USED }>();
        let (shares, _) = shares.as_chunks_mut::<{ Experts::USED }>();
        for ((scores, picks), shares) in scores.chunks_exact(n_expert).zip(&mut *picks).zip(&mut *shares) {
            (*picks, *shares) = sparsemixer(scores, experts.jitter);
        }
        for expert in 0..n_expert {
            let mut m = 0;
            for (t, (picks, shares)) in (0..).zip(picks.iter().zip(&*shares)) {
                if let Some(i) = picks.iter().position(|&pick| pick as usize == expert) {
                    (members[m], member_shares[m]) = (t, shares[i]);
                    m += 1;
                }
            }
            if m == 0 {
                continue;
            }
            let (members, member_shares) = (&members[..m], &member_shares[..m]);
            let (rows, gate) = (&mut rows[..m * d.n_embd], &mut gate[..m * d.n_ff]); // [m, e], [m, f]
            let of = |stack| matrix(stack, expert, n_expert);
            k.gather(normed, d.n_embd, members, rows);
            k.matmul_silu(of(&self.gate), of(&self.up), k.quantize(rows, d.n_embd, codes, sides), gate);
            k.matmul(of(&self.down), k.quantize(gate, d.n_ff, codes, sides), rows);
            k.scatter_add(rows, d.n_embd, members, member_shares, x);
        }
    }
}

/// Matrix `i` of a stack of `n`.
fn matrix(stack: &Tensor, i: usize, n: usize) -> Matrix<'_> {
    let all = stack.matrix();
    let rows = all.rows() / n;
    all.slice_rows(i * rows, rows)
}

/// The two experts of a token, and how much each counts.
///
/// ```text
/// e₁ = argmax s         share₁ = 1 / Σ_j e^(s[j] − s[e₁]),  over those j that are near to s[e₁]
/// e₂ = argmax s, j ≠ e₁  share₂ = 1 / Σ_j e^(s[j] − s[e₂]),  over those j ≠ e₁ that are near to s[e₂]
/// near: (s[e] − s[j]) / max(|s[j]|, s[e]) ≤ 2 · jitter
/// ```
///
/// Each share is a softmax of its own and they are not made to sum to 1: where no score is near to another, both are 1.
fn sparsemixer(scores: &[f32], jitter: f32) -> ([u32; 2], [f32; 2]) {
    let first = best(scores, None);
    let second = best(scores, Some(first));
    let shares = [share(scores, first, None, jitter), share(scores, second, Some(first), jitter)];
    ([first as u32, second as u32], shares)
}

/// The first of the largest scores, of others than `without`. There are two scores at least.
fn best(scores: &[f32], without: Option<usize>) -> usize {
    let mut best = usize::from(without == Some(0));
    for (i, &score) in scores.iter().enumerate() {
        if without != Some(i) && score > scores[best] {
            best = i;
        }
    }
    best
}

fn share(scores: &[f32], expert: usize, without: Option<usize>, jitter: f32) -> f32 {
    let top = scores[expert];
    // What is no number is not far, and then the share is none either: the fault shows.
    let far = |score: f32| (top - score) / score.abs().max(top) > 2.0 * jitter;
    let others = scores.iter().enumerate().filter(|&(i, &score)| without != Some(i) && !far(score));
    1.0 / others.map(|(_, score)| (score - top).exp()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(scores: &[f32]) -> ([u32; 2], [f32; 2]) {
        sparsemixer(scores, 0.01)
    }

    #[test]
    fn scores_far_apart_count_in_full() {
        assert_eq!(mixed(&[1.0, 4.0, 3.0, 2.0]), ([1, 2], [1.0, 1.0]));
        assert_eq!(mixed(&[-1.0, -4.0, -3.0, -2.0]), ([0, 3], [1.0, 1.0]));
    }

    #[test]
    fn scores_within_two_percent_share() {
        // 100, 99, 98.5: all are near to the first, and the last two to each other.
        let ([first, second], [a, b]) = mixed(&[98.5, 100.0, 50.0, 99.0]);
        assert_eq!((first, second), (1, 3));
        let softmax = |others: &[f64]| (1.0 / (1.0 + others.iter().map(|x| x.exp()).sum::<f64>())) as f32;
        assert!((a - softmax(&[-1.0, -1.5])).abs() < 1e-6 && (b - softmax(&[-0.5])).abs() < 1e-6, "{a} {b}");
        // 98 is two percent behind, a little less is too far; the second is not counted with the first.
        assert_eq!(mixed(&[100.0, 97.9, 10.0]).1, [1.0, 1.0]);
        let (_, [a, b]) = mixed(&[100.0, 98.0, 10.0]);
        assert!((a - softmax(&[-2.0])).abs() < 1e-6 && b == 1.0, "{a} {b}");
        // Below zero, the distance is in parts of the lower score.
        let (_, [a, b]) = mixed(&[-100.0, -101.0, -103.0]);
        assert!((a - softmax(&[-1.0])).abs() < 1e-6 && (b - softmax(&[-2.0])).abs() < 1e-6, "{a} {b}");
    }

    #[test]
    fn equal_scores_share_evenly_and_are_taken_in_order() {
        assert_eq!(mixed(&[2.0, 2.0]), ([0, 1], [0.5, 1.0]));
        assert_eq!(mixed(&[0.0, 0.0, 0.0, 0.0]), ([0, 1], [0.25, 1.0 / 3.0]));
    }

    #[test]
    fn what_is_no_number_is_not_hidden() {
        for scores in [[f32::NAN; 3], [1.0, f32::NAN, 0.5], [f32::NAN, 1.0, 0.5], [f32::INFINITY, 1.0, 0.5]] {
            let ([first, second], shares) = mixed(&scores);
            assert!(first != second && shares.iter().any(|share| !share.is_finite()), "{scores:?} {shares:?}");
        }
    }
}
