//! What goes into a budget, and what would have to change.

use phi_convert::{FileType, Known};
use phi_runtime::DType;

use crate::{Asked, Error, MIXES, Need, Quant, Source, Subject, Verdict};

/// Contexts are counted in these, except where one is asked for.
const STEP: usize = 256;
/// Below this, a context is no use.
pub const SHORTEST: usize = 512;
/// A context that is enough, where none is asked for.
const ENOUGH: usize = 4096;

/// The longest context, up to the trained one, whose verdict is `worst` or better; `None` below [`SHORTEST`].
pub fn longest(subject: &Subject, asked: &Asked, available: u64, worst: Verdict) -> Result<Option<usize>, Error> {
    let trained = subject.decoder.n_ctx_train;
    let goes = |n_ctx: usize| Ok::<_, Error>(subject.need(&asked.with_ctx(n_ctx))?.verdict(available) <= worst);
    if goes(trained)? {
        return Ok(Some(trained));
    }
    // The need grows with the context: halve what is between one that goes and one that does not.
    let (mut low, mut high) = (0, trained.div_ceil(STEP));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if goes(middle * STEP)? { low = middle } else { high = middle }
    }
    Ok((low * STEP >= SHORTEST.min(trained)).then_some(low * STEP))
}

/// A run other than the one asked for, and what it takes.
pub struct Change {
    /// As options of the command line.
    pub options: String,
    /// The run.
    pub asked: Asked,
    /// What it takes.
    pub need: Need,
}

impl Change {
    fn new(subject: &Subject, options: impl Into<String>, asked: Asked) -> Result<Change, Error> {
        Ok(Change { options: options.into(), need: subject.need(&asked)?, asked })
    }
}

/// Each option alone that makes the run smaller.
pub fn levers(subject: &Subject, asked: &Asked, available: u64) -> Result<Vec<Change>, Error> {
    let now = subject.need(asked)?;
    let mut changes = Vec::new();
    for kv in smaller_kv(subject, asked) {
        changes.push(Change::new(subject, format!("--kv {}", lower(kv)), asked.with_kv(kv))?);
    }
    let fitting = longest(subject, asked, available, Verdict::Fits)?;
    let shorter = fitting.unwrap_or(now.n_ctx / 2).min(now.n_ctx / 2).max(SHORTEST);
    if shorter < now.n_ctx {
        // A round number, if one fits that is not much less.
        let round = 1 << shorter.ilog2();
        changes.push(Change::new(subject, format!("--ctx {round}"), asked.with_ctx(round))?);
    }
    for n_batch in [128, 32] {
        if n_batch < asked.run.n_batch.min(now.n_ctx) {
            changes.push(Change::new(subject, format!("--ubatch {n_batch}"), asked.with_batch(n_batch))?);
        }
    }
    changes.retain(|change| change.need.total() < now.total());
    Ok(changes)
}

