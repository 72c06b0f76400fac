//! The fixtures as engines: folders converted by our own converter, with the logits that others computed.

use std::path::{Path, PathBuf};

use phi_runtime::{DType, Engine, RunOptions, Session, TokenId};
use serde::Deserialize;
use tempfile::TempDir;

use crate::fixture;
use crate::programs::phi_quantize;

/// A fixture: a Hugging Face folder or a GGUF, and what others compute from it.
#[derive(Deserialize)]
pub struct Oracle {
    /// Token sequences with their logits.
    pub cases: Vec<Case>,
    /// Prompts with their greedy continuation.
    #[serde(default)]
    pub generations: Vec<Greedy>,
    /// The fixture's folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A token sequence with its logits.
#[derive(Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The `.npy` file, `[positions, n_vocab]`: of all positions, or of the last one.
    logits: String,
}

/// A prompt with its greedy continuation.
#[derive(Deserialize)]
pub struct Greedy {
    /// The prompt.
    pub prompt: Vec<u32>,
    /// What follows.
    pub output_ids: Vec<u32>,
}

impl Oracle {
    /// The fixture of this name.
    pub fn load(name: &str) -> Oracle {
        let folder = fixture(name);
        let text = std::fs::read_to_string(folder.join("expected.json")).expect("the fixture is in the repository");
        Oracle { folder, ..serde_json::from_str(&text).expect("the fixture is as its script writes it") }
    }

    /// What `phi-quantize` takes: the folder, or a GGUF in it.
    pub fn source(&self) -> PathBuf {
        let gguf = self.folder.join("model.gguf");
        if gguf.exists() { gguf } else { self.folder.clone() }
    }

    /// What the oracle computed for a case.
    pub fn logits(&self, case: &Case) -> Vec<f32> {
        phi_testkit::npy::read(&self.folder.join(&case.logits)).expect("the fixture is as its script writes it").values
    }
}

/// A GGUF in a folder that vanishes with it.
pub struct Converted {
    dir: TempDir,
}

impl Converted {
    /// `source` as `phi-quantize` converts it.
    pub fn from(source: &Path, dtype: &str) -> Converted {
        let converted = Converted { dir: tempfile::tempdir().expect("a temporary folder") };
        let out = converted.path();
        phi_quantize([source.as_os_str(), out.as_os_str(), dtype.as_ref()]).done();
        converted
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("model.gguf")
    }

    /// It, opened.
    pub fn engine(&self) -> Engine {
        Engine::open(&self.path()).expect("our own file opens")
    }
}

/// Numbers as ids.
pub fn ids(tokens: &[u32]) -> Vec<TokenId> {
    tokens.iter().copied().map(TokenId).collect()
}

/// Sizes for comparing with others: nothing is rounded in the cache.
pub fn exact(n_ctx: usize) -> RunOptions {
    let f32 = DType::F32;
    RunOptions { n_ctx: Some(n_ctx), k_type: f32, v_type: f32, all_logits: true, threads: 2, ..RunOptions::default() }
}

/// A session, planned and allocated.
pub fn session<'e>(engine: &'e Engine, options: &RunOptions) -> Session<'e> {
    let plan = engine.plan(options).expect("the options fit the model");
    engine.session(&plan).expect("a tiny session fits")
}

/// Logits of every position of `tokens`, computed `n_batch` at a time.
pub fn all_logits(engine: &Engine, tokens: &[TokenId], options: &RunOptions) -> Vec<f32> {
    let mut logits = Vec::new();
    session(engine, options).logits_of(tokens, |rows| logits.extend_from_slice(rows)).expect("the logits are numbers");
    logits
}

/// The largest difference between two lists of one length.
pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
