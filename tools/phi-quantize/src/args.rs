//! What was typed. The comments here are the help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use phi_cli::{Shell, Talk};

const USAGE: &str = "phi-quantize [OPTIONS] <SRC> [OUT] <TYPE> [NTHREADS]
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
  phi-quantize models/phi-4-mini phi-4-mini-Q4_0.gguf Q4_0 8
      names the output, uses 8 threads
  phi-quantize --dry-run models/phi-4 Q4_0
      says how large the file will be, to the byte
  phi-quantize inspect phi-4-mini-Q4_0.gguf --tensors
      shows what is in a file
  phi-quantize check phi-4-mini-Q4_0.gguf
      looks at every number in it
  phi-quantize compare models/phi-4-mini phi-4-mini-Q4_0.gguf
      says what the type cost, tensor by tensor
  phi-quantize synth phi-4 Q4_0 random.gguf --layers 8
      makes something to measure speed and memory with, without a download

Types: F32, F16, BF16 (as trained), Q8_0 (8.5 bits per weight, no visible loss), Q4_0 (4.5 bits, smallest)";

/// Makes GGUF models from Hugging Face folders.
///
/// SRC is a folder with config.json, the tokenizer's files and *.safetensors, or a GGUF with F32, F16 or BF16 weights.
/// TYPE is the type that most weights get. Tensors are converted one slab of rows at a time: a model of any size needs
/// some 100 MB of memory. The file appears under its name when it is complete, or not at all.
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
    /// Replaces an existing output
    #[arg(long)]
    pub(crate) force: bool,
    /// What to do with a weight that is no number (NaN) or infinite
    #[arg(long, value_enum, default_value_t = Nan::Error)]
    pub(crate) nan: Nan,
    /// The pre-tokenizer, where that of tokenizer.json is not recognised
    #[arg(long, value_name = "NAME")]
    pub(crate) pre: Option<String>,
    /// Writes nothing, says how large the file would be
    #[arg(long)]
    pub(crate) dry_run: bool,
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

impl Quantize {
    pub(crate) fn talk(&self) -> Talk {
        match (self.quiet, self.verbose) {
            (true, _) => Talk::Quiet,
            (_, true) => Talk::Verbose,
            _ => Talk::Normal,
        }
    }
}
