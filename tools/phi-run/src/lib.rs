//! `phi-run`: what was typed (`args`) becomes what it means (`job`), is held against the memory there is
//! (`admit`), and done (`answer`, `bench`, `chat`,
//! `logits`, `perplexity`, `plan`, `tokenize`). Errors are rendered here, and nowhere else.

#![forbid(unsafe_code)]

mod admit;
mod answer;
mod args;
mod bench;
mod chat;
mod embedded;
mod job;
mod logits;
mod memory;
mod named;
mod perplexity;
mod plan;
mod report;
mod shown;
mod tokenize;

use std::ffi::OsString;

use phi_cli::{Align, Exit, Io, Report, Table, Talk};

pub use embedded::PHI_TINY;

use args::{Args, Command};

/// Runs the program: parse, do, report.
pub fn main(args: impl IntoIterator<Item = OsString>, io: &mut Io) -> Exit {
    match phi_cli::parse::<Args>(args::spelled_out(args), io) {
        Ok(args) => {
            let result = run(args, io);
            io.end(result)
        }
        Err(exit) => exit,
    }
}

fn run(args: Args, io: &mut Io) -> Result<(), Report> {
    if args.verbose {
        io.set_talk(Talk::Verbose);
    }
    if args.limits {
        return limits(io);
    }
    let ignored = match &args.command {
        Some(Command::Perplexity(typed)) => typed.ignored.given(),
        Some(Command::Bench(typed)) => typed.ignored.given(),
        Some(Command::Plan(_)) => None,
        _ => args.ignored.given(),
    };
    if let Some(flags) = ignored {
        io.note(format_args!("note: {flags} is for GPUs or other runtimes, and changes nothing here"));
    }
    match args.command {
        None => {
            let job = job::Generate::new(args.model.or(args.model_flag), args.generate, args.run, io)?;
            if job.is_chat(io) { chat::chat(job, io) } else { answer::answer(job, io) }
        }
        Some(Command::Plan(typed)) => plan::plan(&typed, io),
        Some(Command::Bench(typed)) => bench::bench(&typed, io),
        Some(Command::Perplexity(typed)) => perplexity::perplexity(typed, io),
        Some(Command::Logits(typed)) => logits::logits(typed, io),
        Some(Command::Tokenize(typed)) => tokenize::tokenize(typed, io),
        Some(Command::Completions { shell }) => Ok(phi_cli::completions::<Args>(shell, io)?),
    }
}

fn limits(io: &mut Io) -> Result<(), Report> {
    let mut table = Table::new([("limit", Align::Left), ("at most", Align::Right), ("why", Align::Left)]);
    for limit in phi_runtime::limits() {
        table.row([limit.item.into(), limit.max.to_string(), limit.why.into()]);
    }
    Ok(io.print(table)?)
}
