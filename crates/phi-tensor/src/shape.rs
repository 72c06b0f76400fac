use std::fmt;

/// One to four dimensions, none of them zero, slowest first: `[rows, cols]` for a matrix.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u64; Shape::MAX_DIMS],
    n_dims: usize,
}

impl Shape {
    /// GGUF's limit.
    pub const MAX_DIMS: usize = 4;

    /// Checks the number of dimensions, that none is zero, and that the product fits 64 bits.
    pub fn new(dims: &[u64]) -> Result<Shape, BadShape> {
        if dims.is_empty() || dims.len() > Shape::MAX_DIMS {
            return Err(BadShape::Dimensions(dims.len()));
        }
        if let Some(index) = dims.iter().position(|&d| d == 0) {
            return Err(BadShape::Zero { index });
        }
        dims.iter().try_fold(1_u64, |n, &d| n.checked_mul(d)).ok_or(BadShape::Overflow)?;
        let mut all = [1; Shape::MAX_DIMS];
        all[..dims.len()].copy_from_slice(dims);
        Ok(Shape { dims: all, n_dims: dims.len() })
    }

    /// `[n]`
    ///
    /// # Panics
    /// When `n` is zero: sizes of our own are checked where they are read.
    pub fn vector(n: usize) -> Shape {
        Shape::new(&[n as u64]).expect("a size that was checked is not zero")
    }

    /// `[rows, cols]`
    ///
    /// # Panics
    /// When either is zero or the product overflows: sizes of our own are checked where they are read.
    pub fn matrix(rows: usize, cols: usize) -> Shape {
        Shape::new(&[rows as u64, cols as u64]).expect("sizes that were checked make a shape")
    }

    /// `[n, rows, cols]`: a stack of `n` matrices.
    ///
    /// # Panics
    /// When one of them is zero or the product overflows: sizes of our own are checked where they are read.
    pub fn stack(n: usize, rows: usize, cols: usize) -> Shape {
        Shape::new(&[n as u64, rows as u64, cols as u64]).expect("sizes that were checked make a shape")
    }

    /// The dimensions, slowest first.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.n_dims]
    }

    /// Length of a row: the fastest dimension.
    pub fn cols(&self) -> u64 {
        self.dims[self.n_dims - 1]
    }

    /// Number of rows: all dimensions but the fastest.
    pub fn rows(&self) -> u64 {
        self.dims[..self.n_dims - 1].iter().product()
    }

    /// Number of values.
    pub fn len(&self) -> u64 {
        self.dims().iter().product()
    }

    /// Never: a shape holds at least one value.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Written as users write it: `[3072, 8192]`, slowest first.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why some numbers are not a shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadShape {
    /// Too few or too many.
    #[error("{0} dims, expected 1 to 4")]
    Dimensions(usize),
    /// An empty dimension.
    #[error("dim[{index}] = 0")]
    Zero {
        /// Which one, slowest first.
        index: usize,
    },
    /// More values than can be counted.
    #[error("element count overflows")]
    Overflow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be_counted() {
        assert_eq!(Shape::new(&[]), Err(BadShape::Dimensions(0)));
        assert_eq!(Shape::new(&[1; 5]), Err(BadShape::Dimensions(5)));
        assert_eq!(Shape::new(&[2, 0]), Err(BadShape::Zero { index: 1 }));
        assert_eq!(Shape::new(&[1 << 40, 1 << 40]), Err(BadShape::Overflow));
        let shape = Shape::new(&[2, 3, 4]).unwrap();
        assert_eq!((shape.rows(), shape.cols(), shape.len()), (6, 4, 24));
    }
}
