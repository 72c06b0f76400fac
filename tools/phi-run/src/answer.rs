//! One answer to one prompt.

use std::ops::ControlFlow;

use phi_cli::{Io, Progress, Report};
use phi_runtime::{Error, Finish, Message, Plan, Prompt, Sampler, Session, Special};
use serde_json::json;

use crate::job::Generate;
use crate::shown::Shown;
use crate::{memory, report};

pub(crate) fn answer(job: Generate, io: &mut Io) -> Result<(), Report> {
    let question = job.prompt.clone().unwrap_or_default();
    let failed = |e: Error| report::of(&e).file(&job.name);
    let empty = || Report::misuse("the prompt is empty").hint("give one with `-p`, `-f`, or through a pipe");
    if question.is_empty() {
        return Err(empty());
    }
    let prompt = if job.chat_template {
        chat_prompt(&job, &messages(&job, &question), io)?
    } else {
        let special = if job.special { Special::Parse } else { Special::Plain };
        job.engine.text().map_err(failed)?.raw(&question, special)
    };
    // A vocabulary may have nothing for a text.
    if prompt.tokens.is_empty() {
        return Err(empty());
    }
    let plan = job.plan(prompt.tokens.len(), io)?;
    let mut session = job.engine.session(&plan).map_err(failed)?;
    prefill(&mut session, &prompt, io).map_err(failed)?;

    let mut shown = Shown::new(job.wishes(&prompt));
    let sampler = Sampler::new(job.sampling.clone(), job.engine.decoder().n_vocab);
    let finish = generate(&job, &mut session, sampler, io, |io, piece| shown.piece(io, piece))?;
    let said = shown.finish(io)?;
    if job.json {
        let (prompt, generated) = (session.prompt_tally(), session.generated_tally());
        let mut object = json!({
            "finish": finish.name(),
            "prompt_tokens": prompt.tokens,
            "prompt_tokens_per_second": prompt.rate(),
            "generated_tokens": session.n_generated(),
            "generated_tokens_per_second": generated.rate(),
            "weight_bytes": plan.weight_bytes(),
            "buffer_bytes": plan.buffer_bytes(),
        });
        said.fields(job.hide_thinking).into_iter().for_each(|(key, value)| object[key] = value);
        io.json(&object)?;
    } else {
        io.stream("\n")?;
    }
    if finish == End::By(Finish::ContextFull) {
        let longer = session.n_ctx() * 2;
        io.warn(format_args!("the context of {} tokens is full; `-c {longer}` makes it longer", session.n_ctx()));
    }
    if job.hide_thinking && said.is_all_thinking() {
        io.warn("the model was still thinking when it ended: a larger `-n` or `-c` lets it answer");
    }
    said.tell_calls("", io);
    io.note(memory::speed(&session));
    io.note(memory::line(&plan));
    if finish == End::Interrupted { Err(Report::interrupted()) } else { Ok(()) }
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    By(Finish),
    StopString,
    Interrupted,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            End::By(Finish::Stop(_)) | End::StopString => "stop",
            End::By(Finish::Length) => "length",
            End::By(Finish::ContextFull) => "context",
            End::By(Finish::Failed) => "failed",
            End::Interrupted => "interrupted",
        }
    }
}

/// System prompt and question.
fn messages(job: &Generate, question: &str) -> Vec<Message> {
    job.before(job.system.as_deref()).into_iter().chain([Message::new("user", question)]).collect()
}

/// A conversation as tokens; with `-v`, exactly what the model gets.
pub(crate) fn chat_prompt(job: &Generate, messages: &[Message], io: &mut Io) -> Result<Prompt, Report> {
    let prompt = job.engine.text().and_then(|text| text.chat(messages)).map_err(|e| {
        report::of(&e).file(&job.name).hint("`--no-chat` continues raw text, `--chat-template` takes another template")
    })?;
    if let Some(rendered) = &prompt.rendered {
        rendered.notes().iter().for_each(|note| io.note(format_args!("note: {note}")));
        io.verbose(format_args!("prompt: {:?} = {} tokens", rendered.text(), prompt.tokens.len()));
    }
    Ok(prompt)
}

/// With `-v`, the memory table.
pub(crate) fn show_plan(plan: &Plan, io: &mut Io) {
    for row in plan.rows() {
        io.verbose(format_args!("plan: {:10} {:>14} bytes  {:?} × {}", row.name, row.bytes, row.dims, row.elem_bytes));
    }
}

/// Makes the prompt the session's sequence, with a bar where that takes its time; Ctrl-C stops it.
pub(crate) fn prefill(session: &mut Session<'_>, prompt: &Prompt, io: &mut Io) -> Result<(), Error> {
    let interrupt = io.interrupt().clone();
    let mut bar: Option<Progress> = None;
    let mut shown = 0;
    session.sync(&prompt.tokens, |progress| {
        let bar = bar.get_or_insert_with(|| Progress::tokens(io, progress.total as u64));
        bar.name(if progress.recomputing { "computing earlier text again" } else { "prompt" });
        bar.add((progress.done.saturating_sub(shown)) as u64);
        shown = progress.done;
        if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Generates, handing each piece of text to `each`, until the model, a stop string, a limit or Ctrl-C ends it.
pub(crate) fn generate(
    job: &Generate,
    session: &mut Session<'_>,
    sampler: Sampler,
    io: &mut Io,
    mut each: impl FnMut(&mut Io, &str) -> Result<(), Report>,
) -> Result<End, Report> {
    let failed = |e: Error| report::of(&e).file(&job.name);
    let tokenizer = job.engine.text().map_err(failed)?.tokenizer();
    let mut generation = session.generate(sampler, job.limit);
    if job.ignore_stops {
        generation = generation.ignore_stops();
    }
    for piece in generation.text(tokenizer, &job.stops) {
        each(io, &piece.map_err(failed)?)?;
        if io.interrupt().is_set() {
            return Ok(End::Interrupted);
        }
    }
    Ok(generation.finish().map_or(End::StopString, End::By))
}
