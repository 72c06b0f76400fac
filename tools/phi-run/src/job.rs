//! What the arguments mean: files read, defaults taken from the model and the machine.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use phi_cli::{Exit, Io, Report, physical_cores};
use phi_runtime::{Bytes, DType, Engine, FactorChoice, Factors, Message, Plan, Prompt, RunOptions, Sampling, Tools};

use crate::admit::{self, Limit};
use crate::args::{GenerateArgs, RopeFactors, RunArgs};
use crate::embedded::PHI_TINY;
use crate::report;
use crate::shown::Wishes;

/// A model, and what is wanted of it.
pub(crate) struct Generate {
    pub(crate) engine: Engine,
    pub(crate) name: String,
    pub(crate) prompt: Option<String>,
    pub(crate) system: Option<String>,
    pub(crate) tools: Option<Tools>,
    pub(crate) chat_template: bool,
    pub(crate) special: bool,
    pub(crate) limit: usize,
    pub(crate) stops: Vec<String>,
    pub(crate) ignore_stops: bool,
    pub(crate) sampling: Sampling,
    pub(crate) json: bool,
    pub(crate) hide_thinking: bool,
    pub(crate) options: RunOptions,
    pub(crate) memory: Limit,
}

impl Generate {
    pub(crate) fn new(model: Option<PathBuf>, typed: GenerateArgs, run: RunArgs, io: &mut Io) -> Result<Self, Report> {
        let options = run_options(&run)?;
        let prompt = prompt(typed.prompt.clone(), typed.file.as_deref())?;
        let tools = typed.tools.as_deref().map(tools).transpose()?;
        let (mut engine, name) = open(model.as_deref(), io)?;
        if let Some(template) = &typed.chat_template {
            set_template(&mut engine, template)?;
        }
        let sampling = sampling(&engine, &typed).map_err(|e| e.file(&name))?;
        let no_template =
            engine.text().is_ok_and(|text| matches!(text.template(), Err(phi_runtime::Error::NoTemplate)));
        if no_template && tools.is_some() {
            let report = Report::new("has no chat template, so there is no place for tools").file(&name);
            return Err(report.exit(Exit::Misused).hint("`--chat-template` gives it one"));
        }
        if no_template && !typed.no_chat {
            io.note("note: this file has no chat template, so the prompt is continued as it is");
        }
        Ok(Generate {
            engine,
            name,
            prompt,
            system: typed.system_prompt,
            tools,
            chat_template: !typed.no_chat && !no_template,
            special: typed.special,
            limit: usize::try_from(typed.n_predict).unwrap_or(usize::MAX),
            stops: typed.reverse_prompt,
            ignore_stops: typed.ignore_eos,
            sampling,
            json: typed.json,
            hide_thinking: typed.no_thinking,
            options,
            memory: run.limit(),
        })
    }

    /// What comes before the conversation: instructions, and the tools that the model may call.
    pub(crate) fn before(&self, instructions: Option<&str>) -> Option<Message> {
        let tools = self.tools.as_ref().map(|tools| tools.json().to_string());
        let needed = instructions.is_some() || tools.is_some();
        needed.then(|| Message { tools, ..Message::new("system", instructions.unwrap_or_default()) })
    }

    /// How the answer to a prompt is to be shown.
    pub(crate) fn wishes(&self, prompt: &Prompt) -> Wishes {
        Wishes {
            parts: self.chat_template,
            thinking: prompt.rendered.as_ref().is_some_and(|rendered| rendered.opens_thinking()),
            hide_thinking: self.hide_thinking,
            silent: self.json,
        }
    }

    /// A terminal and nothing to answer: a conversation.
    pub(crate) fn is_chat(&self, io: &Io) -> bool {
        self.prompt.is_none()
            && self.chat_template
            && io.out_is_terminal()
            && std::io::stdin().is_terminal()
            && !self.json
    }

    /// The plan for a prompt of so many tokens, if there is memory for it. A context that was not asked for grows with the
    /// prompt.
    pub(crate) fn plan(&self, prompt_tokens: usize, io: &mut Io) -> Result<Plan, Report> {
        let failed = |e| report::of(&e).file(&self.name);
        let plan = self.engine.plan(&self.options).map_err(failed)?;
        // Room for an answer of some length, where no length was asked for.
        let answer = if self.limit == usize::MAX { 512 } else { self.limit };
        let needed = prompt_tokens.saturating_add(answer);
        let mut options = self.options.clone();
        if options.n_ctx.is_none() && needed > plan.n_ctx() {
            let trained = self.engine.decoder().n_ctx_train;
            options.n_ctx = Some(needed.next_multiple_of(256).min(trained).max(plan.n_ctx()));
        }
        admit::admit(&self.engine, &self.name, &options, self.memory, prompt_tokens, io)
    }
}

