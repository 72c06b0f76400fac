//! Logits, for comparing with other programs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use phi_cli::{Io, Report};
use phi_runtime::{Error, RunOptions, TokenId};

use crate::args::LogitsArgs;
use crate::{admit, job, report};

pub(crate) fn logits(typed: LogitsArgs, io: &mut Io) -> Result<(), Report> {
    let options = job::run_options(&typed.run)?;
    let (engine, name) = job::open(typed.model.as_deref(), io)?;
    let failed = |e: Error| report::of(&e).file(&name);
    let tokens: Vec<_> = typed.tokens.iter().copied().map(TokenId).collect();
    let n_ctx = Some(options.n_ctx.unwrap_or(tokens.len()));
    let options = RunOptions { n_ctx, all_logits: true, ..options };
    let plan = admit::admit(&engine, &name, &options, typed.run.limit(), tokens.len(), io)?;
    let mut session = engine.session(&plan).map_err(failed)?;

    let n_vocab = engine.decoder().n_vocab;
    let mut wanted = Vec::new();
    session
        .logits_of(&tokens, |rows| {
            if !typed.all {
                wanted.clear();
            }
            let first = if typed.all { 0 } else { rows.len() - n_vocab };
            wanted.extend_from_slice(&rows[first..]);
        })
        .map_err(failed)?;
    match &typed.output {
        Some(path) => write_npy(path, &wanted, n_vocab)
            .map_err(|e| Report::new("cannot write the logits").file(path).causes(Some(&e)))?,
        None if typed.all => io.json(&wanted.chunks_exact(n_vocab).collect::<Vec<_>>())?,
        None => io.json(&wanted)?,
    }
    Ok(())
}

/// A NumPy file, version 1.0: little-endian f32, `[rows, cols]`.
fn write_npy(path: &Path, values: &[f32], cols: usize) -> std::io::Result<()> {
    let shape = format!("({}, {cols})", values.len() / cols);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Ten bytes come before it, and the data begins at a multiple of 64.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = padded - 1);
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for value in values {
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()
}
