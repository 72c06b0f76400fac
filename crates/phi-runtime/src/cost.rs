//! What tokens cost, counted and not timed: bytes that have to be read, products that have to be made.

use std::convert::Infallible;

use crate::{Engine, Plan};

impl Engine {
    /// Multiply-adds in the matrices of a prompt of `tokens` tokens: the layers for each of them, with the experts that it
    /// uses, and the head for the last.
    ///
    /// Attention's own products, which grow with the square of the prompt, are not counted.
    pub fn prompt_macs(&self, tokens: usize) -> u64 {
        let weights = &self.model().weights;
        let experts = self.decoder().experts();
        let mut matrices = 0;
        let Ok(_) = weights.try_map(|tensor| -> Result<(), Infallible> {
            let len = tensor.shape().len();
            matrices += match (tensor.shape().dims().len(), experts) {
                (1, _) => 0,
                (3, Some(experts)) => len - experts.idle(len),
                _ => len,
            };
            Ok(())
        });
        let head = weights.token_embd.shape().len();
        let layers = matrices - head - weights.output.as_ref().map_or(0, |output| output.shape().len());
        layers * tokens as u64 + if tokens > 0 { head } else { 0 }
    }

    /// Bytes that are read to compute one token alone, at `position`: all weights once, but of an embedding that is not the
    /// head one row, of experts those that it uses, and of the caches the keys and values that this position sees.
    pub fn token_bytes(&self, plan: &Plan, position: usize) -> u64 {
        let (model, d, sizes) = (self.model(), self.decoder(), plan.state.sizes);
        let embedding = model.weights.token_embd.matrix();
        let unread = match model.weights.output {
            Some(_) => embedding.row_bytes() * (embedding.rows() - 1),
            None => 0,
        };
        let row = |dtype: phi_tensor::DType| dtype.row_bytes(d.head_dim as u64).expect("the plan checked the type");
        let keys: usize = (0..d.n_layer).map(|layer| d.attention(layer).keys_read(position)).sum();
        let cached = keys as u64 * (row(sizes.k_type) + row(sizes.v_type));
        model.weight_bytes() - model.idle_bytes() - unread as u64 + cached
    }
}