/// Opens a model, or the one inside the program, and says what is odd about it.
pub(crate) fn open(model: Option<&Path>, io: &mut Io) -> Result<(Engine, String), Report> {
    let name = model.map_or("phi-tiny".into(), |path| path.display().to_string());
    let engine = match model {
        Some(path) => Engine::open(path).map_err(|e| report::opening(&e, path))?,
        None => Engine::from_bytes(Bytes::new(PHI_TINY)).map_err(|e| report::of(&e).file(&name))?,
    };
    for warning in engine.warnings() {
        io.warn(format_args!("{name}: {warning}"));
    }
    Ok((engine, name))
}

pub(crate) fn run_options(run: &RunArgs) -> Result<RunOptions, Report> {
    let default = RunOptions::default();
    let kv = run.kv.unwrap_or(DType::F16);
    Ok(RunOptions {
        n_ctx: run.ctx_size,
        n_batch: run.ubatch_size.or(run.batch_size).unwrap_or(default.n_batch),
        k_type: run.cache_type_k.unwrap_or(kv),
        v_type: run.cache_type_v.unwrap_or(kv),
        threads: run.threads.unwrap_or_else(physical_cores),
        isa: run.isa.parse().map_err(|e| Report::misuse(format_args!("--isa: {e}")))?,
        factors: match run.rope_factors {
            RopeFactors::Auto => FactorChoice::Auto,
            RopeFactors::Short => FactorChoice::Always(Factors::Short),
            RopeFactors::Long => FactorChoice::Always(Factors::Long),
        },
        ..default
    })
}

/// The prompt, wherever it comes from; `None` when a person is to be asked.
pub(crate) fn prompt(text: Option<String>, file: Option<&Path>) -> Result<Option<String>, Report> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path);
        return text.map(Some).map_err(|e| Report::new("cannot read the prompt").file(path).causes(Some(&e)));
    }
    if text.is_some() || std::io::stdin().is_terminal() {
        return Ok(text);
    }
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|e| Report::new("cannot read the prompt from standard input").causes(Some(&e)))?;
    // The line end is the shell's, not the question's.
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(Some(text))
}

fn tools(path: &Path) -> Result<Tools, Report> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|e| Report::new("cannot read the tools").file(path).causes(Some(&e)))?;
    Tools::parse(&text).map_err(|e| {
        let report = Report::of(&e).file(path).exit(Exit::Misused);
        report.hint(r#"as `[{"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}]`"#)
    })
}

fn set_template(engine: &mut Engine, template: &str) -> Result<(), Report> {
    let is_source = template.contains("{{") || template.contains("{%");
    let source = if is_source {
        template.to_string()
    } else {
        std::fs::read_to_string(template).map_err(|e| {
            let report = Report::new("cannot read the chat template").file(template).causes(Some(&e));
            report.hint("give a file, or Jinja source with `{{ … }}` in it")
        })?
    };
    let text = engine.text_mut().map_err(|e| report::of(&e))?;
    text.set_template(&source).map_err(|e| report::of(&e).exit(Exit::Misused))
}

/// What was typed, over what the file recommends, over the usual.
fn sampling(engine: &Engine, typed: &GenerateArgs) -> Result<Sampling, Report> {
    let of_file = engine.sampling().map_err(|e| report::of(&e))?;
    let seconds = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64);
    let sampling = Sampling {
        temp: typed.temp.unwrap_or(of_file.temp),
        top_k: typed.top_k.unwrap_or(of_file.top_k),
        top_p: typed.top_p.unwrap_or(of_file.top_p),
        min_p: typed.min_p.unwrap_or(of_file.min_p),
        repeat_penalty: typed.repeat_penalty.unwrap_or(of_file.repeat_penalty),
        repeat_last_n: typed.repeat_last_n.unwrap_or(of_file.repeat_last_n),
        presence_penalty: typed.presence_penalty.unwrap_or(of_file.presence_penalty),
        frequency_penalty: typed.frequency_penalty.unwrap_or(of_file.frequency_penalty),
        seed: u64::try_from(typed.seed).unwrap_or_else(|_| seconds()),
    };
    let ranges = [
        ("--temp", sampling.temp, 0.0..=1e4),
        ("--top-p", sampling.top_p, 0.0..=1.0),
        ("--min-p", sampling.min_p, 0.0..=1.0),
        ("--repeat-penalty", sampling.repeat_penalty, 1e-3..=1e3),
        ("--presence-penalty", sampling.presence_penalty, -1e3..=1e3),
        ("--frequency-penalty", sampling.frequency_penalty, -1e3..=1e3),
    ];
    for (flag, value, range) in ranges {
        if !range.contains(&value) {
            return Err(Report::misuse(format_args!(
                "{flag}: {value} is not from {} to {}",
                range.start(),
                range.end()
            )));
        }
    }
    Ok(sampling)
}
