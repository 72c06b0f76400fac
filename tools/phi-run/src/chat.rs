//! A conversation on a terminal.

use phi_cli::{Exit, Io, Report, Size};
use phi_runtime::{Error, Finish, Message, Plan, Sampler, Session};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::answer::{End, chat_prompt, generate, prefill};
use crate::job::Generate;
use crate::shown::{Said, Shown};
use crate::{memory, report};

const HELP: &str = "\x20 /clear          forget the conversation
  /system TEXT    set the instructions and start again
  /tool TEXT      what the tool says that the model called
  /bye, /exit     leave (also Ctrl-D)
  /?              this help
A line that ends in \\ goes on in the next one; \"\"\" begins and ends a text of several lines.
Ctrl-C stops an answer; at the prompt it leaves.";

pub(crate) fn chat(job: Generate, io: &mut Io) -> Result<(), Report> {
    let failed = |e: Error| report::of(&e).file(&job.name);
    let plan = job.plan(0, io)?;
    let mut session = job.engine.session(&plan).map_err(failed)?;
    let d = job.engine.decoder();
    io.note(format_args!(
        "{}: {}, {} layers of {}, context {}; weights {} mapped, buffers {}. /? for help",
        job.name,
        d.arch,
        d.n_layer,
        d.n_embd,
        session.n_ctx(),
        Size(plan.weight_bytes()),
        Size(plan.buffer_bytes())
    ));

    let editor = DefaultEditor::new();
    let mut editor = editor.map_err(|e| Report::new("cannot read from the terminal").causes(Some(&e)))?;
    let mut talk = Talk { messages: Vec::new(), seed: job.sampling.seed, called: false };
    talk.restart(&job, job.system.as_deref());
    loop {
        let line = match read(&mut editor) {
            Ok(line) => line,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Interrupted) => return Err(Report::interrupted()),
            Err(e) => return Err(Report::new("cannot read from the terminal").causes(Some(&e))),
        };
        let text = line.trim();
        match text.split_once(char::is_whitespace).map_or((text, ""), |(command, rest)| (command, rest.trim())) {
            ("", _) => {}
            ("/bye" | "/exit" | "/quit", "") => return Ok(()),
            ("/?" | "/help", "") => io.note(HELP),
            ("/clear", "") => talk.restart(&job, system(&talk.messages).as_deref()),
            ("/system", text) => talk.restart(&job, Some(text).filter(|t| !t.is_empty())),
            ("/tool", _) if !talk.called => io.warn("the model has not called a tool"),
            ("/tool", text) => turn(&job, &mut session, &mut talk, Message::new("tool", text), &plan, io)?,
            (command, _) if command.starts_with('/') && !command[1..].contains('/') => {
                io.warn(format_args!("`{command}` is not a command; /? lists them"));
            }
            _ => turn(&job, &mut session, &mut talk, Message::new("user", line), &plan, io)?,
        }
    }
}

/// What was said so far.
struct Talk {
    messages: Vec<Message>,
    /// Each answer draws its own random numbers.
    seed: u64,
    /// The last answer called a tool.
    called: bool,
}

impl Talk {
    fn restart(&mut self, job: &Generate, instructions: Option<&str>) {
        self.messages = job.before(instructions).into_iter().collect();
        self.called = false;
    }
}

fn system(messages: &[Message]) -> Option<String> {
    messages.first().filter(|m| m.role == "system" && !m.content.is_empty()).map(|m| m.content.clone())
}

/// A question and its answer. What goes wrong with one turn is shown, and the conversation goes on without it.
fn turn(
    job: &Generate,
    session: &mut Session<'_>,
    talk: &mut Talk,
    question: Message,
    plan: &Plan,
    io: &mut Io,
) -> Result<(), Report> {
    talk.messages.push(question);
    session.reset_tallies();
    match answer(job, session, talk, io) {
        Ok((end, said)) => {
            talk.messages.push(Message::new("assistant", said.whole()));
            talk.called = said.calls().is_ok_and(|calls| !calls.is_empty());
            // The answer ends without a line end.
            io.note("");
            said.tell_calls("`/tool TEXT` answers for the tool", io);
            match end {
                End::Interrupted => io.note("(stopped)"),
                End::By(Finish::ContextFull) => {
                    io.warn(format_args!(
                        "the context of {} tokens is full; /clear starts again, `-c` makes it longer",
                        session.n_ctx()
                    ));
                }
                _ => {}
            }
        }
        Err(report) if report.exit == Exit::Interrupted => {
            talk.messages.pop();
            io.note("(stopped)");
        }
        Err(report) => {
            talk.messages.pop();
            io.fail(&report);
        }
    }
    io.note(format_args!("{}\n{}", memory::speed(session), memory::line(plan)));
    // Ctrl-C was for this answer.
    io.interrupt().take();
    Ok(())
}

fn answer(job: &Generate, session: &mut Session<'_>, talk: &mut Talk, io: &mut Io) -> Result<(End, Said), Report> {
    let prompt = chat_prompt(job, &talk.messages, io)?;
    prefill(session, &prompt, io).map_err(|e| report::of(&e).file(&job.name))?;
    talk.seed = talk.seed.wrapping_add(1);
    let sampling = phi_runtime::Sampling { seed: talk.seed, ..job.sampling.clone() };
    let sampler = Sampler::new(sampling, job.engine.decoder().n_vocab);
    let mut shown = Shown::new(job.wishes(&prompt));
    let end = generate(job, session, sampler, io, |io, piece| shown.piece(io, piece))?;
    Ok((end, shown.finish(io)?))
}

/// One question, which may be of several lines.
fn read(editor: &mut DefaultEditor) -> Result<String, ReadlineError> {
    let mut text = editor.readline("> ")?;
    if let Some(rest) = text.trim_start().strip_prefix("\"\"\"") {
        text = rest.to_string();
        while !text.trim_end().ends_with("\"\"\"") {
            text = text + "\n" + &editor.readline(". ")?;
        }
        text.truncate(text.trim_end().len() - 3);
    } else {
        while text.ends_with('\\') {
            text.pop();
            text = text + "\n" + &editor.readline(". ")?;
        }
    }
    let _ = editor.add_history_entry(text.as_str());
    Ok(text)
}
