use std::path::PathBuf;

use clap::ValueEnum;
use phi_cli::Size;

use crate::args::RunArgs;

const EXAMPLES: &str = "\
Examples:
  phi-run plan phi-4-mini                       does it fit here, and what would fit best?
  phi-run plan phi-4:Q4_K_M -c 16k --ram 12GB   on another machine
  phi-run plan phi-4-mini --device pi5-8gb      with the most tokens/s that its memory allows
  phi-run plan phi-4:Q4_K_M --vram 12GB         how much of it goes onto a graphics card
  phi-run plan model.gguf -c 8192 --verify      load it, fill the context, compare

Sizes are in MiB of 1024 × 1024 bytes, unless they say GB. `fits` is at most nine tenths of what is \
available, `tight` all of it; `slow` is when all but the weights fits, which then are read from the \
disk for every token; `no` is not. With a GGUF the types are the file's own; without one they are \
those that phi-quantize would choose.

Exit status: 0 for fits, tight and slow, 3 for no.";

/// How much memory a model takes, and whether there is so much
///
/// Only headers are read. The buffers are those that a run allocates: it executes the same plan.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    /// A GGUF, a Hugging Face folder, a config.json, or a known model's name, with `:TYPE` behind it [default: the model inside this program]
    pub(crate) models: Vec<PathBuf>,

    /// The same as MODELS
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "models")]
    pub(crate) model_flag: Option<PathBuf>,

    /// Plan for a machine with this much memory left, such as 8GB
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    pub(crate) ram: Option<Size>,

    /// Plan for a graphics card of this size: everything on it, or how many layers
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    pub(crate) vram: Option<Size>,

    /// Plan for a machine people have: pi5-8gb, laptop-16gb, rtx3060-12gb, …; `list` for all
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub(crate) device: Option<String>,

    /// Conversations at the same time, each with a cache of its own
    #[arg(long, visible_alias = "parallel", value_name = "N", default_value_t = 1, help_heading = "Machine")]
    pub(crate) seqs: usize,

    /// Mixtures as they are today, or as in files made before the spring of 2026
    #[arg(long, value_enum, value_name = "RULE", default_value_t = RuleArg::Current)]
    pub(crate) rule: RuleArg,

    /// Only the table of all quantizations and contexts
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub(crate) table: Option<TableFormat>,

    /// Print the plan as one JSON object
    #[arg(long, conflicts_with = "table", help_heading = "Output")]
    pub(crate) json: bool,

    /// Draw memory against context, one line for each quantization
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,

    /// Load the model, fill the context, and compare; fails above 2 % (or 4 MiB)
    #[arg(long, conflicts_with_all = ["ram", "vram", "device", "table", "svg"])]
    pub(crate) verify: bool,

    /// Every buffer by itself
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Which generation of mixtures.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the values are the option's own words")]
pub(crate) enum RuleArg {
    Current,
    Classic,
}

/// How to print the table.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the values are the option's own words")]
pub(crate) enum TableFormat {
    Md,
    Csv,
    Json,
}
