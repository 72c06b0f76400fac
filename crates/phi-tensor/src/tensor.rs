use crate::{Bytes, DType, Shape};

/// Typed, shaped, shared bytes. Their length fits: there is no other way to make one.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    bytes: Bytes,
    rows: usize,
    cols: usize,
}

impl Tensor {
    /// Checks that `bytes` is exactly as long as `dtype` and `shape` say.
    pub fn new(dtype: DType, shape: Shape, bytes: Bytes) -> Result<Tensor, WrongLength> {
        let got = bytes.len();
        let want = dtype.row_bytes(shape.cols()).and_then(|row| row.checked_mul(shape.rows()));
        let wrong = WrongLength { dtype, shape, got };
        if want != Some(got as u64) {
            return Err(wrong);
        }
        // The bytes are here, so the sizes fit `usize`, except for a block that packs more values than bytes.
        let (Ok(rows), Ok(cols)) = (usize::try_from(shape.rows()), usize::try_from(shape.cols())) else {
            return Err(wrong);
        };
        Ok(Tensor { dtype, shape, bytes, rows, cols })
    }

    /// How the numbers are packed.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, slowest first.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The packed numbers.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All of it as rows × cols.
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix { dtype: self.dtype, rows: self.rows, cols: self.cols, bytes: &self.bytes }
    }
}

/// Packed rows, borrowed: what kernels accept. `bytes` is `rows` rows of `cols` values, checked when the tensor was made.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    dtype: DType,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Checks that `bytes` is exactly `rows` rows of `cols` values.
    pub fn new(dtype: DType, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Matrix<'a>, WrongLength> {
        let got = bytes.len();
        let shape =
            Shape::new(&[rows as u64, cols as u64]).map_err(|_| WrongLength { dtype, shape: Shape::vector(1), got })?;
        let want = dtype.row_bytes(cols as u64).and_then(|row| row.checked_mul(rows as u64));
        if want == Some(got as u64) {
            Ok(Matrix { dtype, rows, cols, bytes })
        } else {
            Err(WrongLength { dtype, shape, got })
        }
    }

    /// How the numbers are packed.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The packed rows.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.dtype.block_len() * self.dtype.block_bytes()
    }

    /// The bytes of row `row`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let n = self.row_bytes();
        &self.bytes[row * n..][..n]
    }

    /// Rows `first..first + rows` as a matrix of their own.
    ///
    /// # Panics
    /// When there are not so many rows.
    pub fn slice_rows(&self, first: usize, rows: usize) -> Matrix<'a> {
        let n = self.row_bytes();
        Matrix { rows, bytes: &self.bytes[first * n..][..rows * n], ..*self }
    }
}

/// Bytes that are not what their type and shape say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{got} bytes do not make a {dtype} tensor of {shape}")]
pub struct WrongLength {
    /// The type claimed.
    pub dtype: DType,
    /// The shape claimed.
    pub shape: Shape,
    /// The bytes there are.
    pub got: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_where_they_should_be() {
        let bytes = Bytes::from((0..3 * 18).collect::<Vec<u8>>());
        let tensor = Tensor::new(DType::Q4_0, Shape::matrix(3, 32), bytes.clone()).unwrap();
        let matrix = tensor.matrix();
        assert_eq!(matrix.row(2)[0], 36);
        assert_eq!(matrix.slice_rows(1, 2).row(1), matrix.row(2));
        assert!(Tensor::new(DType::Q4_0, Shape::matrix(2, 32), bytes).is_err());
    }
}
