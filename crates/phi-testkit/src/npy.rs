//! The arrays among the fixtures: `.npy` files of little-endian f32 in C order.

use std::io;
use std::path::Path;

/// An array.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

/// Reads a file.
pub fn read(path: &Path) -> io::Result<Array> {
    let named = |kind, problem: &dyn std::fmt::Display| io::Error::new(kind, format!("{}: {problem}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| named(e.kind(), &e))?;
    Array::parse(&bytes).map_err(|problem| named(io::ErrorKind::InvalidData, &problem))
}

impl Array {
    /// Reads the bytes of a file, or says what is wrong with them.
    ///
    /// Magic, version (two bytes), length of the header (u16 in version 1, u32 later), the header, which is a Python
    /// dictionary, then the numbers.
    fn parse(bytes: &[u8]) -> Result<Array, &'static str> {
        const CUT: &str = "cut off";
        let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("not a .npy file")?;
        let ([major, _minor], rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (len, rest) = if *major == 1 {
            let (len, rest) = rest.split_first_chunk().ok_or(CUT)?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        } else {
            let (len, rest) = rest.split_first_chunk().ok_or(CUT)?;
            (u32::from_le_bytes(*len) as usize, rest)
        };
        let (header, data) = rest.split_at_checked(len).ok_or(CUT)?;
        let header = std::str::from_utf8(header).map_err(|_| "header is not text")?;
        if !header.contains("'descr': '<f4'") {
            return Err("not little-endian f32");
        }
        if !header.contains("'fortran_order': False") {
            return Err("not in C order");
        }
        let dims = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).ok_or("no shape")?.0;
        let dims = dims.split(',').map(str::trim).filter(|dim| !dim.is_empty());
        let shape = dims.map(|dim| dim.parse().map_err(|_| "bad shape")).collect::<Result<Vec<usize>, _>>()?;
        let (values, odd) = data.as_chunks::<4>();
        if !odd.is_empty() || values.len() != shape.iter().product() {
            return Err("the data does not fit the shape");
        }
        Ok(Array { shape, values: values.iter().map(|b| f32::from_le_bytes(*b)).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, values: &[f32]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        bytes
    }

    #[test]
    fn reads_shape_and_values() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }  \n";
        let array = Array::parse(&file(header, &[1.0, -2.0])).unwrap();
        assert_eq!(array, Array { shape: vec![2, 1], values: vec![1.0, -2.0] });
        let vector = header.replace("(2, 1)", "(2,)");
        assert_eq!(Array::parse(&file(&vector, &[1.0, -2.0])).unwrap().shape, [2]);
    }

    #[test]
    fn refuses_what_it_would_misread() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        for (from, to) in [("<f4", "<f8"), ("False", "True"), ("(2,)", "(3,)")] {
            assert!(Array::parse(&file(&header.replace(from, to), &[1.0, 2.0])).is_err(), "{to}");
        }
        assert!(Array::parse(b"\x93NUMPY\x01").is_err());
    }
}
