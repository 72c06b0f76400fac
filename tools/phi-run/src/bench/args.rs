//! What `bench` was asked: llama-bench's options, whose lists make a grid. The comments are the help.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use phi_runtime::DType;

use crate::args::kv_type;

const EXAMPLES: &str = "\
Examples:
  phi-run bench                                       the small model inside this program
  phi-run bench phi-4-mini-Q4_0.gguf                  pp512 and tg128, five times each
  phi-run bench phi-4-mini:Q4_K_M                     random weights in Phi-4-mini's shapes: no file needed
  phi-run bench phi-4:Q4_0 --layers 4 -t 1,2,4        a grid over threads, of four of its layers
  phi-run bench model.gguf -p 0 -n 64 -d 0,4096 -ctk q8_0 -ctv q8_0
  phi-run bench model.gguf -p 128-1024*2 -n 0 -o csv > prompt.csv

-p, -n, -d, -t, -b, -ub, -ctk, -ctv, --kv and --isa take lists (`1,2`), and may be repeated; numbers \
also take ranges: `first-last`, `first-last+step`, `first-last*factor`. Every combination is a row, \
printed when it is done. Each has a session of its own, which is gone before the next one starts.

Columns are llama-bench's, and behind them ours. peak RSS: the most memory that was resident during \
the test, mapped weights included. GB/s (generation): bytes of weights and cache that a token has to \
read, times tokens/s. GMAC/s (prompts): multiply-adds of the matrices, without those of attention, a \
second. of peak: that, of what this machine does with as many threads when it does nothing else \
(more than all of it where a model fits the caches); measuring it takes about a second and 512 MiB \
for each number of threads, and --no-peaks leaves it out.

Random weights repeat 64 rows per tensor: they cost what real ones cost, and say nothing.";

/// Speed of prompts (pp) and of generation (tg), as llama-bench measures it
///
/// A test is a prompt of -p random tokens, computed in batches, or -n tokens computed one at a time, at a context that
/// already holds -d tokens. It is done once to warm up, then timed -r times: tokens/s as mean ± standard deviation.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// A GGUF file; or a known model's name, a Hugging Face folder or a config.json, with `:TYPE` behind it, for random weights [default: the model inside this program]
    pub(crate) model: Option<PathBuf>,

    /// The same as MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    pub(crate) model_flag: Option<PathBuf>,

    /// Random weights: so many layers [default: those of the model]
    #[arg(long, value_name = "N")]
    pub(crate) layers: Option<u32>,

    /// Tokens of a prompt; 0 for no such test [default: 512]
    #[arg(short = 'p', long, value_name = "N", help_heading = "Tests")]
    pub(crate) n_prompt: Vec<Numbers>,

    /// Tokens to generate; 0 for no such test [default: 128]
    #[arg(short = 'n', long, value_name = "N", help_heading = "Tests")]
    pub(crate) n_gen: Vec<Numbers>,

    /// A prompt and then generation, timed together (also -pg)
    #[arg(long, value_name = "PP,TG", help_heading = "Tests")]
    pub(crate) pg: Vec<PromptGen>,

    /// Tokens that the context already holds [default: 0]
    #[arg(short = 'd', long, value_name = "N", help_heading = "Tests")]
    pub(crate) n_depth: Vec<Numbers>,

    /// How often each test is timed
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Tests")]
    pub(crate) repetitions: u32,

    /// Do not run each test once before it is timed
    #[arg(long, help_heading = "Tests")]
    pub(crate) no_warmup: bool,

    /// Do not measure what the machine could do
    #[arg(long, help_heading = "Tests")]
    pub(crate) no_peaks: bool,

    /// How to print the rows
    #[arg(short, long, value_enum, default_value_t = Format::Md, value_name = "FORMAT", help_heading = "Output")]
    pub(crate) output: Format,

    /// The same as `-o json`
    #[arg(long, conflicts_with = "output", help_heading = "Output")]
    pub(crate) json: bool,

    /// Say more: the memory table of each test
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,

    /// Type of the KV cache: f32, f16, q8_0, q4_0 [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, value_delimiter = ',', conflicts_with_all = ["cache_type_k", "cache_type_v"], help_heading = "Memory and speed")]
    pub(crate) kv: Vec<DType>,

    /// Begin even if there does not seem to be enough memory
    #[arg(long)]
    pub(crate) force: bool,

    /// Type of cached keys (also -ctk) [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, value_delimiter = ',', help_heading = "Memory and speed")]
    pub(crate) cache_type_k: Vec<DType>,

    /// Type of cached values (also -ctv) [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, value_delimiter = ',', help_heading = "Memory and speed")]
    pub(crate) cache_type_v: Vec<DType>,

    /// Tokens of a prompt computed together (also -ub) [default: 512]
    #[arg(long, value_name = "N", help_heading = "Memory and speed")]
    pub(crate) ubatch_size: Vec<Numbers>,

    /// At most so many together, whatever -ub says [default: 2048]
    #[arg(short, long, value_name = "N", help_heading = "Memory and speed")]
    pub(crate) batch_size: Vec<Numbers>,

    /// Threads [default: physical cores]
    #[arg(short, long, value_name = "N", help_heading = "Memory and speed")]
    pub(crate) threads: Vec<Numbers>,

    /// Instruction sets: auto, scalar, … [default: auto]
    #[arg(long, value_name = "ISA", value_delimiter = ',', help_heading = "Memory and speed")]
    pub(crate) isa: Vec<String>,

    #[command(flatten)]
    pub(crate) ignored: IgnoredArgs,
}

