//! What was typed. The comments here are the help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use phi_cli::{Shell, Size, Talk};

const USAGE: &str = "phi-quantize [OPTIONS] <SRC> [OUT] <TYPE> [NTHREADS]
       phi-quantize --fit <SIZE> [-c <N>] [OPTIONS] <SRC> [OUT]
       phi-quantize inspect <FILE> [--tensors] [--json]
       phi-quantize check <FILE> [--json]
       phi-quantize compare <A> <B> [--json]
       phi-quantize split [--split-max-tensors N | --split-max-size SIZE] <IN> <OUT_PREFIX>
       phi-quantize merge <FIRST_PART> <OUT>
       phi-quantize synth <NAME> <TYPE> <OUT> [--seed N] [--layers N] [--vocab none|bytes] [--safetensors]
       phi-quantize completions <SHELL>";

const EXAMPLES: &str = "Examples:
  phi-quantize models/phi-4-mini Q8_0
      reads config.json, the tokenizer and *.safetensors, writes models/phi-4-mini/ggml-model-Q8_0.gguf
  phi-quantize models/phi-4-mini phi-4-mini-Q4_K_M.gguf Q4_K_M 8
      names the output, uses 8 threads
  phi-quantize --dry-run models/phi-4 Q4_K_M
      says how large the file will be, to the byte
  phi-quantize --stats --tensor-type ffn_down=q6_k phi-4-BF16.gguf phi-4-mine.gguf Q4_K_S
      gives some tensors another type, and measures what is lost
  phi-quantize --fit 7GB -c 8k models/phi-4 phi-4-7GB.gguf
      chooses a type for each tensor, so that a run with that context takes no more
  phi-quantize inspect phi-4-mini-Q4_K_M.gguf --tensors
      shows what is in a file
  phi-quantize check phi-4-mini-Q4_0.gguf
      looks at every number in it
  phi-quantize compare models/phi-4-mini phi-4-mini-Q4_0.gguf
      says what the type cost, tensor by tensor
  phi-quantize synth phi-4 Q4_0 random.gguf --layers 8
      makes something to measure speed and memory with, without a download

Types, by bits per weight of Phi-4:
  32 F32 · 16 F16, BF16 (as trained) · 8.5 Q8_0 · 6.6 Q6_K · 6.0 Q5_1 · 5.7 Q5_K_M · 5.5 Q5_K_S, Q5_0
  5.1 Q4_1 · 4.9 Q4_K_M (a good first choice) · 4.7 IQ4_NL · 4.6 Q4_K_S, Q4_0 · 4.5 IQ4_XS
  4.4 Q3_K_L · 4.0 Q3_K_M · 3.5 Q3_K_S · 3.2 Q2_K · Q2_K_S (needs --imatrix)
  2.3 TQ2_0 and 2.0 TQ1_0 (for models trained with three values) · MXFP4_MOE (4.25 in experts)";

