use std::path::Path;

use phi_gguf::Gguf;
use phi_kernels::Kernels;
use phi_memory::Spec;
use phi_model::{Decoder, Model};
use phi_tensor::Bytes;

use crate::{Error, Plan, RunOptions, Sampling, Session, Text};

/// A file, bound as a model, with its words.
pub struct Engine {
    gguf: Gguf,
    model: Model,
    text: Option<Text>,
}

impl Engine {
    /// Maps a file, checks it, and binds its tensors. No weight is copied.
    pub fn open(path: &Path) -> Result<Engine, Error> {
        Engine::new(Gguf::open(path)?)
    }

    /// Binds a file that is already in memory, such as one compiled into the program.
    pub fn from_bytes(bytes: Bytes) -> Result<Engine, Error> {
        Engine::new(Gguf::from_bytes(bytes)?)
    }

    fn new(gguf: Gguf) -> Result<Engine, Error> {
        let model = Model::bind(&gguf)?;
        let text = Text::from_metadata(gguf.metadata(), Some(model.decoder.n_vocab))?;
        Ok(Engine { gguf, model, text })
    }

    /// The file.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// What the model is.
    pub fn decoder(&self) -> &Decoder {
        &self.model.decoder
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The file's words, unless it has no vocabulary.
    pub fn text(&self) -> Result<&Text, Error> {
        self.text.as_ref().ok_or(Error::NoVocabulary)
    }

    /// The file's words, to replace the chat template.
    pub fn text_mut(&mut self) -> Result<&mut Text, Error> {
        self.text.as_mut().ok_or(Error::NoVocabulary)
    }

    /// The sampling that the file itself recommends, over the usual defaults.
    pub fn sampling(&self) -> Result<Sampling, Error> {
        Sampling::from_metadata(self.gguf.metadata())
    }

    /// What is odd about the file but harmless, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let of_file = self.gguf.warnings().iter().map(ToString::to_string);
        let of_text = self.text.iter().flat_map(|text| text.tokenizer().warnings()).map(ToString::to_string);
        let unused = self.model.unused_tensors();
        let of_model = (!unused.is_empty()).then(|| {
            let more = if unused.len() > 1 { format!(" and {} more", unused.len() - 1) } else { String::new() };
            format!(
                "tensor `{}`{more} is not part of {} and is ignored",
                unused[0].escape_debug(),
                self.model.decoder.arch
            )
        });
        of_file.chain(of_text).chain(of_model).collect()
    }

    /// Describes a run: every buffer, before anything is allocated.
    pub fn plan(&self, options: &RunOptions) -> Result<Plan, Error> {
        Plan::new(&self.model.decoder, self.model.weight_bytes(), options)
    }

    /// Allocates exactly the plan.
    pub fn session(&self, plan: &Plan) -> Result<Session<'_>, Error> {
        // The largest first: what does not fit is found before threads start.
        let state = plan.state.allocate()?;
        let records = plan.records.as_ref().map(Spec::allocate).transpose()?;
        let tokens = plan.tokens.allocate()?;
        let rooms = plan.threads.iter().map(Spec::allocate).collect::<Result<Vec<_>, _>>()?;
        let kernels = Kernels::with_rooms(plan.options.isa, rooms)?;
        Ok(Session::new(self, kernels, state, records, tokens, plan.options.factors))
    }
}
