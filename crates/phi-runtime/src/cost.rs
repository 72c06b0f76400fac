//! What tokens cost, counted and not timed: bytes that have to be read, products that have to be made.

use std::convert::Infallible;

use phi_model::Decoder;
use phi_tensor::DType;

use crate::{Engine, Plan};

impl Engine {
    /// Multiply-adds in the matrices of a prompt of `tokens` tokens: the layers for each of them, the head for the last.
    ///
    /// Attention's own products, which grow with the square of the prompt, are not counted.
    pub fn prompt_macs(&self, tokens: usize) -> u64 {
        let weights = &self.model().weights;
        let mut matrices = 0;
        let Ok(_) = weights.try_map(|tensor| -> Result<(), Infallible> {
            if tensor.shape().dims().len() == 2 {
                matrices += tensor.shape().len();
            }
            Ok(())
        });
        let head = weights.token_embd.shape().len();
        let layers = matrices - head - weights.output.as_ref().map_or(0, |output| output.shape().len());
        layers * tokens as u64 + if tokens > 0 { head } else { 0 }
    }

    /// Bytes that are read to compute one token alone, at `position`: all weights once, but of an embedding that is not the
    /// head one row, and of the caches the keys and values that this position sees.
    pub fn token_bytes(&self, plan: &Plan, position: usize) -> u64 {
        let model = self.model();
        let embedding = model.weights.token_embd.matrix();
        let unread = match model.weights.output {
            Some(_) => embedding.row_bytes() * (embedding.rows() - 1),
            None => 0,
        };
        model.weight_bytes() - unread as u64 + plan.cached_bytes(self.decoder(), position)
    }
}

impl Plan {
    /// Bytes of keys and values that are read to compute one token alone, at `position`: those that this position sees.
    pub fn cached_bytes(&self, d: &Decoder, position: usize) -> u64 {
        let sizes = self.state.sizes;
        let row = |dtype: DType| dtype.row_bytes(d.head_dim as u64).expect("the plan checked the type");
        let keys: usize = (0..d.n_layer).map(|layer| d.attention(layer).keys_read(position)).sum();
        keys as u64 * (row(sizes.k_type) + row(sizes.v_type))
    }
}
