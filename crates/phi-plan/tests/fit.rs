//! Every "no" has a remedy that works, whatever is asked and whatever there is.

use phi_convert::FileType;
use phi_plan::{Asked, Card, Device, MIXES, OnCard, Quant, Subject, Verdict, fit};
use phi_runtime::{DType, RunOptions};
use proptest::prelude::*;

fn subjects() -> Vec<Subject> {
    ["phi-4", "phi-4-mini", "phi-3-mini-4k"].map(|name| Subject::known(name).unwrap()).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_no_has_a_remedy(
        which in 0_usize..3,
        mix in 0_usize..8,
        n_ctx in 1_usize..150_000,
        n_batch in 1_usize..2000,
        kv in 0_usize..4,
        mib in 1_u64..64_000,
    ) {
        let subject = &subjects()[which];
        let kv = [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0][kv];
        let run = RunOptions { n_ctx: Some(n_ctx), n_batch, k_type: kv, v_type: kv, ..RunOptions::default() };
        let asked = Asked { quant: Quant::of(MIXES[mix]), run, sequences: 1 };
        let available = mib << 20;
        let need = subject.need(&asked).unwrap();
        if need.verdict(available) != Verdict::Fits {
            match fit::cheapest(subject, &asked, available).unwrap() {
                Some(change) => {
                    let applied = subject.need(&change.asked).unwrap();
                    prop_assert_eq!(applied.verdict(available), Verdict::Fits, "{}", change.options);
                    prop_assert!(!change.options.is_empty() && applied.total() < need.total());
                }
                None => {
                    // Then not even the least that this model can be asked for fits.
                    let least = Asked::new(Quant::of(FileType::Q2_K)).with_kv(DType::Q4_0).with_batch(32);
                    let least = subject.need(&least.with_ctx(fit::SHORTEST.min(n_ctx))).unwrap();
                    prop_assert_ne!(least.verdict(available), Verdict::Fits);
                    prop_assert!(fit::smallest_known().is_some());
                }
            }
        }
        for lever in fit::levers(subject, &asked, available).unwrap() {
            prop_assert!(lever.need.total() < need.total(), "{}", lever.options);
        }
    }

    #[test]
    fn the_longest_context_goes_and_one_step_more_does_not(
        which in 0_usize..3,
        mix in 0_usize..8,
        mib in 1_u64..64_000,
    ) {
        let subject = &subjects()[which];
        let asked = Asked::new(Quant::of(MIXES[mix]));
        let available = mib << 20;
        let trained = subject.decoder.n_ctx_train;
        let goes = |n_ctx| subject.need(&asked.with_ctx(n_ctx)).unwrap().verdict(available) <= Verdict::Tight;
        match fit::longest(subject, &asked, available, Verdict::Tight).unwrap() {
            Some(n_ctx) => prop_assert!(goes(n_ctx) && (n_ctx == trained || !goes((n_ctx + 256).min(trained)))),
            None => prop_assert!(!goes(fit::SHORTEST + 256)),
        }
    }
}

#[test]
fn verdicts_are_at_their_borders() {
    let subject = Subject::known("phi-4-mini").unwrap();
    let need = subject.need(&Asked::new(Quant::of(FileType::Q4_K_M))).unwrap();
    let (total, anonymous) = (need.total(), need.anonymous());
    assert_eq!(need.verdict(total.div_ceil(9) * 10), Verdict::Fits);
    assert_eq!(need.verdict(total / 9 * 10 - 10), Verdict::Tight);
    assert_eq!(need.verdict(total), Verdict::Tight);
    assert_eq!(need.verdict(total - 1), Verdict::Slow);
    assert_eq!(need.verdict(anonymous), Verdict::Slow);
    assert_eq!(need.verdict(anonymous - 1), Verdict::No);
}

#[test]
fn an_eight_gigabyte_board_gets_a_smaller_model_at_more_bits() {
    let pi5 = Device::find("PI5-8GB").unwrap();
    let available = pi5.ram_mib << 20;
    let asked = Asked::new(Quant::of(FileType::Q4_K_M)).with_ctx(4096);
    let phi4 = fit::best(&Subject::known("phi-4").unwrap(), &asked, available).unwrap();
    assert!(phi4.is_none_or(|best| best.options.starts_with("Q2_K")));
    let mini = fit::best(&Subject::known("phi-4-mini").unwrap(), &asked, available).unwrap().unwrap();
    assert!(mini.options.starts_with("Q8_0"), "{}", mini.options);
}

#[test]
fn cards_take_everything_or_some_layers() {
    let phi4 = Subject::known("phi-4").unwrap();
    let card = Card { bytes: 12 << 30 };
    let place = |mix, kv| card.place(&phi4, &Asked::new(Quant::of(mix)).with_kv(kv)).unwrap();
    assert!(matches!(place(FileType::Q4_K_M, DType::F16), OnCard::Everything { n_ctx: 8192..=16_384 }));
    assert_eq!(place(FileType::Q2_K, DType::F16), OnCard::Everything { n_ctx: 16_384 });
    assert!(matches!(place(FileType::Q8_0, DType::F16), OnCard::Layers { layers: 20..=35, of: 40 }));
    assert!(matches!(place(FileType::F16, DType::F16), OnCard::Layers { layers: 10..=20, of: 40 }));
}
