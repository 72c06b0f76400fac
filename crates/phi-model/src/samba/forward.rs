use phi_kernels::{Kernels, Scan};
use phi_memory::Live;
use phi_tensor::{Matrix, Tensor};

use super::{AttentionWeights, MixerWeights, Recurrence, SambaScratch, SambaY, lambda_init};
use crate::{Model, Pass, Scratch, State};

/// `eps` of the norm of differences, whatever that of the other norms is.
const SUB_NORM_EPS: f32 = 1e-5;

/// All layers: `x` is then right in the rows of tokens with logits.
///
/// ```text
/// x = E[tokens]
/// for each layer:
///     x += mixer(norm(x))
///     x += Wdown · (silu(Wgate · norm(x)) ⊙ Wup · norm(x))
/// ```
///
/// The recurrence, with `[u; z] = Win · h`, `v = silu(convolution(u))`, `[r; B; C] = Wx · v` and
/// `Δ = softplus(Wdt · r + b)`:
///
/// ```text
/// s ← e^(Δ · A) · s + (Δ ⊙ v) · B,   y = C · s + D ⊙ v,   mixer = Wout · (y ⊙ silu(z)),   M = y
/// ```
///
/// Differential attention, of a pair of heads and the values of both:
///
/// ```text
/// a = softmax(q1 · k1 / √d) · v − λ · softmax(q2 · k2 / √d) · v,   mixer = Wo · ((1 − λ_init) · rms_norm(a)) + b
/// ```
pub(crate) fn layers(model: &Model, samba: &SambaY, s: &mut State<Live>, k: &Kernels, pass: Pass<'_>) {
    let (d, w, sizes) = (&model.decoder, &model.weights, s.sizes);
    let Pass { tokens, first, n_logits, .. } = pass;
    let &SambaY { n_inner, n_state, n_dt, .. } = samba;
    let (n, n_embd) = (tokens.len(), d.n_embd);

    let Scratch { x, xb, q, key, value, parts, att, gate, codes, sides, .. } = &mut s.scratch;
    let own = s.samba.as_mut().expect("the state was planned for this decoder");
    let SambaScratch { inner, conv, dt, b_c, delta, memory } = own;
    let x = &mut x[..n * n_embd]; //                 [t, e]
    let key = &mut key[..n * d.kv_width()]; //       [t, h_kv·d]
    let value = &mut value[..n * d.kv_width()]; //   [t, h_kv·d]
    let inner = &mut inner[..n * n_inner]; //        [t, c]
    let conv = &mut conv[..n * n_inner]; //          [t, c]
    let dt = &mut dt[..n * n_dt]; //                 [t, r]
    let b_c = &mut b_c[..n * 2 * n_state]; //        [t, 2, s]
    let delta = &mut delta[..n * n_inner]; //        [t, c]
    let memory = &mut memory[..n_logits * n_inner]; // [n_logits, c]

    k.embed(w.token_embd.matrix(), tokens, x);
    k.scale(d.scales.embedding, x);
    if first == 0 {
        s.recurrences.iter_mut().for_each(Recurrence::reset);
    }
    let (mut n_caches, mut n_recurrences) = (0, 0);
    // The first of the tokens that go on.
    let mut from = 0;
    for (i, layer) in w.samba.iter().enumerate() {
        let rest = &mut x[from * n_embd..];
        let xb = &mut xb[..rest.len()];
        layer.attn_norm.apply(k, d, rest, xb);
        match &layer.mixer {
            MixerWeights::Recurrence(r) => {
                let kept = &mut s.recurrences[n_recurrences];
                n_recurrences += 1;
                let z = &mut gate[..n * n_inner]; // [t, c]
                let (wu, wz) = halves(r.input.matrix());
                k.matmul_each([(wu, &mut *inner), (wz, &mut *z)], k.quantize(xb, n_embd, codes, sides));
                k.convolve(r.conv.matrix(), r.conv_bias.matrix(), inner, &mut kept.conv, conv);
                let wx = r.x.matrix();
                let (wr, wbc) = (wx.slice_rows(0, n_dt), wx.slice_rows(n_dt, 2 * n_state));
                k.matmul_each([(wr, &mut *dt), (wbc, &mut *b_c)], k.quantize(conv, n_inner, codes, sides));
                r.dt.rows().set(k, k.quantize(dt, n_dt, codes, sides), delta);
                k.softplus(delta);
                let scan = Scan { a: r.a.matrix(), d: r.d.matrix(), delta, b_c, x: conv };
                k.scan(scan, &mut kept.state, inner);
                // The last recurrence is the one that publishes.
                memory.copy_from_slice(&inner[(n - n_logits) * n_inner..]);
                k.silu_mul(inner, z);
                k.matmul_add(r.output.matrix(), k.quantize(z, n_inner, codes, sides), rest);
            }
            MixerWeights::Attention(a) => {
                let attention = d.attention(i);
                let mut normed = k.quantize(xb, n_embd, codes, sides);
                if d.has_cache(i) {
                    let (wk, wv) = (
                        a.rows.slice_rows(d.q_width(), d.kv_width()),
                        a.rows.slice_rows(d.q_width() + d.kv_width(), d.kv_width()),
                    );
                    k.matmul_each([(wk.weight, &mut *key), (wv.weight, &mut *value)], normed);
                    wk.add_bias(k, key);
                    wv.add_bias(k, value);
                    let kv = &mut s.kv[n_caches];
                    n_caches += 1;
                    k.append(attention, sizes.k_type, first, key, &mut kv.k);
                    k.append_values(attention, sizes.v_type, first, value, &mut kv.v);
                }
                if i == SambaY::shared(d.n_layer) && n_logits < n {
                    // All that later tokens will need of the others is there.
                    if n_logits == 0 {
                        return;
                    }
                    from = n - n_logits;
                    normed = k.quantize(&xb[from * n_embd..], n_embd, codes, sides);
                }
                let m = n - from;
                let q = &mut q[..m * d.q_width()]; //       [t, h, d]
                let att = &mut att[..m * d.att_width()]; // [t, h, 2·d]
                a.rows.slice_rows(0, d.q_width()).set(k, normed, q);
                let (keys, values) = s.kv[n_caches - 1].matrices(attention, sizes);
                k.attention(attention, first + from, q, keys, values, parts, att);
                k.differ(a.lambda(i), 2 * d.head_dim, att, q);
                let att = &mut att[..q.len()]; //           [t, h/2, 2·d]
                k.rms_norm(q, a.sub_norm.matrix(), SUB_NORM_EPS, att);
                k.scale(1.0 - lambda_init(i), att);
                let rest = &mut x[from * n_embd..];
                a.output.rows().add(k, k.quantize(att, d.q_width(), codes, sides), rest);
            }
            MixerWeights::Gate(g) => {
                let z = &mut gate[..(n - from) * n_inner]; // [t, c]
                k.matmul(g.input.matrix(), k.quantize(xb, n_embd, codes, sides), z);
                k.silu_mul(memory, z);
                k.matmul_add(g.output.matrix(), k.quantize(z, n_inner, codes, sides), rest);
            }
        }
        let rest = &mut x[from * n_embd..];
        let xb = &mut xb[..rest.len()];
        let gate = &mut gate[..(n - from) * d.n_ff]; // [t, f]
        layer.ffn_norm.apply(k, d, rest, xb);
        let (wgate, wup) = layer.ffn_up.matrices(d.n_ff);
        k.matmul_silu(wgate, wup, k.quantize(xb, n_embd, codes, sides), gate);
        k.matmul_add(layer.ffn_down.matrix(), k.quantize(gate, d.n_ff, codes, sides), rest);
    }
}

/// The first half of the rows, and the second.
fn halves(all: Matrix<'_>) -> (Matrix<'_>, Matrix<'_>) {
    let half = all.rows() / 2;
    (all.slice_rows(0, half), all.slice_rows(half, half))
}

impl AttentionWeights<Tensor> {
    /// `λ = e^(q1 · k1) − e^(q2 · k2) + λ_init`
    fn lambda(&self, layer: usize) -> f32 {
        let floats = |i: usize| self.lambda[i].bytes().as_chunks().0.iter().map(|x| f64::from(f32::from_le_bytes(*x)));
        let dot = |a: usize, b: usize| floats(a).zip(floats(b)).map(|(a, b)| a * b).sum::<f64>();
        (dot(0, 1).exp() - dot(2, 3).exp()) as f32 + lambda_init(layer)
    }
}
