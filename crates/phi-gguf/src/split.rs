use std::path::{Path, PathBuf};

/// The name of one part of a split file: `NAME-00002-of-00005.gguf`.
///
/// Names of parts are built here from the name the user gave, never read from inside a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitName {
    dir: PathBuf,
    stem: String,
    /// Which part, from 1.
    pub number: u64,
    /// How many parts.
    pub count: u64,
}

impl SplitName {
    /// The names of `count` parts of a file: those of `model.gguf` are `model-00001-of-…`.
    pub fn of(path: &Path, count: u64) -> SplitName {
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".gguf").unwrap_or(&name).to_string();
        SplitName { dir, stem, number: 1, count }
    }

    /// Reads the name of a part, if `path` is one.
    pub fn parse(path: &Path) -> Option<SplitName> {
        let rest = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| (text.len() == 5).then(|| text.parse::<u64>().ok()).flatten();
        let (number, count) = (digits(number)?, digits(count)?);
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        (1..=count).contains(&number).then(|| SplitName { dir, stem: stem.into(), number, count })
    }

    /// Names for the parts of a file to be: `PREFIX-00001-of-00005.gguf` is the first of five. `None` where a prefix has no
    /// last word that can be written so, or where there are more parts than digits.
    pub fn new(prefix: &Path, count: u64) -> Option<SplitName> {
        let stem = prefix.file_name()?.to_str()?.to_string();
        let dir = prefix.parent().unwrap_or(Path::new("")).to_path_buf();
        (1..=99_999).contains(&count).then_some(SplitName { dir, stem, number: 1, count })
    }

    /// The path of part `number` of the same file.
    pub fn part(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_builds_names() {
        let name = SplitName::parse(Path::new("dir/phi-4-00002-of-00005.gguf")).unwrap();
        assert_eq!((name.number, name.count), (2, 5));
        assert_eq!(name.part(1), Path::new("dir/phi-4-00001-of-00005.gguf"));
        assert_eq!(SplitName::new(Path::new("dir/phi-4"), 5).unwrap().part(2), name.part(2));
        assert_eq!((SplitName::new(Path::new("a"), 0), SplitName::new(Path::new(".."), 1)), (None, None));
        for bad in ["phi-4.gguf", "a-00000-of-00005.gguf", "a-00006-of-00005.gguf", "a-2-of-5.gguf", "a-00001-of-00002"]
        {
            assert_eq!(SplitName::parse(Path::new(bad)), None, "{bad}");
        }
    }
}
