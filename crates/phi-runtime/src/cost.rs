//! What tokens cost, counted and not timed: bytes that have to be read, products that have to be made.

use std::convert::Infallible;

use phi_model::{Decoder, Weights};
use phi_tensor::DType;

use crate::{Engine, Plan};

impl Engine {
    /// Multiply-adds in the matrices of a prompt of `tokens` tokens: the layers for each of them (or some, for the last
    /// alone), with the experts that it uses, and the head for the last.
    ///
    /// Attention's own products, which grow with the square of the prompt, are not counted.
    pub fn prompt_macs(&self, tokens: usize) -> u64 {
        let d = self.decoder();
        let experts = d.experts();
        let (mut each, mut last) = (0, 0);
        let Ok(_) = Weights::of(d).try_map(|spec| -> Result<(), Infallible> {
            let len = spec.shape.len();
            match (spec.shape.dims().len(), experts) {
                (3, Some(experts)) => each += len - experts.idle(len),
                (2, _) if spec.layer.is_some() => {
                    let of_each = d.rows_of_each_token(spec) * spec.shape.cols();
                    each += of_each;
                    last += len - of_each;
                }
                _ => {}
            }
            Ok(())
        });
        let head = self.model().weights.token_embd.shape().len();
        each * tokens as u64 + if tokens > 0 { last + head } else { 0 }
    }

    /// Bytes that are read to compute one token alone, at `position`: all weights once, but of an embedding that is not the
    /// head one row, of experts those that it uses, and of the caches the keys and values that this position sees.
    pub fn token_bytes(&self, plan: &Plan, position: usize) -> u64 {
        let model = self.model();
        let embedding = model.weights.token_embd.matrix();
        let unread = match model.weights.output {
            Some(_) => embedding.row_bytes() * (embedding.rows() - 1),
            None => 0,
        };
        model.weight_bytes() - model.idle_bytes() - unread as u64 + plan.cached_bytes(self.decoder(), position)
    }
}

impl Plan {
    /// Bytes of keys and values that are read to compute one token alone, at `position`: those that this position sees, in
    /// each layer that looks at them. And what recurrences keep.
    pub fn cached_bytes(&self, d: &Decoder, position: usize) -> u64 {
        let sizes = self.state.sizes;
        let row = |dtype: DType| dtype.row_bytes(d.head_dim as u64).expect("the plan checked the type");
        let layers = (0..d.n_layer).filter(|&layer| d.attends(layer));
        let keys = layers.map(|layer| d.attention(layer).keys_read(position) as u64).fold(0, u64::saturating_add);
        keys.saturating_mul(row(sizes.k_type) + row(sizes.v_type)).saturating_add(self.recurrence_bytes())
    }
}
