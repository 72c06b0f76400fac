use std::fmt;

use phi_gguf::{GgufError, printable};
use phi_tensor::TokenId;

/// Where in a file's metadata something stands: the key's path, and its byte offset when it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The path, such as `tokenizer.ggml.merges[3]`.
    pub field: String,
    /// Where in the file the key-value begins.
    pub offset: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " at {offset}"))
    }
}

/// Where in a chat template something stands, both counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} col {}", self.line, self.column)
    }
}

/// Why a vocabulary or a chat template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A key is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file says that it has no vocabulary.
    #[error("tokenizer.ggml.model: \"no_vocab\": this file has no vocabulary")]
    NoVocabulary,
    /// A file without vocabulary names a size that its embedding does not have.
    #[error("{place}: {got} ≠ embedding rows {rows}")]
    VocabularySize {
        /// The key.
        place: Place,
        /// The size named.
        got: u64,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A kind of tokenizer we do not have.
    #[error("{place}: \"{got}\" is not supported (supported: gpt2, llama, no_vocab)")]
    Model {
        /// The key.
        place: Place,
        /// The name in the file.
        got: String,
    },
    /// A pre-tokenizer we do not have.
    #[error("{place}: \"{got}\" is not supported (supported: {})", crate::pre::names())]
    Pre {
        /// The key.
        place: Place,
        /// The name in the file.
        got: String,
    },
    /// More tokens than this program counts.
    #[error("{place}: {got} tokens exceed {max}")]
    TooManyTokens {
        /// The key.
        place: Place,
        /// Tokens in the file.
        got: usize,
        /// The most accepted.
        max: usize,
    },
    /// Vocabulary and embedding disagree.
    #[error("{place}: tokens {tokens}, embedding rows {rows}")]
    Rows {
        /// The key.
        place: Place,
        /// Tokens in the vocabulary.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A list beside the tokens has another length.
    #[error("{place}: {got} entries, tokens {tokens}")]
    Length {
        /// The key.
        place: Place,
        /// Its entries.
        got: usize,
        /// Tokens in the vocabulary.
        tokens: usize,
    },
    /// A token type that means nothing.
    #[error("{place} = {got}, expected 1..=6")]
    TokenType {
        /// The entry.
        place: Place,
        /// The number in the file.
        got: i32,
    },
    /// A score that cannot be ordered.
    #[error("{place}: {got}")]
    Score {
        /// The entry.
        place: Place,
        /// The number in the file.
        got: f32,
    },
    /// A merge of nothing.
    #[error("{place}: empty")]
    EmptyMerge {
        /// The entry.
        place: Place,
    },
    /// A merge that does not name two pieces.
    #[error("{place} \"{got}\": no separator")]
    MergeSeparator {
        /// The entry.
        place: Place,
        /// Its text.
        got: String,
    },
    /// The id of a special token lies outside the vocabulary.
    #[error("{place}: {got} ≥ {n_vocab}")]
    IdRange {
        /// The key.
        place: Place,
        /// The id in the file.
        got: u64,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// A text is to begin with a token that is not named.
    #[error("{place} = true but no bos_token_id")]
    NoBos {
        /// The key.
        place: Place,
    },
    /// Some texts would have no tokens at all.
    #[error("{place}: model llama: no byte tokens and no unknown token")]
    NoBytes {
        /// The key.
        place: Place,
    },
    /// A token of type byte whose text names none.
    #[error("{place} \"{got}\": not a byte token")]
    ByteToken {
        /// The entry.
        place: Place,
        /// Its text.
        got: String,
    },
    /// A chat template beyond the limit.
    #[error("chat_template: {got} bytes exceed {max}")]
    TemplateSize {
        /// Bytes of the template.
        got: usize,
        /// The most accepted.
        max: usize,
    },
    /// A block, expression, comment or text of a chat template that never ends.
    #[error("chat_template {at}: {what} not closed")]
    TemplateUnclosed {
        /// Where it begins.
        at: Position,
        /// What it is.
        what: &'static str,
    },
    /// A chat template nested too deeply.
    #[error("chat_template {at}: {what} nested deeper than {max}")]
    TemplateNesting {
        /// Where it goes too deep.
        at: Position,
        /// What is nested.
        what: &'static str,
        /// The deepest accepted.
        max: usize,
    },
    /// One expression of a chat template with too many operators.
    #[error("chat_template {at}: expression has more than {max} operators")]
    TemplateExpression {
        /// Where it begins.
        at: Position,
        /// The most accepted.
        max: usize,
    },
    /// A statement that needs other files, or that no chat template needs.
    #[error("chat_template {at}: `{name}` is not supported")]
    TemplateTag {
        /// Where.
        at: Position,
        /// Its name.
        name: String,
    },
    /// A chat template that puts lists into lists without end.
    #[error("chat_template: value nested deeper than {max}")]
    TemplateValue {
        /// The deepest accepted.
        max: usize,
    },
    /// A chat template multiplies something by a large number.
    #[error("chat_template {at}: repetition by more than {max}")]
    TemplateRepetition {
        /// Where the expression begins.
        at: Position,
        /// The most accepted.
        max: u64,
    },
    /// A chat template reaches for the insides of the interpreter it was written for.
    #[error("chat_template {at}: no attribute {name}")]
    TemplateAttribute {
        /// Where.
        at: Position,
        /// The attribute.
        name: String,
    },
    /// A chat template that does not end in time.
    #[error("chat_template: step limit reached")]
    TemplateSteps,
    /// A macro or loop of a chat template that calls itself without end.
    #[error("chat_template: recursion deeper than {max}")]
    TemplateRecursion {
        /// The deepest accepted.
        max: usize,
    },
    /// A chat template that makes too much text.
    #[error("chat_template: output exceeds {} MiB", .max >> 20)]
    TemplateOutput {
        /// The most bytes accepted.
        max: usize,
    },
    /// The chat template refused the conversation in its own words.
    #[error("chat_template: {message}")]
    TemplateRaised {
        /// The words.
        message: String,
    },
    /// The chat template is wrong, or stumbled over the conversation.
    #[error("chat_template{}: {}", shown(.at), describe(.source))]
    Template {
        /// Where, if known.
        at: Option<Position>,
        /// What the engine says.
        source: Box<minijinja::Error>,
    },
    /// The system refused a thread to render on.
    #[error("chat_template: cannot start a thread")]
    TemplateThread(#[source] std::io::Error),
    /// Text that looks like control tokens stands in a message, and the template rearranges messages so that it could
    /// not be kept apart from the template's own.
    #[error("message {index}: contains `{found}`, and the chat template rearranges messages: it cannot be kept apart")]
    TemplateContent {
        /// The message's number, from 0.
        index: usize,
        /// What was found in it.
        found: char,
    },
    /// The chat template leaves out the tools, which the model then does not know of.
    #[error("chat_template: has no place for tools")]
    TemplateTools,
    /// Tools that are no list.
    #[error("tools: not a JSON list of functions")]
    Tools(#[source] serde_json::Error),
    /// Tools beyond the limit.
    #[error("tools: {got} bytes exceed {max}")]
    ToolsSize {
        /// Bytes of the list.
        got: usize,
        /// The most accepted.
        max: usize,
    },
    /// More tools than are accepted.
    #[error("tools: {got} exceed {max}")]
    ToolsCount {
        /// How many.
        got: usize,
        /// The most accepted.
        max: usize,
    },
    /// A tool that is none.
    #[error("tools[{index}]: not a function with a name")]
    Tool {
        /// The tool's number, from 0.
        index: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A tool whose name could be something else.
    #[error("tools[{index}]: name \"{name}\" is not a plain word")]
    ToolName {
        /// The tool's number, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
    /// What a model wrote where it called a tool is no call.
    #[error("tool call at byte {at}: {problem}")]
    ToolCall {
        /// Where in the answer its JSON begins.
        at: usize,
        /// What is wrong.
        problem: CallProblem,
    },
    /// A role that is not a plain word.
    #[error("message {index}: role \"{role}\" is not a plain word")]
    Role {
        /// The message's number, from 0.
        index: usize,
        /// The role.
        role: String,
    },
}

/// What is wrong with a call of a tool.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallProblem {
    /// It ends too early.
    #[error("cut off")]
    CutOff,
    /// No JSON, or JSON of another form.
    #[error("no JSON list of calls: {0}")]
    Json(Box<str>),
    /// No name, or a very long one.
    #[error("has no name: expected a name of 1 to 256 bytes")]
    Name,
    /// Arguments without names.
    #[error("arguments are no JSON object")]
    Arguments,
    /// Beyond the limit.
    #[error("{got} bytes exceed {max}")]
    Size {
        /// Bytes of the call.
        got: usize,
        /// The most accepted.
        max: usize,
    },
    /// More calls than are accepted.
    #[error("more than {max} calls")]
    Count {
        /// The most accepted.
        max: usize,
    },
}

fn shown(at: &Option<Position>) -> String {
    at.map_or_else(String::new, |at| format!(" {at}"))
}

fn describe(error: &minijinja::Error) -> String {
    let mut text = match error.detail() {
        Some(detail) => detail.to_string(),
        None => error.kind().to_string(),
    };
    text = printable(text.as_bytes());
    text
}

/// Something odd in a vocabulary that can be lived with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextWarning {
    /// Two tokens with one text. The first is found, both decode.
    #[error("tokenizer.ggml.tokens: {first} and {second} are both \"{text}\"{}", more(*.count))]
    DuplicateTokens {
        /// The id that is found.
        first: TokenId,
        /// The first id that repeats it.
        second: TokenId,
        /// Their text.
        text: String,
        /// How many ids repeat an earlier one.
        count: usize,
    },
    /// Tokens without text. They decode to nothing.
    #[error("tokenizer.ggml.tokens[{first}]: empty{}", more(*.count))]
    EmptyTokens {
        /// The first of them.
        first: TokenId,
        /// How many.
        count: usize,
    },
    /// Tokens that are not UTF-8. Their bytes are kept as they are.
    #[error("tokenizer.ggml.tokens[{first}]: not UTF-8{}", more(*.count))]
    NotUtf8Tokens {
        /// The first of them.
        first: TokenId,
        /// How many.
        count: usize,
    },
    /// Merges of pieces that are not in the vocabulary. They are ignored.
    #[error("tokenizer.ggml.merges[{first}]: unknown pieces{}", more(*.count))]
    UnknownMerges {
        /// The first of them.
        first: usize,
        /// How many.
        count: usize,
    },
    /// Bytes for which the vocabulary has no token. Text that contains them loses them.
    #[error("tokenizer.ggml.tokens: {count} bytes have no token")]
    MissingBytes {
        /// How many of the 256.
        count: usize,
    },
    /// The file does not name its pre-tokenizer, so that texts may be cut at other places than in training.
    #[error("tokenizer.ggml.pre: missing, taken to be \"default\"")]
    NoPre,
}

fn more(count: usize) -> String {
    if count > 1 { format!(", {} more like it", count - 1) } else { String::new() }
}
