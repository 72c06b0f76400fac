//! What stands beside the vocabulary: which ids begin and end a text, what is added without being asked, and the chat
//! template. From `tokenizer_config.json` and its neighbours.

use std::collections::HashMap;
use std::path::Path;

use phi_gguf::{Strings, Value};
use phi_text::stops::TURN_ENDS;
use serde::Deserialize;

use super::Added;
use crate::config::{self, Config};
use crate::error::{ConvertError, Problem, Result, Warning};
use crate::file;
use crate::generation::{Generation, Ids};

/// Chat templates are programs of some kilobytes.
const MAX_BYTES: u64 = 16 << 20;

pub(super) struct Special {
    /// Tokens beside the vocabulary that these files name.
    pub(super) added: Vec<Added>,
    tokenizer: TokenizerConfig,
    post: Option<Processor>,
    templates: Vec<(String, String)>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    added_tokens_decoder: HashMap<String, AddedToken>,
    bos_token: Option<Text>,
    eos_token: Option<Text>,
    unk_token: Option<Text>,
    pad_token: Option<Text>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
struct AddedToken {
    content: String,
    #[serde(default)]
    special: bool,
}

/// A token by its text, alone or in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Object { content: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// The end of `tokenizer.json` that may add tokens around a text.
#[derive(Default, Deserialize)]
pub(super) struct Processor {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    processors: Vec<Processor>,
    #[serde(default)]
    single: Vec<Piece>,
}

#[derive(Deserialize)]
enum Piece {
    SpecialToken { id: String },
    Sequence {},
}

impl Special {
    pub(super) fn open(folder: &Path, post: Option<Processor>) -> Result<Special> {
        let added = file::find_json(&folder.join("added_tokens.json"), MAX_BYTES)?;
        let added: HashMap<String, u32> = added.unwrap_or_default();
        let config = folder.join("tokenizer_config.json");
        let tokenizer: TokenizerConfig = file::find_json(&config, MAX_BYTES)?.unwrap_or_default();

        let templates = templates(folder, &tokenizer)?;
        let added = added.into_iter().map(|(text, id)| Added { id, text, special: false }).collect();
        Special::new(added, tokenizer, templates, post, &config)
    }

    /// Reads the text of a `tokenizer_config.json` that stands alone; `path` is for messages.
    pub(super) fn parse(text: &[u8], path: &Path) -> Result<Special> {
        let tokenizer: TokenizerConfig = file::json(text).map_err(|e| e.of(path))?;
        // No other file is looked for: there is a template in this one.
        let templates = templates(path, &tokenizer)?;
        Special::new(Vec::new(), tokenizer, templates, None, path)
    }

    fn new(
        mut added: Vec<Added>,
        tokenizer: TokenizerConfig,
        templates: Vec<(String, String)>,
        post: Option<Processor>,
        config: &Path,
    ) -> Result<Special> {
        for (id, token) in &tokenizer.added_tokens_decoder {
            let bad = || Problem::Value { got: phi_gguf::printable(id).into(), want: "an id".into() };
            let id = id.parse().map_err(|_| ConvertError::new("added_tokens_decoder", None, bad()).of(config))?;
            added.push(Added { id, text: token.content.clone(), special: token.special });
        }
        // Maps have no order; the later of two entries for an id, here the one of the config, knows more.
        added.sort_by_key(|token| token.id);
        Ok(Special { added, tokenizer, post, templates })
    }

