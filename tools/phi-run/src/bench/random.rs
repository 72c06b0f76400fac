//! A known model without a file: random weights of any type in its shapes, straight into memory.

use std::path::Path;

use phi_cli::{Exit, Io, Progress, Report, Size};
use phi_convert::{
    Config, ConvertError, Facts, FileType, Item, Model, Problem, Recipe, Synthetic, SyntheticOptions, Tensor,
    Vocabulary,
};
use phi_quant::{Encode, codec};
use phi_runtime::{Bytes, DType, Engine};

use crate::named::{Named, named};
use crate::{job, report};

/// The type where none is named: the usual choice.
const DEFAULT_TYPE: FileType = FileType::Q4_K_M;
/// Rows of a tensor that differ, and then repeat. Reading and multiplying do not depend on numbers, and to encode all of
/// them would take minutes.
const ROWS: u64 = 64;
/// Where a file's map would begin, too.
const PAGE: usize = 4096;

/// Opens a file, or makes what has none; also says what to call it.
pub(crate) fn open(model: Option<&Path>, layers: Option<u32>, io: &mut Io) -> Result<(Engine, String), Report> {
    let Some(Named { name, config, tag, .. }) = model.map(named).transpose()?.flatten() else {
        if layers.is_some() {
            return Err(Report::misuse("`--layers` is for random weights, and this model has its own"));
        }
        return job::open(model, io);
    };
    let file_type = tag.unwrap_or(DEFAULT_TYPE);
    let name = format!("{name}:{}", file_type.name());
    let bytes = weights(&name, config, file_type, layers, io)?;
    let engine = Engine::from_bytes(bytes).map_err(|e| report::of(&e).file(&name))?;
    Ok((engine, format!("{name}, random weights")))
}

/// A file with random weights, in memory.
fn weights(name: &str, config: Config, file_type: FileType, layers: Option<u32>, io: &mut Io) -> Result<Bytes, Report> {
    let options = SyntheticOptions { seed: 0, layers, vocabulary: Vocabulary::None };
    let synthetic = Synthetic::new(config, name, &options).map_err(of_layout)?;
    let model = Model::synthetic(synthetic).map_err(report::of_folder)?;
    let mut file = model.blueprint(file_type);
    let item = |t| {
        let Tensor { name, layer, shape, dtype, .. }: &Tensor = t;
        // As everywhere, norms and factors are singles.
        let dtype = if shape.dims().len() == 1 { DType::F32 } else { *dtype };
        Item { name, layer: *layer, shape: *shape, dtype }
    };
    let items: Vec<_> = model.tensors().iter().map(item).collect();
    let choices = Recipe::new(file_type).choose(&Facts::of(&file), &items);
    let tensors: Vec<_> = model.tensors().iter().zip(choices).map(|(t, choice)| (t, choice.dtype)).collect();
    tensors.iter().for_each(|(t, dtype)| file.tensor(&t.name, *dtype, t.shape));

    let (header, total) = (file.header_bytes(), file.file_bytes());
    let too_large = || {
        let message = format!("{} of random weights do not fit in memory", Size(total));
        Report::new(message).file(name).exit(Exit::DoesNotFit).hint("`--layers` makes fewer of them")
    };
    let len = usize::try_from(total).ok().and_then(|n| n.checked_add(PAGE)).ok_or_else(too_large)?;
    let mut bytes = Vec::<u8>::new();
    bytes.try_reserve_exact(len).map_err(|_| too_large())?;
    let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
    bytes.resize(start, 0);
    bytes.extend(header);
    let progress = io.err_is_terminal().then(|| Progress::bytes(io, total));
    for (tensor, dtype) in tensors {
        if io.interrupt().is_set() {
            return Err(Report::interrupted());
        }
        let before = bytes.len();
        fill(&model, tensor, dtype, &mut bytes).map_err(|e| e.file(name))?;
        let padded = (bytes.len() - start).next_multiple_of(file.alignment() as usize);
        bytes.resize(start + padded, 0);
        progress.iter().for_each(|bar| bar.add((bytes.len() - before) as u64));
    }
    let end = bytes.len();
    Ok(Bytes::from(bytes).slice(start..end).expect("the start lies before the end"))
}

/// Appends a tensor: its first rows encoded, and then the same again.
fn fill(model: &Model, tensor: &Tensor, dtype: DType, bytes: &mut Vec<u8>) -> Result<(), Report> {
    let unable = || Report::misuse(format_args!("{dtype} cannot be written yet")).field(&*tensor.name).hint(types());
    let decode = codec(tensor.dtype).ok_or_else(unable)?.decode;
    let encode = encoder(dtype).ok_or_else(unable)?;
    let (cols, rows) = (tensor.shape.cols(), tensor.shape.rows());
    let size = |dtype: DType| dtype.row_bytes(cols).expect("the type was chosen to fit the rows") as usize;
    let (mut source, mut x) = (vec![0; size(tensor.dtype)], vec![0.0; cols as usize]);
    let mut packed = vec![0; rows.min(ROWS) as usize * size(dtype)];
    for (row, packed) in packed.chunks_exact_mut(size(dtype)).enumerate() {
        model.read(tensor, (row * source.len()) as u64, &mut source).map_err(report::of_folder)?;
        decode(&source, &mut x);
        encode(&x, None, packed);
    }
    let mut left = rows as usize * size(dtype);
    while left > 0 {
        let part = &packed[..left.min(packed.len())];
        bytes.extend_from_slice(part);
        left -= part.len();
    }
    Ok(())
}

fn encoder(dtype: DType) -> Option<Encode> {
    codec(dtype).and_then(|codec| codec.encode)
}

fn of_layout(error: ConvertError) -> Report {
    let unknown = matches!(error.problem, Problem::Architecture { .. });
    report::of_folder(error).hint_if(unknown.then_some("random weights are made for the models that this program runs"))
}

fn types() -> String {
    let names = FileType::ALL.iter().filter(|t| encoder(t.base()).is_some()).map(|t| t.name());
    names.collect::<Vec<_>>().join(", ")
}
