use phi_tensor::TokenId;

use crate::{Error, Sampler, Session};

/// The tokens that follow a prompt, one at a time.
///
/// A token is computed when the next one is asked for, so nothing is computed in vain at the end.
pub struct Generation<'s, 'e> {
    session: &'s mut Session<'e>,
    sampler: Sampler,
    stops: Vec<TokenId>,
    /// Yielded, but not yet computed.
    pending: Option<TokenId>,
    left: usize,
    finish: Option<Finish>,
}

/// Why a generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// The model ended its answer.
    Stop(TokenId),
    /// As many tokens as were asked for.
    Length,
    /// No room is left in the context.
    ContextFull,
    /// Something failed.
    Failed,
}

impl<'s, 'e> Generation<'s, 'e> {
    pub(crate) fn new(session: &'s mut Session<'e>, sampler: Sampler, limit: usize) -> Self {
        let stops = session.engine().text().map_or(Vec::new(), |text| text.tokenizer().stops().to_vec());
        Generation { session, sampler, stops, pending: None, left: limit, finish: None }
    }

    /// Goes on past stop tokens, and yields them.
    pub fn ignore_stops(mut self) -> Self {
        self.stops.clear();
        self
    }

    /// Why it ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    fn step(&mut self) -> Result<Result<TokenId, Finish>, Error> {
        if self.left == 0 {
            return Ok(Err(Finish::Length));
        }
        if let Some(token) = self.pending.take() {
            if self.session.tokens().len() == self.session.n_ctx() {
                return Ok(Err(Finish::ContextFull));
            }
            self.session.advance(token)?;
        }
        let token = self.sampler.pick(self.session.logits(), self.session.tokens());
        if self.stops.contains(&token) {
            return Ok(Err(Finish::Stop(token)));
        }
        self.pending = Some(token);
        self.left -= 1;
        self.session.count_generated();
        Ok(Ok(token))
    }
}

impl Iterator for Generation<'_, '_> {
    type Item = Result<TokenId, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finish.is_some() {
            return None;
        }
        match self.step() {
            Ok(Ok(token)) => Some(Ok(token)),
            Ok(Err(finish)) => {
                self.finish = Some(finish);
                None
            }
            Err(error) => {
                self.finish = Some(Finish::Failed);
                Some(Err(error))
            }
        }
    }
}
