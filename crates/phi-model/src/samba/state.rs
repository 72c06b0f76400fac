use phi_memory::{Live, Planned, Spec, slots};

use super::SambaY;
use crate::Sizes;

slots! {
    /// What one batch writes beside [`Scratch`](crate::Scratch).
    pub struct SambaScratch {
        /// Inputs of a recurrence, and what comes out of it, `[n_batch, n_inner]`.
        inner: f32,
        /// Its inputs after the convolution, `[n_batch, n_inner]`.
        conv: f32,
        /// What its steps are made from, `[n_batch, n_dt]`.
        dt: f32,
        /// What inputs write to the state, and what is read of it, `[n_batch, 2, n_state]`.
        b_c: f32,
        /// Steps, `[n_batch, n_inner]`.
        delta: f32,
        /// The published memory of tokens with logits, `[n_logits, n_inner]`.
        memory: f32,
    }
}

slots! {
    /// What one recurrence keeps of the tokens so far, however many.
    pub struct Recurrence {
        /// The last inputs of the convolution, `[n_conv − 1, n_inner]`.
        conv: f32,
        /// The state, `[n_inner, n_state]`.
        state: f32,
    }
}

impl SambaScratch<Planned> {
    pub(crate) fn of(samba: &SambaY, sizes: Sizes) -> Self {
        let rows = |name: &str, width: usize| Spec::new(name, &[sizes.n_batch, width]);
        SambaScratch {
            inner: rows("inner", samba.n_inner),
            conv: rows("conv", samba.n_inner),
            dt: rows("dt", samba.n_dt),
            b_c: rows("b_c", 2 * samba.n_state),
            delta: rows("delta", samba.n_inner),
            memory: Spec::new("memory", &[sizes.n_logits, samba.n_inner]),
        }
    }
}

impl Recurrence<Planned> {
    pub(crate) fn of(samba: &SambaY, layer: usize) -> Self {
        Recurrence {
            conv: Spec::new(format!("ssm.conv.{layer}"), &[samba.n_conv - 1, samba.n_inner]),
            state: Spec::new(format!("ssm.state.{layer}"), &[samba.n_inner, samba.n_state]),
        }
    }
}

impl Recurrence<Live> {
    /// No token yet.
    pub(crate) fn reset(&mut self) {
        self.conv.fill(0.0);
        self.state.fill(0.0);
    }
}
