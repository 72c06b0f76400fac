use crate::fit::SHORTEST;
use crate::{Asked, Error, Need, Subject};

const MIB: u64 = 1 << 20;

/// A graphics card's memory. What is said of cards is an estimate: no part of this program runs on one yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Card {
    /// Bytes, as the label says.
    pub bytes: u64,
}

/// What goes onto a card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OnCard {
    /// All of it, with the longest context that goes with it.
    Everything {
        /// Positions.
        n_ctx: usize,
    },
    /// The head and some layers, at the context asked for; the others stay in memory.
    Layers {
        /// How many.
        layers: usize,
        /// Of how many.
        of: usize,
    },
}

impl Card {
    /// What driver and desktop leave: 500 MiB and 24 more for each GiB are theirs, then 300 for the libraries of a runtime.
    pub fn free(self) -> u64 {
        let taken = (500 + 24 * (self.bytes >> 30) + 300) * MIB;
        self.bytes.saturating_sub(taken)
    }

    /// What a run would put there: layers with their part of the cache, the head, and the buffers with logits for a whole
    /// batch. The embedding stays in memory, a row at a time; of a tied model it is on the card as the head.
    pub fn place(self, subject: &Subject, asked: &Asked) -> Result<OnCard, Error> {
        let free = self.free();
        let everything = |need: &Need| need.parts.layers.iter().sum::<u64>() + beside(need) + need.kv;
        let need_at = |n_ctx: usize| subject.need(&on_card(asked.with_ctx(n_ctx)));
        let trained = subject.decoder.n_ctx_train;
        let (mut low, mut high) = (0, trained / 256 + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if everything(&need_at(middle * 256)?) <= free { low = middle } else { high = middle }
        }
        if low * 256 >= SHORTEST {
            return Ok(OnCard::Everything { n_ctx: low * 256 });
        }
        let need = subject.need(&on_card(asked.clone()))?;
        let per_layer = need.kv / need.parts.layers.len() as u64;
        let mut left = free.saturating_sub(beside(&need));
        let fits = need.parts.layers.iter().take_while(|&&bytes| {
            let fits = bytes + per_layer <= left;
            left = left.saturating_sub(bytes + per_layer);
            fits
        });
        Ok(OnCard::Layers { layers: fits.count(), of: need.parts.layers.len() })
    }
}

fn on_card(asked: Asked) -> Asked {
    let run = phi_runtime::RunOptions { all_logits: true, ..asked.run };
    Asked { run, ..asked }
}

/// What is on the card beside layers.
fn beside(need: &Need) -> u64 {
    need.parts.head + need.compute
}
