use std::fmt;
use std::str::FromStr;

/// A number of bytes, as people write it: `8GB`, `8GiB`, `7000M`, `512`. Plain `K`, `M`, `G`, `T` are powers of 1000, as
/// on the label of a disk; with an `i` they are powers of 1024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1000),
    ("kib", 1 << 10),
    ("ki", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("mi", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("gi", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
    ("ti", 1 << 40),
];

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Size, BadSize> {
        let bad = || BadSize { text: text.into() };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(*factor).map(Size).ok_or_else(bad);
        }
        let bytes = number.parse::<f64>().map_err(|_| bad())? * *factor as f64;
        if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(Size(bytes as u64)) } else { Err(bad()) }
    }
}

/// In the binary unit that reads best: `8.43 GiB`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ ..1024 => f.pad(&format!("{bytes} B")),
            bytes @ ..0x10_0000 => f.pad(&format!("{:.2} KiB", bytes as f64 / 1024.0)),
            bytes @ ..0x4000_0000 => f.pad(&format!("{:.2} MiB", mib(bytes))),
            bytes => f.pad(&format!("{:.2} GiB", gib(bytes))),
        }
    }
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes in GiB.
pub fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Bytes in GB.
pub fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Something that is not a size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is not a size, such as `8GB`, `8GiB` or `7000M`")]
pub struct BadSize {
    /// What was written.
    pub text: String,
}

/// A number of tokens; `8k` is 8 × 1024.
pub fn tokens(text: &str) -> Result<usize, String> {
    let (digits, unit) = text.strip_suffix(['k', 'K']).map_or((text, 1), |digits| (digits, 1024));
    let number = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    number.ok_or_else(|| "expected a number of tokens, such as 4096 or 8k".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("8GB", 8_000_000_000), ("8GiB", 8 << 30), ("7000M", 7_000_000_000), ("512", 512)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        assert_eq!("1.5 kib".parse(), Ok(Size(1536)));
        for text in ["", "GB", "8 apples", "-1", "99999999999TB", "1e3"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_their_unit() {
        let shown: Vec<_> = [12, 2048, 3 << 20, 9_051_816_000].iter().map(|&b| Size(b).to_string()).collect();
        assert_eq!(shown, ["12 B", "2.00 KiB", "3.00 MiB", "8.43 GiB"]);
    }
}
