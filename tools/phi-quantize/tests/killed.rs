//! Whatever happens to the process: under the final name lies a complete file, or none.

#![cfg(unix)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BIN: &str = env!("CARGO_BIN_EXE_phi-quantize");
const TRIES: u64 = 12;

struct Place {
    folder: tempfile::TempDir,
    /// What an undisturbed run makes.
    whole: Vec<u8>,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/reference/plain/config.json");
        let model = folder.path().join("model.gguf");
        assert!(Command::new(BIN).arg("synth").arg(config).arg("BF16").arg(model).output().unwrap().status.success());
        let mut place = Place { folder, whole: Vec::new() };
        assert!(place.command("whole.gguf").status().unwrap().success());
        place.whole = fs::read(place.path("whole.gguf")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Small slabs, so that there are many moments to be stopped at.
    fn command(&self, out: &str) -> Command {
        let mut command = Command::new(BIN);
        command.args(["--max-buffer-size", "1"]).arg(self.path("model.gguf")).arg(self.path(out)).args(["Q4_K_M", "1"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The file is not there, or it is whole.
    fn check(&self, out: &str) -> bool {
        let found = fs::read(self.path(out)).ok();
        if let Some(found) = &found {
            assert!(*found == self.whole, "{} bytes, not {}", found.len(), self.whole.len());
        }
        found.is_some()
    }

    fn clean(&self, out: &str) {
        for name in [out.to_string(), format!("{out}.partial")] {
            let _ = fs::remove_file(self.path(&name));
        }
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
    // It may have ended by itself meanwhile.
    let _ = sent.unwrap();
}

#[test]
fn spawned_and_killed_at_any_time() {
    let place = Place::new();
    for i in 0..TRIES {
        let mut child = place.command("out.gguf").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(7 * i));
        child.kill().unwrap();
        child.wait().unwrap();
        place.check("out.gguf");
        place.clean("out.gguf");
    }
}

#[test]
fn spawned_and_interrupted_at_any_time_nothing_is_left() {
    let place = Place::new();
    for (i, name) in (0..TRIES).zip(["-INT", "-TERM"].into_iter().cycle()) {
        let mut child = place.command("out.gguf").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(7 * i));
        signal(&child, name);
        let status = child.wait().unwrap();
        match (place.check("out.gguf"), status.code()) {
            (true, Some(0)) | (false, Some(130)) => assert!(!place.path("out.gguf.partial").exists()),
            // The signal came before anybody listened, and nothing was begun.
            (false, None) => {}
            (complete, code) => panic!("complete: {complete}, exit: {code:?}"),
        }
        place.clean("out.gguf");
    }
}

#[test]
fn spawned_twice_one_writer_wins() {
    let place = Place::new();
    for _ in 0..TRIES {
        let both = [place.command("out.gguf").spawn().unwrap(), place.command("out.gguf").spawn().unwrap()];
        let done = both.map(|mut child| child.wait().unwrap().success());
        assert!(place.check("out.gguf") && done.into_iter().filter(|done| *done).count() == 1, "{done:?}");
        place.clean("out.gguf");
    }
}

#[test]
fn spawned_with_a_limit_there_is_an_error_and_no_file() {
    let place = Place::new();
    let mut command = Command::new("sh");
    // Blocks of 512 or 1024 bytes: the file has megabytes. Without the trap the system would end the process.
    command.arg("-c").arg("trap '' XFSZ; ulimit -f 100; exec \"$@\"").arg("sh").arg(BIN);
    command.arg(place.path("model.gguf")).arg(place.path("out.gguf")).arg("Q8_0").process_group(0);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("writing") && err.contains("hint: "), "{err}");
    assert!(!place.path("out.gguf").exists() && !place.path("out.gguf.partial").exists());
}
