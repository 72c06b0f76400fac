//! Where an answer ends. The end of text that a file names is not enough: most published files name one token of the two
//! or three with which their model ends a turn. This is the only place that knows them; converters ask it, too.

use phi_tensor::TokenId;

use crate::vocab::Vocab;

/// Texts of the tokens that end a turn, in one Phi or another.
pub const TURN_ENDS: [&str; 2] = ["<|end|>", "<|im_end|>"];

/// The text of the token that ends a text, and in most of the family also a turn.
pub const TEXT_END: &str = "<|endoftext|>";

/// With this Phi-3 begins another turn, instead of ending its own.
const PHI3_NEXT_TURN: &str = "<|assistant|>";

/// The tokens that end an answer, in order: those that the file names, and those whose texts are known to.
///
/// * `phi3`: whether this is the vocabulary of Phi-3
pub(crate) fn of(vocab: &Vocab<'_>, phi3: bool) -> Vec<TokenId> {
    let named = vocab.ends.eos.into_iter().chain(vocab.ends.eot).chain(vocab.ends.stops.iter().copied());
    let texts = TURN_ENDS.iter().chain([&TEXT_END]).chain(phi3.then_some(&PHI3_NEXT_TURN));
    let known = texts.filter_map(|text| vocab.id_of(text)).map(TokenId);
    let mut stops: Vec<TokenId> = named.chain(known).collect();
    stops.sort_unstable();
    stops.dedup();
    stops
}
