//! What was typed. The comments are the help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use phi_cli::{Shell, Size};
use phi_runtime::DType;

use crate::admit::Limit;
use crate::bench::args::{self as bench, BenchArgs};
use crate::plan::PlanArgs;

const EXAMPLES: &str = "\
Examples:
  phi-run                                      chat with the small model inside this program
  phi-run -p 'What is 17 + 25?'                one answer, and only the answer on stdout
  phi-run phi-4-mini-Q4_0.gguf                 chat with a model of yours
  phi-run phi-4-mini-Q4_0.gguf -f notes.txt -n 200 --temp 0
  echo 'Spell cat.' | phi-run                  a pipe is one answer, too
  phi-run phi-4-mini-Q4_0.gguf --tools tools.json --json -p 'Rain in Oslo?'
  phi-run tokenize phi-4-mini-Q4_0.gguf -p 'Hello world'
  phi-run perplexity phi-4-mini-Q4_0.gguf -f wiki.test.raw
  phi-run plan phi-4-mini -c 16k               does it fit? nothing is loaded, or even there
  phi-run bench phi-4-mini-Q4_0.gguf           tokens per second, as llama-bench measures them

Exit status: 0 done, 1 failed, 2 misused, 3 does not fit in memory, 130 interrupted.";

/// Runs a GGUF of the Phi family on the CPU: a chat on a terminal, one answer with -p or from a pipe.
///
/// stdout is the answer; everything else goes to stderr. Without MODEL, a very small model inside the program answers.
#[derive(Parser, Debug)]
#[command(name = "phi-run", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// A GGUF file, or any part of a split one [default: the model inside this program]
    pub(crate) model: Option<PathBuf>,

    /// The same as MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    pub(crate) model_flag: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) generate: GenerateArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    #[command(flatten)]
    pub(crate) ignored: IgnoredArgs,

    /// Say more: the memory table, the exact prompt
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Print what a file may ask for at most, and why
    #[arg(long, exclusive = true)]
    pub(crate) limits: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else it can do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Plan(Box<PlanArgs>),
    Bench(Box<BenchArgs>),
    Perplexity(Box<PerplexityArgs>),
    Logits(LogitsArgs),
    Tokenize(TokenizeArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Prompt and sampling.
#[derive(clap::Args, Debug)]
pub(crate) struct GenerateArgs {
    /// The question, or with --no-chat the text to continue
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", help_heading = "Prompt")]
    pub(crate) prompt: Option<String>,

    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE", help_heading = "Prompt")]
    pub(crate) file: Option<PathBuf>,

    /// Instructions that come before the conversation (also -sys)
    #[arg(long, visible_alias = "system", value_name = "TEXT", help_heading = "Prompt")]
    pub(crate) system_prompt: Option<String>,

    /// Continue the prompt as raw text: no chat template (also -no-cnv)
    #[arg(long, visible_alias = "no-conversation", help_heading = "Prompt")]
    pub(crate) no_chat: bool,

    /// With --no-chat: read special tokens in the prompt as such
    #[arg(long, requires = "no_chat", help_heading = "Prompt")]
    pub(crate) special: bool,

    /// A chat template to use instead of the file's: Jinja source, or a file that holds it
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "no_chat", help_heading = "Prompt")]
    pub(crate) chat_template: Option<String>,

    /// Tools that the model may call: a file with a JSON list of functions in OpenAI's shape
    #[arg(long, value_name = "FILE", conflicts_with = "no_chat", help_heading = "Prompt")]
    pub(crate) tools: Option<PathBuf>,

    /// Tokens to generate at most; -1 goes on until the model stops
    #[arg(short, long, visible_alias = "predict", value_name = "N", default_value_t = -1, allow_negative_numbers = true, help_heading = "Generation")]
    pub(crate) n_predict: i64,

    /// Stop when the model writes this (may be repeated)
    #[arg(short, long, value_name = "TEXT", help_heading = "Generation")]
    pub(crate) reverse_prompt: Vec<String>,

    /// Go on when the model ends its answer
    #[arg(long, help_heading = "Generation")]
    pub(crate) ignore_eos: bool,

    /// Seed of the random numbers; -1 draws one
    #[arg(short, long, value_name = "N", default_value_t = -1, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) seed: i64,

    /// Temperature; 0 always takes the most likely token [default: the file's, else 0.8]
    #[arg(
        long,
        visible_alias = "temperature",
        value_name = "T",
        help_heading = "Sampling",
        allow_negative_numbers = true
    )]
    pub(crate) temp: Option<f32>,

    /// Sample from the K most likely tokens; 0 for all [default: the file's, else 40]
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    pub(crate) top_k: Option<usize>,

    /// Sample from the fewest tokens whose probabilities sum to P [default: the file's, else 0.95]
    #[arg(long, value_name = "P", help_heading = "Sampling", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,

    /// Leave out tokens less than P times as likely as the most likely [default: the file's, else 0.05]
    #[arg(long, value_name = "P", help_heading = "Sampling", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,

    /// Make recent tokens less likely by this factor; 1 for no change
    #[arg(long, value_name = "X", help_heading = "Sampling", allow_negative_numbers = true)]
    pub(crate) repeat_penalty: Option<f32>,

    /// How many recent tokens the penalties look at
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub(crate) repeat_last_n: Option<usize>,

    /// Subtract this from the logit of every recent token
    #[arg(long, value_name = "X", help_heading = "Sampling", allow_negative_numbers = true)]
    pub(crate) presence_penalty: Option<f32>,

    /// Subtract this from the logit of a recent token for each time it occurred
    #[arg(long, value_name = "X", help_heading = "Sampling", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: Option<f32>,

    /// Print one JSON object with the answer and its figures
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Do not show how a reasoning model comes to its answer
    #[arg(long, alias = "hidethinking", help_heading = "Output")]
    pub(crate) no_thinking: bool,
}

