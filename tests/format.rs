//! What we write we read, and what is under a file's final name at any time. Another reader of the same files: `readers.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use phi_gguf::{Array, Blueprint, Gguf, GgufError, Header, Problem, Strings, Value, WriteError, WriteOptions, Writer};
use phi_tensor::{DType, Shape};
use phi_testkit::{RawGguf, Rng, run_cases};
use proptest::prelude::*;

// Round trips.

fn value() -> impl Strategy<Value = Value> {
    let text = || proptest::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter);
    let bytes = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9);
    /// A number of each type, and an array of them.
    macro_rules! numbers {
        ($($ty:ty),*) => {
            prop_oneof![
                $(any::<$ty>().prop_map(Value::from),
                proptest::collection::vec(any::<$ty>(), 0..9).prop_map(Value::from),)*
                // NaNs of every kind.
                any::<u32>().prop_map(|bits| Value::from(f32::from_bits(bits))),
                any::<u64>().prop_map(|bits| Value::from(f64::from_bits(bits))),
                any::<bool>().prop_map(Value::from),
                proptest::collection::vec(any::<bool>(), 0..9).prop_map(|v| Value::Array(Array::Bool(v))),
                text().prop_map(Value::from),
                // The strings of an array need not be text.
                bytes.prop_map(|v| Value::from(v.iter().collect::<Strings>())),
            ]
        };
    }
    numbers!(u8, i8, u16, i16, u32, i32, f32, u64, i64, f64)
}

fn tensor() -> impl Strategy<Value = (DType, Shape)> {
    let dims = (1_u64..3, proptest::collection::vec(1_u64..4, 0..4));
    (proptest::sample::select(DType::ALL), dims).prop_map(|(dtype, (blocks, mut dims))| {
        dims.truncate(Shape::MAX_DIMS - 1);
        dims.push(blocks * dtype.block_len() as u64);
        (dtype, Shape::new(&dims).expect("small dimensions"))
    })
}

fn blueprint() -> impl Strategy<Value = Blueprint> {
    let alignment = proptest::option::of((3_u32..13).prop_map(|log| 1_u32 << log));
    let entries = proptest::collection::vec(("[a-zä]{1,9}(\\.[a-z_0-9]{1,9}){0,2}", value()), 0..12);
    let tensors = proptest::collection::vec(("[ -~é]{0,20}", tensor()), 0..9);
    (alignment, entries, tensors).prop_map(|(alignment, entries, tensors)| {
        let mut file = Blueprint::new();
        entries.into_iter().for_each(|(key, value)| file.set(&key, value));
        if let Some(alignment) = alignment {
            file.set("general.alignment", alignment);
        }
        for (i, (name, (dtype, shape))) in tensors.into_iter().enumerate() {
            file.tensor(format!("{i}{name}"), dtype, shape);
        }
        file
    })
}