/// Makes GGUF models from Hugging Face folders, or from other GGUFs.
///
/// SRC is a folder with config.json, the tokenizer's files and *.safetensors, or a GGUF with F32, F16 or BF16 weights.
/// TYPE is the type that most weights get. Tensors are converted one slab of rows at a time: a model of any size needs
/// some 200 MB of memory. The file appears under its name when it is complete, or not at all.
#[derive(Parser, Debug)]
#[command(name = "phi-quantize", version, override_usage = USAGE, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) quantize: Quantize,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Shows what is in a GGUF or safetensors file
    Inspect(Inspect),
    /// Looks at every number of a file or folder
    Check(crate::check::Check),
    /// Says how far the numbers of B are from those of A
    Compare(crate::compare::Compare),
    /// Makes a model of random weights in the shapes of a known one
    Synth(crate::synth::Synth),
    /// Cuts a GGUF into parts, as llama-gguf-split does
    Split(crate::split::Split),
    /// Joins the parts of a GGUF
    Merge(crate::split::Merge),
    /// Prints a script that completes this program's arguments in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct Inspect {
    /// A GGUF (any part of a split one) or a safetensors file
    pub(crate) file: PathBuf,
    /// Lists every tensor
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Quantize {
    /// Source, output (or ggml-model-TYPE.gguf beside the source), type, number of threads
    #[arg(value_name = "SRC [OUT] TYPE [NTHREADS]", num_args = 1.., required = true)]
    pub(crate) words: Vec<OsString>,
    /// Importance matrix, GGUF or .dat, of the same model
    #[arg(long, value_name = "FILE", help_heading = "Types")]
    pub(crate) imatrix: Option<PathBuf>,
    /// Uses the matrix for tensors with this in their name only (may be given often)
    #[arg(long, value_name = "PART", help_heading = "Types", conflicts_with = "exclude_weights")]
    pub(crate) include_weights: Vec<String>,
    /// Does not use the matrix for tensors with this in their name (may be given often)
    #[arg(long, value_name = "PART", help_heading = "Types")]
    pub(crate) exclude_weights: Vec<String>,
    /// The type of tensors whose name a pattern matches, such as `ffn_down=q6_k` (may be given often; the first that matches)
    #[arg(long, value_name = "REGEX=TYPE", help_heading = "Types")]
    pub(crate) tensor_type: Vec<String>,
    /// More of them, from a file, separated by white space
    #[arg(long, value_name = "FILE", help_heading = "Types")]
    pub(crate) tensor_type_file: Option<PathBuf>,
    /// The type of the head, output.weight
    #[arg(long, value_name = "TYPE", help_heading = "Types")]
    pub(crate) output_tensor_type: Option<String>,
    /// The type of the embedding
    #[arg(long, value_name = "TYPE", help_heading = "Types")]
    pub(crate) token_embedding_type: Option<String>,
    /// Leaves the head as it is
    #[arg(long, help_heading = "Types")]
    pub(crate) leave_output_tensor: bool,
    /// The same type everywhere, no mixture
    #[arg(long, help_heading = "Types")]
    pub(crate) pure: bool,
    /// In place of TYPE: the types that lose least of all that fit into this memory with everything else a run takes, such as 7GB; printed as --tensor-type-file reads them
    #[arg(long, value_name = "SIZE", help_heading = "Types", conflicts_with_all = ["tensor_type", "tensor_type_file", "pure", "imatrix", "reference", "json"])]
    pub(crate) fit: Option<Size>,
    /// With --fit: positions of the context, such as 8192 or 8k [default: trained, at most 4096]
    #[arg(short, long, visible_alias = "ctx", value_name = "N", value_parser = phi_cli::tokens, requires = "fit", help_heading = "Types")]
    pub(crate) ctx_size: Option<usize>,
    /// With --fit: the type of the KV cache, f16, q8_0 or q4_0 [default: f16]
    #[arg(long, value_name = "TYPE", requires = "fit", help_heading = "Types")]
    pub(crate) kv: Option<String>,
    /// Which generation of the mixtures: they differ in fused QKV matrices
    #[arg(long, value_enum, default_value_t = RuleArg::Current, help_heading = "Types")]
    pub(crate) rule: RuleArg,
    /// Quantizes what is quantized already: quality suffers twice
    #[arg(long, help_heading = "Types")]
    pub(crate) allow_requantize: bool,
    /// Promises llama-quantize's bytes of a GGUF (of a folder, those of its tensors), and refuses what would break that
    #[arg(long, conflicts_with_all = ["nan", "rule"], help_heading = "Types")]
    pub(crate) reference: bool,
    /// Sets a key: `KEY=int:1`, `float:0.5`, `bool:true` or `str:text` (may be given often)
    #[arg(long, value_name = "KEY=TYPE:VALUE", help_heading = "Output")]
    pub(crate) override_kv: Vec<String>,
    /// Splits the output where the input is split
    #[arg(long, help_heading = "Output")]
    pub(crate) keep_split: bool,
    /// Replaces an existing output
    #[arg(long, help_heading = "Output")]
    pub(crate) force: bool,
    /// Reads the finished file back and compares checksums
    #[arg(long, help_heading = "Output")]
    pub(crate) verify: bool,
    /// Leaves the unfinished file where it is when something goes wrong
    #[arg(long, help_heading = "Output")]
    pub(crate) keep_partial: bool,
    /// What to do with a weight that is no number (NaN) or infinite
    #[arg(long, value_enum, default_value_t = Nan::Error)]
    pub(crate) nan: Nan,
    /// The pre-tokenizer, where that of tokenizer.json is not recognised
    #[arg(long, value_name = "NAME")]
    pub(crate) pre: Option<String>,
    /// Writes nothing, says how large the file would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Measures what is lost, by type and of the worst tensor
    #[arg(long)]
    pub(crate) stats: bool,
    /// Memory for rows on their way, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    pub(crate) max_buffer_size: u64,
    /// Prints the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Number of threads [default: physical cores]
    #[arg(short, long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Says a line per tensor
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Says nothing but warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// What to do with a weight that is not finite.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nan {
    /// Stop, and say where it is
    Error,
    /// Write 0 in its place, and count
    Zero,
}

/// Which generation of the mixtures.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RuleArg {
    /// Fused QKV counts as values, as in llama.cpp today
    Current,
    /// Fused QKV has its own rule, as in older releases and many published files
    Classic,
}

impl Quantize {
    pub(crate) fn talk(&self) -> Talk {
        match (self.quiet, self.verbose) {
            (true, _) => Talk::Quiet,
            (_, true) => Talk::Verbose,
            _ => Talk::Normal,
        }
    }
}