/// Memory and speed.
#[derive(clap::Args, Debug)]
pub(crate) struct RunArgs {
    /// Positions of the context; 0 for what the model was trained on [default: trained, at most 4096, more for a longer prompt]
    #[arg(short, long, visible_alias = "ctx", value_name = "N", value_parser = phi_cli::tokens, help_heading = "Memory and speed")]
    pub(crate) ctx_size: Option<usize>,

    /// Type of the KV cache: f32, f16, q8_0, q4_0 [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, help_heading = "Memory and speed")]
    pub(crate) kv: Option<DType>,

    /// Type of cached keys (also -ctk)
    #[arg(long, value_name = "TYPE", value_parser = kv_type, help_heading = "Memory and speed")]
    pub(crate) cache_type_k: Option<DType>,

    /// Type of cached values (also -ctv)
    #[arg(long, value_name = "TYPE", value_parser = kv_type, help_heading = "Memory and speed")]
    pub(crate) cache_type_v: Option<DType>,

    /// Tokens computed together (also -ub)
    #[arg(long, visible_alias = "ubatch", value_name = "N", help_heading = "Memory and speed")]
    pub(crate) ubatch_size: Option<usize>,

    /// The same as --ubatch-size, where that is not given
    #[arg(short, long, value_name = "N", help_heading = "Memory and speed")]
    pub(crate) batch_size: Option<usize>,

    /// Keep all of it within this, such as 3GB: by smaller batches, then (with --shrink-kv) a smaller KV cache, then a shorter context
    #[arg(long, value_name = "SIZE", help_heading = "Memory and speed")]
    pub(crate) max_ram: Option<Size>,

    /// With --max-ram: the KV cache may become q8_0, then q4_0
    #[arg(long, requires = "max_ram", help_heading = "Memory and speed")]
    pub(crate) shrink_kv: bool,

    /// Begin even if there does not seem to be enough memory
    #[arg(long, help_heading = "Memory and speed")]
    pub(crate) force: bool,

    /// Threads [default: physical cores]
    #[arg(short, long, value_name = "N", help_heading = "Memory and speed")]
    pub(crate) threads: Option<usize>,

    /// Instruction set, to find a fault: auto, scalar, …
    #[arg(long, value_name = "ISA", default_value = "auto", help_heading = "Memory and speed")]
    pub(crate) isa: String,

    /// Longrope factors: auto follows the length of the text, as the models were trained
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = RopeFactors::Auto, help_heading = "Memory and speed")]
    pub(crate) rope_factors: RopeFactors,
}

