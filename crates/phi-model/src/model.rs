use std::collections::HashSet;
use std::convert::Infallible;

use phi_gguf::{Gguf, TensorInfo, names};
use phi_quant::codec;
use phi_tensor::{DType, Role, Tensor};

use crate::{
    Decoder, ExpertWeights, Factors, FfnWeights, ModelError, RopeFactors, TensorProblem, TensorSpec, Weights, arch,
};

/// A decoder with its weights: a file that was checked against everything the forward pass relies on.
#[derive(Debug)]
pub struct Model {
    /// What it is.
    pub decoder: Decoder,
    /// What it learned.
    pub weights: Weights<Tensor>,
    /// Radians per position with short factors (or none), and with long ones.
    frequencies: [Vec<f64>; 2],
    unused: Vec<String>,
}

impl Model {
    /// What [`Model::bind`] checks before it reads a number: the hyper-parameters, and that every tensor is there in its
    /// shape and a type that can be read.
    pub fn outline(gguf: &Gguf) -> Result<Decoder, ModelError> {
        let decoder = arch::decoder(gguf.header())?;
        let mut problems = Vec::new();
        let Ok(_) = Weights::of(&decoder).try_map(|spec| -> Result<(), Infallible> {
            problems.extend(find(gguf, &decoder, spec, &names::name(spec.role, spec.layer)).err());
            Ok(())
        });
        if problems.is_empty() { Ok(decoder) } else { Err(ModelError::Tensors(problems)) }
    }

    /// Reads the hyper-parameters, finds every tensor, and checks shapes, types, and that norms, factors, and each
    /// tensor's first and last row are numbers. All missing or misshapen tensors are reported at once.
    pub fn bind(gguf: &Gguf) -> Result<Model, ModelError> {
        let decoder = arch::decoder(gguf.header())?;
        let specs = Weights::of(&decoder);
        let mut problems = Vec::new();
        let mut used = HashSet::new();
        let Ok(_) = specs.try_map(|spec| -> Result<(), Infallible> {
            let name = names::name(spec.role, spec.layer);
            problems.extend(check(gguf, &decoder, spec, &name).err());
            used.insert(name);
            Ok(())
        });
        if !problems.is_empty() {
            return Err(ModelError::Tensors(problems));
        }
        let Ok(weights) = specs.try_map(|spec| -> Result<Tensor, Infallible> {
            let info = gguf.find(&names::name(spec.role, spec.layer)).expect("every tensor was found above");
            Ok(gguf.tensor(info))
        });
        let factors = |tensor: &Tensor| {
            let mut factors = vec![0.0; tensor.matrix().cols()];
            decode(tensor, 0, &mut factors);
            factors
        };
        let frequencies = match &weights.rope_factors {
            Some(RopeFactors::Long { short, long }) => {
                [short, long].map(|f| decoder.rope.frequencies(Some(&factors(f))))
            }
            Some(RopeFactors::One(all)) => [decoder.rope.frequencies(Some(&factors(all))), Vec::new()],
            None => [decoder.rope.frequencies(None), Vec::new()],
        };
        let unused = gguf.tensors().iter().map(|t| &t.name).filter(|name| !used.contains(*name)).cloned().collect();
        Ok(Model { decoder, weights, frequencies, unused })
    }

    /// Radians per position of each rotated pair.
    pub fn frequencies(&self, factors: Factors) -> &[f64] {
        match factors {
            Factors::Long if self.decoder.rope.long.is_some() => &self.frequencies[1],
            _ => &self.frequencies[0],
        }
    }

    /// Tensors of the file that the model has no use for.
    pub fn unused_tensors(&self) -> &[String] {
        &self.unused
    }

    /// Bytes of all weights, as they lie in the file.
    pub fn weight_bytes(&self) -> u64 {
        let mut bytes = 0;
        let Ok(_) = self.weights.try_map(|tensor| -> Result<(), Infallible> {
            bytes += tensor.bytes().len() as u64;
            Ok(())
        });
        bytes
    }

    /// Bytes of those experts that one token does not use.
    pub fn idle_bytes(&self) -> u64 {
        let of =
            |tensor: &Tensor| self.decoder.experts().map_or(0, |experts| experts.idle(tensor.bytes().len() as u64));
        let layers = self.weights.layers.iter().map(|layer| match &layer.ffn {
            FfnWeights::Experts(ExpertWeights { gate, up, down, .. }) => of(gate) + of(up) + of(down),
            FfnWeights::Dense { .. } => 0,
        });
        layers.sum()
    }
}

/// Finds a tensor, in the shape that is needed and a type that can be read.
fn find<'a>(gguf: &'a Gguf, decoder: &Decoder, spec: &TensorSpec, name: &str) -> Result<&'a TensorInfo, TensorProblem> {
    let name = || name.to_string();
    let info = gguf.find(&name()).ok_or(TensorProblem::Missing { name: name(), arch: decoder.arch })?;
    let offset = info.entry_offset;
    if info.shape != spec.shape {
        return Err(TensorProblem::Shape { name: name(), offset, got: info.shape, want: spec.shape });
    }
    if spec.shape.dims().len() == 1 && info.dtype != DType::F32 {
        return Err(TensorProblem::DType { name: name(), offset, got: info.dtype, want: "F32" });
    }
    if codec(info.dtype).is_none() {
        let want = "a type this program reads";
        return Err(TensorProblem::DType { name: name(), offset, got: info.dtype, want });
    }
    Ok(info)
}

/// Finds a tensor, and looks at the numbers of its first and last row.
fn check(gguf: &Gguf, decoder: &Decoder, spec: &TensorSpec, name: &str) -> Result<(), TensorProblem> {
    let info = find(gguf, decoder, spec, name)?;
    let name = || name.to_string();
    let tensor = gguf.tensor(info);
    let matrix = tensor.matrix();
    let mut row = vec![0.0; matrix.cols()];
    for r in [0, matrix.rows() - 1] {
        decode(&tensor, r, &mut row);
        if let Some(col) = row.iter().position(|x| !x.is_finite()) {
            let offset = info.start + (r * matrix.row_bytes()) as u64;
            return Err(TensorProblem::NonFinite { name: name(), offset, row: r, col, value: row[col] });
        }
    }
    if matches!(spec.role, Role::RopeFactorsLong | Role::RopeFactorsShort | Role::RopeFreqs)
        && let Some(index) = row.iter().position(|&x| x <= 0.0)
    {
        return Err(TensorProblem::Factor { name: name(), offset: info.start, index, value: row[index] });
    }
    Ok(())
}

fn decode(tensor: &Tensor, row: usize, out: &mut [f32]) {
    let codec = codec(tensor.dtype()).expect("the type was checked");
    (codec.decode)(tensor.matrix().row(row), out);
}