/// The file of a blueprint, with data that begins anew in each tensor.
fn bytes_of(file: &Blueprint) -> Vec<u8> {
    let mut bytes = file.header_bytes();
    for tensor in file.tensors() {
        bytes.extend((0..tensor.bytes()).map(|i| i as u8));
        bytes.resize(bytes.len().next_multiple_of(file.alignment() as usize), 0);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(file in blueprint()) {
        let bytes = bytes_of(&file);
        prop_assert_eq!(bytes.len() as u64, file.file_bytes());
        let header = Header::parse(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(header.version, 3);
        prop_assert_eq!(header.alignment, file.alignment());
        let ascii = |warning: &phi_gguf::Warning| matches!(warning, phi_gguf::Warning::NonAsciiKey(_));
        prop_assert!(header.warnings.iter().all(ascii), "{:?}", header.warnings);
        for (info, spec) in header.tensors.iter().zip(file.tensors()) {
            prop_assert_eq!((&info.name, info.dtype, info.shape, info.bytes), (&spec.name, spec.dtype, spec.shape, spec.bytes()));
            prop_assert_eq!(info.start % header.alignment, 0);
        }
        // The values, NaNs included, compare as bytes.
        prop_assert_eq!(Blueprint::of(&header).header_bytes(), file.header_bytes());
    }

    #[test]
    fn version_2_is_the_same_layout(file in blueprint()) {
        let mut bytes = bytes_of(&file);
        bytes[4] = 2;
        let header = Header::parse(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(header.version, 2);
        prop_assert_eq!(Blueprint::of(&header).header_bytes(), file.header_bytes());
    }
}

#[test]
fn tensors_are_views_of_their_bytes() {
    let mut file = Blueprint::new();
    file.tensor("a", DType::Q8_0, Shape::matrix(3, 64));
    file.tensor("b", DType::F32, Shape::vector(3));
    let gguf = Gguf::from_bytes(bytes_of(&file).into()).expect("the file is valid");
    for info in gguf.tensors() {
        let want: Vec<u8> = (0..info.bytes).map(|i| i as u8).collect();
        assert_eq!(gguf.tensor(info).bytes()[..], want, "{}", info.name);
    }
}

// The writer.

/// A file of one tensor, all of whose bytes are `fill`.
fn one_tensor() -> Blueprint {
    let mut file = Blueprint::new();
    file.set("general.architecture", "phi3");
    file.tensor("t", DType::F32, Shape::vector(5));
    file
}

fn write(path: &Path, file: &Blueprint, options: &WriteOptions) -> Result<(), WriteError> {
    let mut writer = Writer::create(path, file.clone(), options)?;
    for tensor in file.tensors() {
        writer.write(&(0..tensor.bytes()).map(|i| i as u8).collect::<Vec<_>>())?;
    }
    writer.finish().map(drop)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// A folder, and a file to be in it.
fn target() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.gguf");
    (folder, path)
}

#[test]
fn a_finished_file_is_its_blueprint() {
    let (folder, path) = target();
    let mut file = Blueprint::new();
    file.set("general.alignment", 256_u32);
    file.tensor("a", DType::Q8_0, Shape::matrix(3, 64));
    file.tensor("b", DType::F32, Shape::vector(3));
    let mut writer = Writer::create(&path, file.clone(), &WriteOptions::default()).expect("nothing is in the way");
    let mut data = bytes_of(&file).split_off(file.header_bytes().len());
    // In pieces, as tensors come.
    writer.write(&data[..100]).expect("room");
    writer.write(&data[100..204]).expect("room");
    assert_eq!(names(folder.path()), ["out.gguf.partial"]);
    let partial = fs::read(folder.path().join("out.gguf.partial")).expect("it is there");
    assert!(matches!(Header::parse(&partial), Err(GgufError { problem: Problem::Magic([0, 0, 0, 0]), .. })));
    writer.write(&data[256..268]).expect("room");
    let written = writer.finish().expect("room");
    assert_eq!((&written.path, written.bytes), (&path, file.file_bytes()));
    let mut want = file.header_bytes();
    want.append(&mut data);
    assert_eq!(fs::read(&path).expect("it is there"), want);
    assert_eq!(names(folder.path()), ["out.gguf"]);
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let (folder, path) = target();
    let mut writer = Writer::create(&path, one_tensor(), &WriteOptions::default()).expect("nothing is in the way");
    writer.write(&[1; 7]).expect("room");
    drop(writer);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let (folder, path) = target();
    fs::write(&path, "precious").expect("room");
    let refused = write(&path, &one_tensor(), &WriteOptions::default());
    assert!(matches!(&refused, Err(WriteError::Exists(p)) if *p == path), "{refused:?}");
    assert_eq!(fs::read(&path).expect("it is there"), b"precious");
    let force = WriteOptions { force: true, ..WriteOptions::default() };
    // Until it is finished, what was there stays.
    let writer = Writer::create(&path, one_tensor(), &force).expect("by force");
    assert_eq!(fs::read(&path).expect("it is there"), b"precious");
    drop(writer);
    assert_eq!(fs::read(&path).expect("it is there"), b"precious");
    write(&path, &one_tensor(), &force).expect("by force");
    assert_eq!(fs::read(&path).expect("it is there"), bytes_of(&one_tensor()));
    assert_eq!(names(folder.path()), ["out.gguf"]);
}

#[cfg(unix)]
#[test]
fn an_input_is_never_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("in.gguf"), "input").expect("room");
    std::os::unix::fs::symlink(at("in.gguf"), at("link.gguf")).expect("room");
    fs::hard_link(at("in.gguf"), at("twin.gguf")).expect("room");
    fs::create_dir(at("sub")).expect("room");
    let options =
        WriteOptions { force: true, inputs: vec![at("other.gguf"), at("in.gguf")], ..WriteOptions::default() };
    let outputs = ["in.gguf", "link.gguf", "twin.gguf", "sub/../in.gguf"];
    run_cases(outputs.map(|name| (name, name)), |name| match write(&at(name), &one_tensor(), &options) {
        Err(WriteError::SameFile(path)) if path == at(name) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(fs::read(at("in.gguf")).expect("it is there"), b"input");
    assert_eq!(names(folder.path()), ["in.gguf", "link.gguf", "sub", "twin.gguf"]);
}

#[cfg(unix)]
#[test]
fn only_a_file_can_be_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("dir.gguf")).expect("room");
    let made = std::process::Command::new("mkfifo").arg(at("fifo.gguf")).status().expect("mkfifo is part of Unix");
    assert!(made.success());
    let options = WriteOptions { force: true, ..WriteOptions::default() };
    let outputs = [at("dir.gguf"), at("fifo.gguf"), PathBuf::from("/dev/null"), at(".."), PathBuf::from("/")];
    run_cases(outputs.map(|path| (path.display().to_string(), path)), |path| {
        match write(&path, &one_tensor(), &options) {
            Err(WriteError::NotAFile(p)) if p == path => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // Nor read: opening a pipe would wait for ever, and reading a device never ends.
    let inputs = [at("dir.gguf"), at("fifo.gguf"), PathBuf::from("/dev/zero")];
    run_cases(inputs.map(|path| (path.display().to_string(), path)), |path| match Gguf::open(&path) {
        Err(GgufError { problem: Problem::NotRegular, .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn an_unfinished_file_is_not_touched() {
    let (folder, path) = target();
    fs::write(folder.path().join("out.gguf.partial"), "somebody's").expect("room");
    let refused = write(&path, &one_tensor(), &WriteOptions { force: true, ..WriteOptions::default() });
    match refused {
        Err(WriteError::PartialExists { path, seconds_old: Some(..600) }) => {
            assert!(path.ends_with("out.gguf.partial"))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(folder.path().join("out.gguf.partial")).expect("it is there"), b"somebody's");
}

#[test]
fn of_two_writers_one_wins() {
    for round in 0..20 {
        let (folder, path) = target();
        let start = Barrier::new(2);
        let create = || Writer::create(&path, one_tensor(), &WriteOptions::default());
        // Neither lets go before the other has tried.
        let both = || {
            start.wait();
            let writer = create();
            start.wait();
            writer.map(drop)
        };
        let results = std::thread::scope(|s| {
            let other = s.spawn(both);
            [both(), other.join().expect("no panic")]
        });
        assert!(
            matches!(
                results,
                [Ok(()), Err(WriteError::PartialExists { .. })] | [Err(WriteError::PartialExists { .. }), Ok(())]
            ),
            "round {round}: {results:?}"
        );
        assert!(names(folder.path()).is_empty());
    }
}

/// A writer that comes while another one finishes finds its partial file or its finished one, and never neither.
#[test]
fn a_writer_comes_too_late() {
    for round in 0..20 {
        let (folder, path) = target();
        let first = Writer::create(&path, Blueprint::new(), &WriteOptions::default()).expect("nothing is in the way");
        let late = || {
            loop {
                match write(&path, &one_tensor(), &WriteOptions::default()) {
                    Err(WriteError::PartialExists { .. }) => {}
                    other => return other,
                }
            }
        };
        let result = std::thread::scope(|s| {
            let late = s.spawn(late);
            first.finish().expect("room");
            late.join().expect("no panic")
        });
        assert!(matches!(result, Err(WriteError::Exists(_))), "round {round}: {result:?}");
        assert_eq!(fs::read(&path).expect("it is there"), Blueprint::new().header_bytes());
        assert_eq!(names(folder.path()), ["out.gguf"]);
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let (_folder, path) = target();
    let refused = write(&path.with_file_name("none").join("out.gguf"), &one_tensor(), &WriteOptions::default());
    assert!(matches!(&refused, Err(WriteError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound));
}

// Split files.

const PARTS: u16 = 3;

/// Part `no` (from 0) of three, with the tensor `t0`, `t1` or `t2`.
fn part(no: u16) -> RawGguf {
    let mut file = RawGguf::new();
    if no == 0 {
        file.set("general.architecture", "phi3");
    }
    file.set("split.no", no);
    file.set("split.count", PARTS);
    file.set("split.tensors.count", i32::from(PARTS));
    file.tensor(&format!("t{no}"), &[4], &Rng::new(no.into()).normals(4, 1.0));
    file
}

fn part_name(folder: &Path, no: u16) -> PathBuf {
    folder.join(format!("model-{:05}-of-{PARTS:05}.gguf", no + 1))
}

/// A folder with the three parts.
fn split() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for no in 0..PARTS {
        fs::write(part_name(folder.path(), no), part(no).bytes()).expect("room");
    }
    folder
}

/// The message of a file that must not open.
fn refusal(path: &Path) -> Result<String, String> {
    match Gguf::open(path) {
        Err(e) => Ok(format!("{e}\n{}", e.hint().unwrap_or_default())),
        Ok(_) => Err("was opened".into()),
    }
}

fn says(path: &Path, facts: &[&str]) -> Result<(), String> {
    let text = refusal(path)?;
    let missing = facts.iter().find(|fact| !text.contains(**fact));
    missing.map_or(Ok(()), |fact| Err(format!("does not say `{fact}`: {text}")))
}

#[test]
fn any_part_opens_all() {
    let folder = split();
    run_cases((0..PARTS).map(|no| (format!("through part {no}"), no)), |no| {
        let gguf = Gguf::open(&part_name(folder.path(), no)).map_err(|e| e.to_string())?;
        assert_eq!(gguf.metadata().get::<&str>("general.architecture").map_err(|e| e.to_string())?, "phi3");
        assert_eq!(gguf.tensors().len(), usize::from(PARTS));
        for no in 0..PARTS {
            let info = gguf.find(&format!("t{no}")).ok_or("a tensor is missing")?;
            assert_eq!(gguf.tensor(info).bytes()[..], part(no).tensors[0].data);
        }
        let files = (0..PARTS).map(|no| fs::metadata(part_name(folder.path(), no)).expect("it is there").len());
        assert_eq!(gguf.file_bytes(), files.sum::<u64>());
        Ok(())
    });
}

#[test]
fn a_split_that_does_not_fit_together_is_refused() {
    type Lie = (&'static str, fn(&Path), &'static [&'static str]);
    fn put(folder: &Path, no: u16, change: impl FnOnce(&mut RawGguf)) {
        let mut file = part(no);
        change(&mut file);
        fs::write(part_name(folder, no), file.bytes()).expect("room");
    }
    let lies: &[Lie] = &[
        (
            "part missing",
            |f| fs::remove_file(part_name(f, 1)).expect("it is there"),
            &["model-00002-of-00003.gguf: open"],
        ),
        (
            "part with another's number",
            |f| put(f, 1, |file| file.set("split.no", 2_u16)),
            &["model-00002-of-00003.gguf: split.no at ", ": 2, expected 1"],
        ),
        (
            "first part with another's number",
            |f| put(f, 0, |file| file.set("split.no", 1_u16)),
            &["model-00001-of-00003.gguf: split.no at ", ": 1, expected 0"],
        ),
        (
            "part without a number",
            |f| put(f, 2, |file| file.remove("split.no")),
            &["model-00003-of-00003.gguf: split.no: missing"],
        ),
        (
            "part of another count",
            |f| put(f, 0, |file| file.set("split.count", 4_u16)),
            &["split.count at ", "4 parts, but the file name is not NAME-00001-of-00004.gguf"],
        ),
        (
            "tensors missing",
            |f| put(f, 0, |file| file.set("split.tensors.count", 9_i32)),
            &["split.tensors.count at ", ": 9, expected 3"],
        ),
        (
            "one tensor in two parts",
            |f| put(f, 2, |file| file.tensors[0].name = b"t0".to_vec()),
            &["tensor[2] \"t0\": duplicate of tensor[0]"],
        ),
        (
            "part cut off",
            |f| fs::write(part_name(f, 1), part(1).header_bytes()).expect("room"),
            &["model-00002-of-00003.gguf: tensor[0] \"t1\".offset at ", "the download may be incomplete"],
        ),
        (
            "part that is no GGUF",
            |f| fs::write(part_name(f, 1), "").expect("room"),
            &["model-00002-of-00003.gguf: header: file has 0 bytes"],
        ),
    ];
    run_cases(lies.iter().map(|lie| (lie.0, lie)), |&(_, lie, facts)| {
        let folder = split();
        lie(folder.path());
        // Whichever part is named.
        (0..PARTS).try_for_each(|no| says(&part_name(folder.path(), no), facts))
    });
}

#[test]
fn a_renamed_part_is_refused() {
    let folder = split();
    let renamed = folder.path().join("renamed.gguf");
    let first = ["split.count at ", "3 parts, but the file name is not NAME-00001-of-00003.gguf"];
    let later = ["split.no 1 at ", "a later part of a split file", "open the first part"];
    for (no, facts) in [(0, &first[..]), (1, &later[..])] {
        fs::copy(part_name(folder.path(), no), &renamed).expect("room");
        says(&renamed, facts).expect("a message that helps");
    }
    // Names alone make no split.
    for no in 0..2 {
        let mut file = part(no);
        file.entries.retain(|entry| !entry.key.starts_with(b"split."));
        fs::write(folder.path().join(format!("look-{:05}-of-00002.gguf", no + 1)), file.bytes()).expect("room");
    }
    let gguf = Gguf::open(&folder.path().join("look-00002-of-00002.gguf")).expect("a file of its own");
    assert_eq!(gguf.tensors().iter().map(|t| &t.name).collect::<Vec<_>>(), ["t1"]);

    let many = folder.path().join("many-00001-of-02000.gguf");
    let mut file = part(0);
    file.set("split.count", 2000_u16);
    fs::write(&many, file.bytes()).expect("room");
    says(&many, &["split.count at ", ": 2000 exceeds 1024"]).expect("a message that helps");
}
