//! SambaY, the block of Phi-4-mini-flash: recurrences and windows below, and above them layers that only look at what the
//! middle made.
//!
//! ```text
//! layer                   mixer
//! even, up to L/2         selective recurrence (Mamba); that of L/2 also publishes its memory M
//! odd, below L/2          differential attention over a window
//! L/2 + 1                 differential attention over everything; its keys and values are the only ones that grow
//! even, above L/2         gate: Wout · (silu(Win · h) ⊙ M), of the same token
//! odd, above L/2 + 1      differential attention over the keys and values of layer L/2 + 1
//! ```
//!
//! So of a prompt, layers above `L/2 + 1` are computed for those tokens only whose logits are wanted. Positions are not
//! rotated: the recurrences know them.

mod forward;
mod state;
mod weights;

pub(crate) use forward::layers;
pub use state::{Recurrence, SambaScratch};
pub use weights::{AttentionWeights, GateWeights, MixerWeights, RecurrenceWeights, SambaLayer};

use phi_kernels::Attention;

/// What the block has beside what every decoder has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SambaY {
    /// Channels of a recurrence.
    pub n_inner: usize,
    /// Values of each channel's state.
    pub n_state: usize,
    /// Inputs that the convolution before it sees.
    pub n_conv: usize,
    /// Values from which the steps of all channels are made.
    pub n_dt: usize,
    /// Keys that a query sees below the middle, itself included.
    pub window: usize,
}

/// What mixes tokens in a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mixer {
    /// A selective recurrence. The last of them publishes its memory.
    Recurrence,
    /// Differential attention over keys of its own.
    Attention,
    /// Differential attention over the keys of the last layer that has its own.
    Cross,
    /// A gate on the published memory.
    Gate,
}

impl SambaY {
    /// Layers come in these: both halves have a recurrence or gate for each attention.
    pub const LAYERS: usize = 4;

    /// The mixer of a layer, of so many.
    pub fn mixer(layer: usize, n_layer: usize) -> Mixer {
        let half = n_layer / 2;
        match layer.is_multiple_of(2) {
            true if layer <= half => Mixer::Recurrence,
            true => Mixer::Gate,
            false if layer <= half + 1 => Mixer::Attention,
            false => Mixer::Cross,
        }
    }

    /// The layer whose keys and values grow with the context, and from which on only tokens with logits are computed.
    pub(crate) fn shared(n_layer: usize) -> usize {
        n_layer / 2 + 1
    }

    /// The attention of a layer that has one.
    pub(crate) fn attention(&self, layer: usize, n_layer: usize, usual: Attention) -> Attention {
        let window = (layer < SambaY::shared(n_layer)).then_some(self.window);
        Attention { window, paired: true, ..usual }
    }
}

/// How much of the second of paired heads is taken away, before training: `0.8 − 0.6 · e^(−0.3 · layer)`
pub(crate) fn lambda_init(layer: usize) -> f32 {
    (0.8 - 0.6 * (-0.3 * layer as f64).exp()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_the_published_model() {
        let of = |layer| SambaY::mixer(layer, 32);
        let count = |wanted: Mixer| (0..32).filter(|&layer| of(layer) == wanted).count();
        assert_eq!(
            (of(16), of(17), of(18), of(19), of(31)),
            (Mixer::Recurrence, Mixer::Attention, Mixer::Gate, Mixer::Cross, Mixer::Cross)
        );
        assert_eq!([Mixer::Recurrence, Mixer::Attention, Mixer::Gate, Mixer::Cross].map(count), [9, 9, 7, 7]);
        assert_eq!(SambaY::shared(32), 17);
    }

    #[test]
    fn lambdas_begin_small_and_grow() {
        assert_eq!(lambda_init(0), 0.2);
        assert!((lambda_init(31) - 0.799_945).abs() < 1e-6, "{}", lambda_init(31));
    }
}