impl RunArgs {
    /// What is said about memory.
    pub(crate) fn limit(&self) -> Limit {
        Limit { max_ram: self.max_ram.map(|size| size.0), shrink_kv: self.shrink_kv, force: self.force }
    }
}

/// Which longrope factors.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the values are the option's own words")]
pub(crate) enum RopeFactors {
    Auto,
    Short,
    Long,
}

/// Flags of llama.cpp that mean something on a GPU, or for a cache we do not keep: accepted, so that a pasted command works.
#[derive(clap::Args, Debug)]
#[allow(missing_docs, reason = "the flags are llama.cpp's, hidden from the help")]
pub(crate) struct IgnoredArgs {
    #[arg(long, visible_alias = "gpu-layers", hide = true, allow_negative_numbers = true)]
    pub(crate) n_gpu_layers: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = false, default_missing_value = "on")]
    pub(crate) flash_attn: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) threads_batch: Option<usize>,
    #[arg(long, hide = true)]
    pub(crate) main_gpu: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) split_mode: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) tensor_split: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) device: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) mlock: bool,
    #[arg(long, hide = true)]
    pub(crate) no_repack: bool,
    #[arg(long, hide = true)]
    pub(crate) no_kv_offload: bool,
    #[arg(long, hide = true)]
    pub(crate) no_warmup: bool,
    #[arg(long, hide = true)]
    pub(crate) jinja: bool,
    #[arg(long, visible_alias = "conversation", hide = true)]
    pub(crate) chat: bool,
}

impl IgnoredArgs {
    /// The flags that were given, as they would be written.
    pub(crate) fn given(&self) -> Option<String> {
        let values = [
            ("-ngl", self.n_gpu_layers.is_some()),
            ("-fa", self.flash_attn.is_some()),
            ("-tb", self.threads_batch.is_some()),
            ("-mg", self.main_gpu.is_some()),
            ("-sm", self.split_mode.is_some()),
            ("-ts", self.tensor_split.is_some()),
            ("--device", self.device.is_some()),
            ("--mlock", self.mlock),
            ("--no-repack", self.no_repack),
            ("--no-kv-offload", self.no_kv_offload),
        ];
        let given: Vec<_> = values.iter().filter(|(_, given)| *given).map(|(flag, _)| format!("`{flag}`")).collect();
        (!given.is_empty()).then(|| given.join(", "))
    }
}

const PERPLEXITY_EXAMPLES: &str = "\
Examples:
  phi-run perplexity phi-4-mini-Q4_0.gguf -f wiki.test.raw
  phi-run perplexity phi-4-mini-F16.gguf -f wiki.test.raw --kl-divergence-base base.kld
  phi-run perplexity phi-4-mini-Q4_0.gguf --kl-divergence-base base.kld --kl-divergence

The second saves what the model says of every token, the third compares another type of the same \
model with that: it needs no text, as the base holds its tokens. A base is large: 400 KB for each \
scored token where the vocabulary has 200 000 entries.

Text, chunks, figures and bases are those of llama-perplexity, and either program reads the other's \
bases. Perplexities compare models of one vocabulary, on one text, with one -c.";

/// Perplexity of a text, and KL divergence from another model
///
/// The text is cut into chunks of -c tokens [default: 512]. Each is computed from nothing, and the second half of it is
/// scored: PPL = exp(mean of -log p). Lower is better. +/- is the standard error.
#[derive(clap::Args, Debug)]
#[command(after_help = PERPLEXITY_EXAMPLES, mut_arg("ctx_size", |c| c.help("Tokens of a chunk; 0 for what the model was trained on [default: 512]")))]
#[command(mut_arg("ubatch_size", |ub| ub.help("Tokens computed together, whose logits are in memory (also -ub) [default: 128]")))]
pub(crate) struct PerplexityArgs {
    /// A GGUF file [default: the model inside this program]
    pub(crate) model: Option<PathBuf>,

    /// The same as MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    pub(crate) model_flag: Option<PathBuf>,

