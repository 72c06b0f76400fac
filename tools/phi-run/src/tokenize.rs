//! Text to ids, and back.

use phi_cli::{Io, Report};
use phi_runtime::{Bytes, Error, Gguf, Message, Special, Text, TokenId};

use crate::args::TokenizeArgs;
use crate::embedded::PHI_TINY;
use crate::{job, report};

pub(crate) fn tokenize(typed: TokenizeArgs, io: &mut Io) -> Result<(), Report> {
    let failed = |e: Error| report::of(&e).file(typed.model.as_deref().unwrap_or("phi-tiny".as_ref()));
    // Only the header is needed: a file of nothing but a vocabulary will do.
    let gguf = match &typed.model {
        Some(path) => Gguf::open(path).map_err(|e| report::opening(&e.into(), path))?,
        None => Gguf::from_bytes(Bytes::new(PHI_TINY)).map_err(|e| failed(e.into()))?,
    };
    let text =
        Text::from_metadata(gguf.metadata(), None).and_then(|text| text.ok_or(Error::NoVocabulary)).map_err(failed)?;
    let tokenizer = text.tokenizer();

    if let Some(ids) = &typed.ids {
        let n_vocab = tokenizer.n_vocab();
        let ids: Vec<_> = ids.iter().copied().map(TokenId).collect();
        if let Some(&token) = ids.iter().find(|id| id.index() >= n_vocab) {
            return Err(failed(Error::UnknownToken { token, n_vocab }));
        }
        io.print(tokenizer.decode(&ids, true))?;
        io.print("\n")?;
        return Ok(());
    }
    let prompt = job::prompt(typed.prompt.clone(), typed.file.as_deref())?;
    let prompt =
        prompt.ok_or_else(|| Report::misuse("there is no text").hint("give it with `-p`, `-f`, or through a pipe"))?;
    let mut ids = if typed.chat {
        text.chat(&[Message::new("user", prompt)]).map_err(failed)?.tokens
    } else {
        tokenizer.encode(&prompt, if typed.special { Special::Parse } else { Special::Plain })
    };
    if let Some(bos) = tokenizer.bos().filter(|bos| typed.bos && ids.first() != Some(bos)) {
        ids.insert(0, bos);
    }
    let ids: Vec<_> = ids.iter().map(|id| id.0.to_string()).collect();
    Ok(io.print(format_args!("[{}]\n", ids.join(", ")))?)
}