/// The least harmful change that makes the run fit: smaller batches, then a cache of 8 bits, then a shorter context, then
/// weights of fewer bits, then all of it; `None` when nothing does.
pub fn cheapest(subject: &Subject, asked: &Asked, available: u64) -> Result<Option<Change>, Error> {
    let n_ctx = subject.need(asked)?.n_ctx;
    let fits = |change: &Change| change.need.verdict(available) == Verdict::Fits;
    // What may change at all, each list from no change to the greatest.
    let batches = [asked.run.n_batch, 128, 32].into_iter().filter(|&b| b <= asked.run.n_batch);
    let batches: Vec<_> = batches.collect();
    let mut caches = vec![None];
    caches.extend(smaller_kv(subject, asked).into_iter().map(Some));
    let mut quants = vec![None];
    quants.extend(smaller_mixes(subject, asked).into_iter().map(Some));
    for quant in quants {
        let of_quant = quant.map_or_else(|| asked.clone(), |quant| asked.with_quant(quant));
        for shorten in [false, true] {
            for &kv in &caches {
                let of_kv = kv.map_or_else(|| of_quant.clone(), |kv| of_quant.with_kv(kv));
                for &n_batch in &batches {
                    let mut run = of_kv.with_batch(n_batch);
                    let mut options = Vec::new();
                    options.extend(quant.map(|quant| format!("{} weights", subject.quant_name(quant))));
                    options.extend(kv.map(|kv| format!("--kv {}", lower(kv))));
                    options.extend((n_batch != asked.run.n_batch).then(|| format!("--ubatch {n_batch}")));
                    if shorten {
                        let Some(longest) = longest(subject, &run, available, Verdict::Fits)? else { continue };
                        if longest >= n_ctx || longest < ENOUGH.min(n_ctx / 2) && n_batch > 32 {
                            continue;
                        }
                        options.push(format!("--ctx {longest}"));
                        run = run.with_ctx(longest);
                    }
                    let change = Change::new(subject, options.join(" "), run)?;
                    if fits(&change) {
                        return Ok(Some(change));
                    }
                }
            }
        }
    }
    Ok(None)
}

/// The best weights whose run fits at the context asked for, with a cache of 16 bits or else of 8. Among one model's
/// types, those of 4 bits and more before any smaller.
pub fn best(subject: &Subject, asked: &Asked, available: u64) -> Result<Option<Change>, Error> {
    for &mix in MIXES {
        for kv in [DType::F16, DType::Q8_0].into_iter().filter(|&kv| takes(subject, kv)) {
            let run = asked.with_quant(subject.quant(mix)).with_kv(kv);
            let options = format!("{}, KV {}", mix.name(), lower(kv));
            let change = Change::new(subject, options, run)?;
            if change.need.verdict(available) == Verdict::Fits {
                return Ok(Some(change));
            }
        }
    }
    Ok(None)
}

/// The smallest need of any known model: what to say when nothing fits.
pub fn smallest_known() -> Option<(&'static str, Need)> {
    let needs = Known::all().iter().filter_map(|known| {
        let subject = Subject::known(known.name).ok()?;
        let asked = Asked::new(Quant::of(FileType::Q2_K)).with_kv(DType::Q8_0).with_ctx(SHORTEST).with_batch(32);
        // Heads that blocks do not divide keep halves.
        let need = subject.need(&asked).or_else(|_| subject.need(&asked.with_kv(DType::F16))).ok()?;
        Some((known.name, need))
    });
    needs.min_by_key(|(_, need)| need.total())
}

/// Types of a cache that are smaller than the one asked for.
fn smaller_kv(subject: &Subject, asked: &Asked) -> Vec<DType> {
    let bits = |dtype: DType| dtype.block_bytes() as f64 / dtype.block_len() as f64;
    let now = bits(asked.run.k_type) + bits(asked.run.v_type);
    let smaller = |kv: &DType| 2.0 * bits(*kv) < now && takes(subject, *kv);
    [DType::Q8_0, DType::Q4_0].into_iter().filter(smaller).collect()
}

fn takes(subject: &Subject, kv: DType) -> bool {
    subject.decoder.head_dim.is_multiple_of(kv.block_len())
}

/// Mixtures that are smaller than the weights asked for, best first.
fn smaller_mixes(subject: &Subject, asked: &Asked) -> Vec<Quant> {
    let now = subject.weights(asked.quant).bytes;
    let mixes = MIXES.iter().map(|&mix| subject.quant(mix));
    mixes.filter(|&quant| quant != Quant::File && subject.weights(quant).bytes < now).collect()
}

/// A type's name as options spell it.
pub fn lower(dtype: DType) -> String {
    dtype.name().to_ascii_lowercase()
}

/// Whether other types than those of the source would have to be made first.
pub fn is_made(subject: &Subject, quant: Quant) -> bool {
    subject.source == Source::Gguf && quant != Quant::File
}
