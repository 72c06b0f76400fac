use std::sync::Arc;

use phi_gguf::Metadata;
use phi_tensor::TokenId;
use phi_text::{ChatTemplate, Message, Rendered, Special, TextError, Tokenizer, Utf8Stream};

use crate::{Error, Generation};

/// The words of a file: its tokenizer and its chat template. Needs no tensors.
pub struct Text {
    tokenizer: Tokenizer,
    /// A broken template is no reason not to complete raw text; it is told when a template is needed.
    template: Result<Option<ChatTemplate>, Arc<TextError>>,
}

/// A prompt ready for the model.
pub struct Prompt {
    /// Its tokens, with BOS where the file asks for one.
    pub tokens: Vec<TokenId>,
    /// What was rendered, when a template was.
    pub rendered: Option<Rendered>,
}

impl Text {
    /// From a file's metadata; `None` when the file says it has no vocabulary.
    pub fn from_metadata(metadata: &Metadata, embedding_rows: Option<usize>) -> Result<Option<Text>, Error> {
        let tokenizer = match Tokenizer::from_metadata(metadata, embedding_rows) {
            Ok(tokenizer) => tokenizer,
            Err(TextError::NoVocabulary) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Text { tokenizer, template: ChatTemplate::from_metadata(metadata).map_err(Arc::new) }))
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template of the file, or why there is none.
    pub fn template(&self) -> Result<&ChatTemplate, Error> {
        match &self.template {
            Ok(Some(template)) => Ok(template),
            Ok(None) => Err(Error::NoTemplate),
            Err(error) => Err(Error::Text(Arc::clone(error))),
        }
    }

    /// Replaces the file's chat template by another.
    pub fn set_template(&mut self, source: &str) -> Result<(), Error> {
        self.template = Ok(Some(ChatTemplate::parse(source)?));
        Ok(())
    }

    /// A conversation, up to where the assistant answers. What users wrote stays text, whatever it looks like.
    pub fn chat(&self, messages: &[Message]) -> Result<Prompt, Error> {
        let text_of = |id: Option<TokenId>| id.map_or(String::new(), |id| self.tokenizer.decode(&[id], true));
        let (bos, eos) = (text_of(self.tokenizer.bos()), text_of(self.tokenizer.eos()));
        let rendered = self.template()?.render(messages, true, &bos, &eos)?;
        let tokens = self.with_bos(self.tokenizer.encode_spans(&rendered.spans().collect::<Vec<_>>()));
        Ok(Prompt { tokens, rendered: Some(rendered) })
    }

    /// Text as it is, to be continued.
    pub fn raw(&self, text: &str, special: Special) -> Prompt {
        Prompt { tokens: self.with_bos(self.tokenizer.encode(text, special)), rendered: None }
    }

    /// A prompt begins with BOS when the file says so, and never with two.
    fn with_bos(&self, mut tokens: Vec<TokenId>) -> Vec<TokenId> {
        if let Some(bos) = self.tokenizer.bos().filter(|_| self.tokenizer.add_bos())
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        tokens
    }
}

/// Tokens as text: complete characters only, and nothing behind a stop string.
///
/// One piece for each token, so that whoever reads can stop between any two; it is empty while nothing can be shown yet.
pub struct TextStream<'g, 's, 'e> {
    generation: &'g mut Generation<'s, 'e>,
    tokenizer: &'g Tokenizer,
    stops: &'g [String],
    utf8: Option<Utf8Stream>,
    /// Text that may still turn out to begin a stop string.
    held: String,
    strip_leading_space: bool,
    stopped: bool,
}

impl<'s, 'e> Generation<'s, 'e> {
    /// The tokens as pieces of text. Ends before the first of `stops`, which is not part of the text.
    pub fn text<'g>(&'g mut self, tokenizer: &'g Tokenizer, stops: &'g [String]) -> TextStream<'g, 's, 'e> {
        TextStream {
            generation: self,
            tokenizer,
            stops,
            utf8: Some(Utf8Stream::new()),
            held: String::new(),
            strip_leading_space: tokenizer.adds_leading_space(),
            stopped: false,
        }
    }
}

impl TextStream<'_, '_, '_> {
    /// What of `held` can be shown: all before a stop string, or before what may become one.
    fn release(&mut self) -> String {
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let unsafe_tail = |stop: &String| {
            (0..self.held.len())
                .filter(|&at| self.held.is_char_boundary(at))
                .find(|&at| stop.starts_with(&self.held[at..]))
        };
        let keep_from = self.stops.iter().filter_map(unsafe_tail).min().unwrap_or(self.held.len());
        let tail = self.held.split_off(keep_from);
        std::mem::replace(&mut self.held, tail)
    }
}

impl Iterator for TextStream<'_, '_, '_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stopped {
            return None;
        }
        match self.generation.next() {
            Some(Ok(token)) => {
                let utf8 = self.utf8.as_mut()?;
                self.held += utf8.push(self.tokenizer.token_bytes(token));
                if self.strip_leading_space && !self.held.is_empty() {
                    self.strip_leading_space = false;
                    if self.held.starts_with(' ') {
                        self.held.remove(0);
                    }
                }
                Some(Ok(self.release()))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                // The end: what was held back is text after all, and half a character becomes �.
                self.held += &self.utf8.take()?.finish();
                let mut text = self.release();
                text += &std::mem::take(&mut self.held);
                self.stopped = true;
                (!text.is_empty()).then_some(Ok(text))
            }
        }
    }
}