    /// The text [default: standard input; with --kl-divergence the base's]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Chunks to measure at most; -1 for all
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) chunks: i64,

    /// Save the distributions here; with --kl-divergence, compare with those saved here
    #[arg(long, visible_alias = "save-all-logits", value_name = "FILE")]
    pub(crate) kl_divergence_base: Option<PathBuf>,

    /// Compare with the base
    #[arg(long, requires = "kl_divergence_base")]
    pub(crate) kl_divergence: bool,

    /// Read special tokens in the text as such; llama-perplexity does not
    #[arg(long)]
    pub(crate) special: bool,

    /// Print one JSON object with the figures
    #[arg(long)]
    pub(crate) json: bool,

    /// Say more: the memory table
    #[arg(short, long)]
    pub(crate) verbose: bool,

    #[arg(long, hide = true, allow_negative_numbers = true)]
    pub(crate) ppl_stride: Option<i64>,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    #[command(flatten)]
    pub(crate) ignored: IgnoredArgs,
}

/// Next-token logits, for comparing with other programs
#[derive(clap::Args, Debug)]
pub(crate) struct LogitsArgs {
    /// A GGUF file [default: the model inside this program]
    pub(crate) model: Option<PathBuf>,

    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    pub(crate) tokens: Vec<u32>,

    /// Logits of every position, not only of the last
    #[arg(long)]
    pub(crate) all: bool,

    /// Write f32 [positions, vocabulary] to a NumPy file instead of JSON to stdout
    #[arg(short, long, value_name = "FILE.npy")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Text to token ids, and back
#[derive(clap::Args, Debug)]
pub(crate) struct TokenizeArgs {
    /// A GGUF file, which need not hold tensors [default: the model inside this program]
    pub(crate) model: Option<PathBuf>,

    /// The text [default: standard input]
    #[arg(short, long, value_name = "TEXT", conflicts_with_all = ["file", "ids"])]
    pub(crate) prompt: Option<String>,

    /// Read the text from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "ids")]
    pub(crate) file: Option<PathBuf>,

    /// Read special tokens in the text as such
    #[arg(long, conflicts_with = "chat")]
    pub(crate) special: bool,

    /// Put the file's BOS in front
    #[arg(long)]
    pub(crate) bos: bool,

    /// The text is a question: render the chat template around it first
    #[arg(long)]
    pub(crate) chat: bool,

    /// The other way: ids, separated by commas, to text
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) ids: Option<Vec<u32>>,
}

pub(crate) fn kv_type(text: &str) -> Result<DType, String> {
    let types = [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0];
    let found = types.into_iter().find(|t| t.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "expected f32, f16, q8_0 or q4_0".into())
}

/// Short options of more than one letter, which llama.cpp has and the parser does not know.
const SHORT: &[(&str, &str)] = &[
    ("-sys", "--system-prompt"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    ("-ub", "--ubatch-size"),
    ("-no-cnv", "--no-chat"),
    ("-cnv", "--chat"),
    ("-ngl", "--n-gpu-layers"),
    ("-fa", "--flash-attn"),
    ("-tb", "--threads-batch"),
    ("-mg", "--main-gpu"),
    ("-sm", "--split-mode"),
    ("-ts", "--tensor-split"),
    ("-dev", "--device"),
    ("-nr", "--no-repack"),
    ("-nkvo", "--no-kv-offload"),
];

/// The arguments with llama.cpp's many-letter short options spelled out.
pub(crate) fn spelled_out(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    // Elsewhere some of them are a short option with its value: `-pg` is `-p g`.
    let more = if args.get(1).is_some_and(|arg| arg == "bench") { bench::SHORT } else { &[] };
    for arg in &mut args {
        if let Some((_, long)) = SHORT.iter().chain(more).find(|(short, _)| *arg == *short) {
            *arg = (*long).into();
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn pasted_llama_cpp_commands_parse() {
        let line = "phi-run -m model.gguf -ngl 99 -fa on -c 4096 -ctk q8_0 -ctv q8_0 -ub 256 -no-cnv -p hi -n 16 --temp 0 -s -1";
        let args = Args::try_parse_from(spelled_out(line.split(' ').map(Into::into))).unwrap();
        assert_eq!(args.run.cache_type_k, Some(DType::Q8_0));
        assert!(args.generate.no_chat);
        assert_eq!(args.ignored.given().as_deref(), Some("`-ngl`, `-fa`"));
    }
}
