use std::any::Any;
use std::fmt::{Display, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `check` on every case and returns how many there were.
///
/// # Panics
/// After the last case, when any failed, with the name and the reason of each. A case that panics has failed.
pub fn run_cases<N: Display, C>(
    cases: impl IntoIterator<Item = (N, C)>,
    mut check: impl FnMut(C) -> Result<(), String>,
) -> usize {
    let (mut count, mut failed, mut report) = (0_usize, 0_usize, String::new());
    for (name, case) in cases {
        count += 1;
        if let Err(reason) = caught(|| check(case)).and_then(|result| result) {
            failed += 1;
            let _ = write!(report, "\n  {name}: {reason}");
        }
    }
    assert!(failed == 0, "{failed} of {count} cases failed:{report}");
    count
}

/// What `f` returns, or what it panicked with.
pub fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| format!("panicked: {}", message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("with something that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failing_row_is_reported() {
        let odd = |n: u32| match n {
            3 => panic!("three"),
            n if n.is_multiple_of(2) => Err(format!("{n} is even")),
            _ => Ok(()),
        };
        let all = |numbers: Vec<u32>| run_cases(numbers.into_iter().map(|n| (format!("row {n}"), n)), odd);
        assert_eq!(all(vec![1, 5]), 2);
        let report = caught(|| all(vec![1, 2, 3, 4])).unwrap_err();
        for part in ["3 of 4", "row 2: 2 is even", "row 3: panicked: three", "row 4: 4 is even"] {
            assert!(report.contains(part), "{report}");
        }
    }
}