    /// The keys, in llama.cpp's order.
    pub(super) fn keys(
        &self,
        ids: &HashMap<&str, u32>,
        config: &Config,
        generation: &Generation,
        folder: &Path,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<(String, Value)>> {
        let mut keys: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| keys.push((format!("tokenizer.{key}"), value));
        let n_vocab = ids.len() as u64;
        let tokenizer = &self.tokenizer;
        let texts = [
            ("bos", "bos", &tokenizer.bos_token),
            ("eos", "eos", &tokenizer.eos_token),
            ("unk", "unknown", &tokenizer.unk_token),
            ("pad", "padding", &tokenizer.pad_token),
        ];
        let mut eos = None;
        for (short, long, text) in texts {
            let text = text.as_ref().map(Text::as_str);
            let by_text = text.and_then(|text| ids.get(text).copied());
            if let (Some(text), None) = (text, by_text) {
                let field = format!("tokenizer_config.json: {short}_token");
                warnings.push(Warning::NoSuchToken { field, text: phi_gguf::printable(text) });
            }
            let field = format!("{short}_token_id");
            let id = match by_text {
                Some(id) => Some(id),
                // A list of ends belongs to the generation config; its first is the end of the text.
                None => match config.find(&field).and_then(|v| Ids::deserialize(v).ok()).map(|ids| ids.to_vec()) {
                    Some(listed) if listed.len() > 1 => listed.first().copied(),
                    _ => config.find_size(&field, 0..=*config::VOCABULARY.end())?,
                },
            };
            if let Some(id) = id.filter(|&id| u64::from(id) < n_vocab) {
                set(&format!("ggml.{long}_token_id"), id.into());
                eos = eos.or(Some(id).filter(|_| short == "eos"));
            }
        }
        let stops = generation.stops();
        if let Some(beyond) = stops.iter().find(|&&id| u64::from(id) >= n_vocab) {
            let problem =
                Problem::Value { got: beyond.to_string().into(), want: format!("ids below {n_vocab}").into() };
            return Err(ConvertError::new("eos_token_id", None, problem).of(&folder.join("generation_config.json")));
        }
        // An end of text among a model's stops does not end a turn.
        let ends: Vec<u32> = TURN_ENDS.iter().filter_map(|text| ids.get(text).copied()).collect();
        let eot = stops.iter().copied().find(|id| ends.contains(id) && Some(*id) != eos);
        if let Some(id) = eot {
            set("ggml.eot_token_id", id.into());
        }
        let (post_bos, post_eos) = self.post.as_ref().map_or((None, None), |post| post.adds(self));
        for (key, post, asked) in
            [("bos", post_bos, tokenizer.add_bos_token), ("eos", post_eos, tokenizer.add_eos_token)]
        {
            if let Some(add) = post.or(asked) {
                set(&format!("ggml.add_{key}_token"), add.into());
            }
        }
        // Each named template under its name, then their names, then the one for everyday use: llama.cpp's order.
        let named: Vec<_> = self.templates.iter().filter(|(name, _)| name != "default").collect();
        for (name, template) in &named {
            set(&format!("chat_template.{name}"), template.as_str().into());
        }
        if !named.is_empty() {
            set("chat_templates", named.iter().map(|(name, _)| name).collect::<Strings>().into());
        }
        if let Some((_, template)) = self.templates.iter().find(|(name, _)| name == "default") {
            set("chat_template", template.as_str().into());
        }
        if stops.iter().any(|&id| Some(id) != eos && Some(id) != eot) {
            keys.push(("phi.stop_token_ids".into(), stops.into()));
        }
        Ok(keys)
    }
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Text::Plain(text) | Text::Object { content: text } => text,
        }
    }
}

impl Processor {
    /// Whether a beginning and an end are added to a text; unknown where nothing is said.
    fn adds(&self, special: &Special) -> (Option<bool>, Option<bool>) {
        let is = |piece: Option<&Piece>, token: &Option<Text>| match (piece, token) {
            (Some(Piece::SpecialToken { id }), Some(token)) => Some(id == token.as_str()),
            (Some(Piece::SpecialToken { .. }), None) => Some(false),
            _ => None,
        };
        match self.kind.as_str() {
            "Sequence" => {
                self.processors.iter().map(|p| p.adds(special)).fold((None, None), |a, b| (b.0.or(a.0), b.1.or(a.1)))
            }
            "ByteLevel" => (Some(false), Some(false)),
            "TemplateProcessing" if self.single.len() > 1 => {
                let tokens = &special.tokenizer;
                (is(self.single.first(), &tokens.bos_token), is(self.single.last(), &tokens.eos_token))
            }
            _ => (None, None),
        }
    }
}

/// The chat templates by name; the one for everyday use is called `default`.
fn templates(folder: &Path, tokenizer: &TokenizerConfig) -> Result<Vec<(String, String)>> {
    match &tokenizer.chat_template {
        Some(Templates::One(text)) => return Ok(vec![("default".into(), text.clone())]),
        Some(Templates::Named(all)) => {
            // The names become parts of keys.
            let name = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            return Ok(all.iter().map(|t| (name(&t.name), t.template.clone())).collect());
        }
        None => {}
    }
    let path = folder.join("chat_template.jinja");
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8(file::read(&path, MAX_BYTES)?);
    let text = text.map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        ConvertError::new("", at as u64, Problem::NotUtf8 { at }).of(&path)
    })?;
    Ok(vec![("default".into(), text)])
}
