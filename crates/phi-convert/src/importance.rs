//! Importance matrices: how much the error of each column of a matrix matters, measured by running a model over text.
//!
//! The value of a column is the mean square of the activation that it is multiplied with. Two files hold it: a GGUF with
//! sums (`NAME.in_sum2`) and counts (`NAME.counts`) per matrix and expert, and the `.dat` of before:
//!
//! ```text
//! i32 entries, then each: i32 length, name, i32 calls, i32 values, f32[values] (means times calls)
//! i32 chunks, i32 length, name of the text        (optional)
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use phi_gguf::{Gguf, Value, printable};
use phi_tensor::DType;

use crate::error::{ConvertError, Problem, Result};
use crate::file;

/// Real files have below 50 MB.
const MAX_BYTES: u64 = 1 << 30;
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// An importance matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    /// For each matrix by name: a value per column, and of each expert in turn.
    pub entries: BTreeMap<String, Vec<f32>>,
    /// The texts it was measured on.
    pub datasets: Vec<String>,
    /// Pieces of text it was measured on.
    pub chunks: u32,
}

impl Importance {
    /// Reads either kind of file. Every value is finite and not negative.
    pub fn open(path: &Path) -> Result<Importance> {
        let mut start = [0; 4];
        let (file, len) = file::open(path)?;
        let is_gguf = len >= 4 && phi_gguf::read_at(&file, &mut start, 0).is_ok() && start == *b"GGUF";
        let read = if is_gguf { Self::from_gguf(path) } else { legacy(&file::read(path, MAX_BYTES)?) };
        let found = read.map_err(|e| e.of(path))?;
        for (name, values) in &found.entries {
            if let Some(at) = values.iter().position(|value| !value.is_finite() || *value < 0.0) {
                let problem = Problem::Importance(format!("column {at}: {} is no mean of squares", values[at]));
                return Err(ConvertError::new(format!("\"{}\"", printable(name)), None, problem).of(path));
            }
        }
        if found.entries.is_empty() {
            return Err(ConvertError::new(
                "",
                None,
                Problem::Importance(format!("no `NAME{SUMS}` in it: not an importance matrix")),
            )
            .of(path));
        }
        Ok(found)
    }

    fn from_gguf(path: &Path) -> Result<Importance> {
        let gguf = |e: phi_gguf::GgufError| {
            ConvertError::new(e.field.clone(), e.offset, Problem::Importance(e.problem.to_string()))
        };
        let file = Gguf::open(path).map_err(gguf)?;
        let mut found = Importance::default();
        if let Some(Value::Array(phi_gguf::Array::String(names))) =
            file.metadata().entry("imatrix.datasets").map(|e| &e.value)
        {
            found.datasets = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        }
        found.chunks = file.metadata().find("imatrix.chunk_count").map_err(gguf)?.unwrap_or(0);
        for (i, info) in file.tensors().iter().enumerate() {
            let Some(name) = info.name.strip_suffix(SUMS) else { continue };
            let field = || format!("tensor[{i}] \"{}\"", info.name);
            let fail = |what: &str| ConvertError::new(field(), None, Problem::Importance(what.into()));
            let counts = file.find(&format!("{name}{COUNTS}")).ok_or_else(|| fail("there are no counts for it"))?;
            if info.dtype != DType::F32 || counts.dtype != DType::F32 {
                return Err(fail("type is not F32"));
            }
            let [sums, counts] = [info, counts].map(|info| floats(file.tensor(info).bytes()));
            if counts.is_empty() || sums.len() % counts.len() != 0 {
                return Err(fail(&format!("{} values do not fit {} counts", sums.len(), counts.len())));
            }
            let cols = sums.len() / counts.len();
            let means = sums.chunks(cols.max(1)).zip(&counts).flat_map(|(sums, count)| {
                // An expert that was never asked says nothing about its columns.
                let count = count.round();
                sums.iter().map(move |sum| if count > 0.0 { sum / count } else { 1.0 })
            });
            found.entries.insert(name.into(), means.collect());
        }
        Ok(found)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The `.dat` file.
fn legacy(bytes: &[u8]) -> Result<Importance> {
    let mut rest = Cursor { bytes, at: 0 };
    let mut found = Importance::default();
    let n_entries = rest.number("entries")?;
    for i in 0..n_entries {
        let entry = |field: &str| format!("entry[{i}].{field}");
        let name = rest.text(&entry("name"))?;
        let calls = rest.number(&entry("calls"))?;
        let n_values = rest.number(&entry("values"))?;
        let field = entry("values");
        let size = n_values.checked_mul(4).ok_or_else(|| rest.fail(&field, "too many".into()))?;
        let sums = floats(rest.take(size, &field)?);
        let values = sums.into_iter().map(|sum| if calls > 0 { sum / calls as f32 } else { sum });
        found.entries.insert(name, values.collect());
    }
    if rest.at < bytes.len() {
        found.chunks = u32::try_from(rest.number("chunks")?).unwrap_or(0);
        if rest.at < bytes.len() {
            found.datasets.push(rest.text("dataset")?);
        }
    }
    Ok(found)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize, field: &str) -> Result<&'a [u8]> {
        let left = &self.bytes[self.at..];
        let taken =
            left.get(..n).ok_or_else(|| self.fail(field, format!("needs {n} bytes, {} are left", left.len())))?;
        self.at += n;
        Ok(taken)
    }

    /// A count, which is not negative.
    fn number(&mut self, field: &str) -> Result<usize> {
        let number = self.take(4, field)?.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
        usize::try_from(number).map_err(|_| self.fail(field, format!("{number} is negative")))
    }

    fn text(&mut self, field: &str) -> Result<String> {
        let n = self.number(field)?;
        Ok(String::from_utf8_lossy(self.take(n, field)?).into_owned())
    }

    fn fail(&self, field: &str, what: String) -> ConvertError {
        ConvertError::new(field, self.at as u64, Problem::Importance(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(1_i32.to_le_bytes());
        bytes.extend(1_i32.to_le_bytes());
        bytes.push(b'w');
        bytes.extend(4_i32.to_le_bytes());
        bytes.extend(2_i32.to_le_bytes());
        bytes.extend([8.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend(7_i32.to_le_bytes());
        bytes.extend(4_i32.to_le_bytes());
        bytes.extend(b"text");
        bytes
    }

    #[test]
    fn the_old_file_holds_means_times_calls() {
        let found = legacy(&sample()).unwrap();
        assert_eq!(found.entries["w"], [2.0, 0.5]);
        assert_eq!((found.chunks, found.datasets), (7, vec!["text".to_string()]));
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_or_ends_early() {
        let whole = sample();
        for cut in 0..whole.len() {
            if let Ok(found) = legacy(&whole[..cut]) {
                assert!([25, 29].contains(&cut), "{found:?}: only what is optional may be missing");
            }
        }
    }

    #[test]
    fn counts_are_not_believed() {
        for at in [0, 4, 9, 13] {
            let mut bytes = sample();
            bytes[at..at + 4].copy_from_slice(&i32::MAX.to_le_bytes());
            let error = legacy(&bytes).err();
            assert!(at == 9 || error.is_some(), "{at}");
            bytes[at..at + 4].copy_from_slice(&(-1_i32).to_le_bytes());
            assert!(legacy(&bytes).is_err(), "{at}");
        }
    }
}