/// How rows are printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the values are the option's own words")]
pub(crate) enum Format {
    Md,
    Csv,
    Json,
    Jsonl,
    Sql,
}

/// A list of numbers as it is typed: `1,2,8-32*2`.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(Vec<usize>);

impl Numbers {
    /// Those of all options of a name, or the default.
    pub(crate) fn all(options: &[Numbers], default: usize) -> Vec<usize> {
        match options {
            [] => vec![default],
            _ => options.iter().flat_map(|numbers| &numbers.0).copied().collect(),
        }
    }
}

/// No test has more tokens, and no list more values: what is larger was mistyped.
const MAX_NUMBER: usize = 1 << 30;
const MAX_VALUES: usize = 1000;

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Numbers, String> {
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, rest) = part.split_once('-').map_or((part, None), |(first, rest)| (first, Some(rest)));
            let first = number(first)?;
            let Some(rest) = rest else {
                numbers.push(first);
                continue;
            };
            let (last, step) = match rest.split_once(['+', '*']) {
                Some((last, step)) => (last, number(step)?),
                None => (rest, 1),
            };
            let (last, factor) = (number(last)?, rest.contains('*'));
            let stands_still = if factor { step < 2 || first == 0 } else { step == 0 };
            if stands_still || first > last {
                return Err(format!("`{part}` leads nowhere"));
            }
            let mut next = first;
            while next <= last && numbers.len() <= MAX_VALUES {
                numbers.push(next);
                next = if factor { next * step } else { next + step };
            }
        }
        match numbers.len() {
            ..=MAX_VALUES => Ok(Numbers(numbers)),
            _ => Err(format!("more than {MAX_VALUES} values")),
        }
    }
}

fn number(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|_| format!("`{text}` is not a whole number"))?;
    if number > MAX_NUMBER { Err(format!("{number} is more than {MAX_NUMBER}")) } else { Ok(number) }
}

/// A prompt and what is generated behind it, as it is typed: `512,128`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromptGen(pub(crate) usize, pub(crate) usize);

impl FromStr for PromptGen {
    type Err = String;

    fn from_str(text: &str) -> Result<PromptGen, String> {
        let (prompt, generated) = text.split_once(',').ok_or("expected two numbers, such as `512,128`")?;
        Ok(PromptGen(number(prompt)?, number(generated)?))
    }
}

/// Flags of llama-bench that mean something on a GPU, or for another runtime: accepted, so that a pasted command works. Here
/// each has a value.
#[derive(clap::Args, Debug)]
#[allow(missing_docs, reason = "the flags are llama-bench's, hidden from the help")]
pub(crate) struct IgnoredArgs {
    #[arg(long, visible_alias = "gpu-layers", hide = true, allow_hyphen_values = true)]
    pub(crate) n_gpu_layers: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) n_cpu_moe: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) split_mode: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) main_gpu: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) no_kv_offload: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) flash_attn: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) device: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) tensor_split: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) override_tensor: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) no_op_offload: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) no_host: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) repack: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) load_mode: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) mmap: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) poll: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) numa: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(crate) prio: Option<String>,
    #[arg(short = 'C', long, hide = true)]
    pub(crate) cpu_mask: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpu_strict: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) progress: bool,
}

impl IgnoredArgs {
    /// The flags that were given, as they would be written. A progress bar is shown anyway.
    pub(crate) fn given(&self) -> Option<String> {
        let values = [
            ("-ngl", &self.n_gpu_layers),
            ("-ncmoe", &self.n_cpu_moe),
            ("-sm", &self.split_mode),
            ("-mg", &self.main_gpu),
            ("-nkvo", &self.no_kv_offload),
            ("-fa", &self.flash_attn),
            ("-dev", &self.device),
            ("-ts", &self.tensor_split),
            ("-ot", &self.override_tensor),
            ("-nopo", &self.no_op_offload),
            ("--no-host", &self.no_host),
            ("--repack", &self.repack),
            ("-lm", &self.load_mode),
            ("-mmp", &self.mmap),
            ("--poll", &self.poll),
            ("--numa", &self.numa),
            ("--prio", &self.prio),
            ("-C", &self.cpu_mask),
            ("--cpu-strict", &self.cpu_strict),
        ];
        let given: Vec<_> = values.iter().filter(|(_, v)| v.is_some()).map(|(flag, _)| format!("`{flag}`")).collect();
        (!given.is_empty()).then(|| given.join(", "))
    }
}

/// Short options of more than one letter that only llama-bench has.
pub(crate) const SHORT: &[(&str, &str)] = &[
    ("-pg", "--pg"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-ot", "--override-tensor"),
    ("-nopo", "--no-op-offload"),
    ("-lm", "--load-mode"),
    ("-mmp", "--mmap"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_as_llama_bench_reads_them() {
        let numbers = |text: &str| text.parse::<Numbers>().map(|numbers| numbers.0);
        assert_eq!(numbers("512"), Ok(vec![512]));
        assert_eq!(numbers("0,128,7"), Ok(vec![0, 128, 7]));
        assert_eq!(numbers("1-4,9"), Ok(vec![1, 2, 3, 4, 9]));
        assert_eq!(numbers("128-512+128"), Ok(vec![128, 256, 384, 512]));
        assert_eq!(numbers("1-9*2"), Ok(vec![1, 2, 4, 8]));
        for text in ["", "a", "-1", "1,", "4-1", "1-4+0", "1-4*1", "0-4*2", "1-2-3", "0-99999", "99999999999999999999"]
        {
            assert!(numbers(text).is_err(), "{text}");
        }
    }
}
