//! From a file to an answer, in one page.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use phi_runtime::{Engine, Message, RunOptions, Sampler, Sampling};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(question)) = (args.next(), args.next()) else {
        return Err("usage: generate MODEL.gguf QUESTION".into());
    };
    let engine = Engine::open(Path::new(&path))?;
    let text = engine.text()?;
    let prompt = text.chat(&[Message::new("user", question)])?;

    let plan = engine.plan(&RunOptions { threads: 2, ..RunOptions::default() })?;
    let mut session = engine.session(&plan)?;
    session.prefill(&prompt.tokens)?;

    let sampler = Sampler::new(Sampling::greedy(), engine.decoder().n_vocab);
    for piece in session.generate(sampler, 256).text(text.tokenizer(), &[]) {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
