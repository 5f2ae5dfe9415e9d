//! Models that write text, against transformers, and against themselves in other portions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::{CpuGenerator, CpuGeneratorPlan};
use grice_kernels::{Isa, PAGE_TOKENS};
use grice_model::{GeneratorEngine, NewSource, Pass, Past, Precision, SourcePast, pages_of};
use grice_testkit::generators::{GENERATORS, LogitsCase, checkpoint, reference};
use std::sync::Arc;

const PAGES: usize = 64;

/// Random pages, so that no test passes because they follow each other.
fn pages(tokens: usize, seed: u32) -> Arc<[u32]> {
    (0..pages_of(tokens) as u32).map(|page| (page * 7 + seed * 13) % (PAGES as u32 / 2) * 2 + seed % 2).collect()
}

fn source(engine: &mut CpuGenerator, ids: Option<&[u32]>) -> Option<SourcePast> {
    let ids = ids?;
    let pages = pages(ids.len(), 1);
    engine.read(&[NewSource { ids: ids.into(), pages: pages.clone() }]).unwrap();
    Some(SourcePast { tokens: ids.len(), pages })
}

/// Logits of all tokens of a prompt that is run in pieces, `[tokens, vocabulary]`.
fn logits(engine: &mut CpuGenerator, case: &LogitsCase, pieces: &[usize]) -> Vec<f32> {
    let source = source(engine, case.source.as_deref());
    let pages = pages(case.prompt.len(), 4);
    let (mut kept, mut all) = (0, Vec::new());
    for &tokens in pieces {
        let ids = case.prompt[kept..kept + tokens].to_vec();
        let past = Past { tokens, kept, pages: pages.clone(), source: source.clone(), asked: tokens };
        all.extend_from_slice(engine.step(&Pass { ids, pasts: vec![past], copies: Vec::new() }).unwrap());
        kept += tokens;
    }
    all
}

fn pieces(length: usize, piece: usize) -> Vec<usize> {
    (0..length).step_by(piece).map(|start| piece.min(length - start)).collect()
}

fn in_8_bits(name: &str, isa: Isa) -> CpuGeneratorPlan {
    let generator = checkpoint(name).generator.to_precision(Precision::Int8).unwrap();
    CpuGeneratorPlan::with_isa(generator, isa).unwrap()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn logits_are_those_of_transformers() {
    for name in GENERATORS {
        let plan = CpuGeneratorPlan::new(checkpoint(name).generator).unwrap();
        let mut engine = plan.engine(2, PAGES).unwrap();
        for case in reference(name).cases {
            let found = logits(&mut engine, &case, &[case.prompt.len()]);
            let vocabulary = plan.vocabulary();
            for (&position, expected) in case.positions.iter().zip(case.logits.chunks_exact(vocabulary)) {
                let largest = expected.iter().fold(1f32, |largest, logit| largest.max(logit.abs()));
                let found = &found[position * vocabulary..][..vocabulary];
                let what = format!("{name}, position {position} of {}", case.prompt.len());
                grice_testkit::assert_close(&what, found, expected, 2e-4 * largest);
            }
        }
    }
}

/// In any pieces and on any number of threads: the same bits.
#[test]
fn a_prompt_in_pieces_is_a_prompt_at_once() {
    for name in GENERATORS {
        let exact = CpuGeneratorPlan::new(checkpoint(name).generator).unwrap();
        let plans = [exact, in_8_bits(name, Isa::best())];
        for (plan, case) in
            plans.iter().flat_map(|plan| reference(name).cases.into_iter().map(move |case| (plan, case)))
        {
            let length = case.prompt.len();
            let whole = bits(&logits(&mut plan.engine(1, PAGES).unwrap(), &case, &[length]));
            for piece in [1, 3, PAGE_TOKENS - 1, PAGE_TOKENS, length.div_ceil(2)] {
                let mut engine = plan.engine(2, PAGES).unwrap();
                let found = bits(&logits(&mut engine, &case, &pieces(length, piece)));
                assert!(found == whole, "{name}, {length} tokens in pieces of {piece}");
            }
        }
    }
}

#[test]
fn neighbours_do_not_matter() {
    for name in GENERATORS {
        let plan = in_8_bits(name, Isa::best());
        let cases = reference(name).cases;
        let alone: Vec<_> = cases
            .iter()
            .map(|case| bits(&logits(&mut plan.engine(1, PAGES).unwrap(), case, &[case.prompt.len()])))
            .collect();
        let mut engine = plan.engine(2, PAGES).unwrap();
        let mut free = (0..PAGES as u32).rev();
        let (mut ids, mut pasts) = (Vec::new(), Vec::new());
        for case in &cases {
            let mut take = |tokens: usize| -> Arc<[u32]> { (&mut free).take(pages_of(tokens)).collect() };
            let source = case.source.as_ref().map(|ids| {
                let pages = take(ids.len());
                engine.read(&[NewSource { ids: ids.as_slice().into(), pages: pages.clone() }]).unwrap();
                SourcePast { tokens: ids.len(), pages }
            });
            let tokens = case.prompt.len();
            ids.extend_from_slice(&case.prompt);
            // Of every other sequence only the last token's logits are asked for.
            let asked = if pasts.len() % 2 == 0 { tokens } else { 1 };
            pasts.push(Past { tokens, kept: 0, pages: take(tokens), source, asked });
        }
        let found = bits(engine.step(&Pass { ids, pasts: pasts.clone(), copies: Vec::new() }).unwrap());
        let mut rest = found.as_slice();
        for (past, alone) in pasts.iter().zip(&alone) {
            let (own, after) = rest.split_at(past.asked * plan.vocabulary());
            assert!(own == &alone[alone.len() - own.len()..], "{name}, {} tokens", past.tokens);
            rest = after;
        }
        assert!(rest.is_empty());
    }
}

/// In 8 bits every instruction set has the same bits.
#[test]
fn int8_is_the_same_everywhere() {
    for name in GENERATORS {
        let cases = reference(name).cases;
        let mut known = None;
        for isa in Isa::available() {
            let mut engine = in_8_bits(name, isa).engine(1, PAGES).unwrap();
            let found: Vec<_> =
                cases.iter().map(|case| bits(&logits(&mut engine, case, &[case.prompt.len()]))).collect();
            assert!(known.get_or_insert_with(|| found.clone()) == &found, "{name} on {}", isa.name());
        }
    }
}

/// A page that is copied goes on by itself.
#[test]
fn a_copied_page_is_its_own() {
    let plan = in_8_bits("gpt2", Isa::best());
    let mut engine = plan.engine(1, 4).unwrap();
    let past = |tokens, kept, page: u32| Past { tokens, kept, pages: [page].into(), source: None, asked: 1 };
    let mut step = |ids: &[u32], pasts: Vec<Past>, copies: &[(u32, u32)]| {
        bits(engine.step(&Pass { ids: ids.to_vec(), pasts, copies: copies.to_vec() }).unwrap())
    };
    step(&[7, 8, 9], vec![past(3, 0, 2)], &[]);
    let both = step(&[10, 11], vec![past(1, 3, 2), past(1, 3, 0)], &[(2, 0)]);
    let first = step(&[7, 8, 9, 10, 12], vec![past(5, 0, 1)], &[]);
    assert_eq!(step(&[12], vec![past(1, 4, 2)], &[]), first);
    let second = step(&[7, 8, 9, 11], vec![past(4, 0, 1)], &[]);
    assert_eq!(both[plan.vocabulary()..], second);
}

#[test]
fn what_does_not_fit_is_refused() {
    let plan = CpuGeneratorPlan::new(checkpoint("gpt2").generator).unwrap();
    let mut engine = plan.engine(1, 8).unwrap();
    let past = Past { tokens: 1, kept: 0, pages: [0].into(), source: None, asked: 1 };
    let mut refused = |ids: &[u32], past: Past, copies: &[(u32, u32)], expected: &str| {
        let pass = Pass { ids: ids.to_vec(), pasts: vec![past], copies: copies.to_vec() };
        let error = engine.step(&pass).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&[96], past.clone(), &[], "token id 96 has no row in the model's embedding of 96 rows");
    refused(&[1, 2], past.clone(), &[], "its sequences do not have the tokens");
    refused(&[1], Past { kept: 160, pages: (0..6).collect(), ..past.clone() }, &[], "longer than the 160 positions");
    refused(&[1], Past { pages: [8].into(), ..past.clone() }, &[], "page");
    refused(&[1], Past { kept: 40, ..past.clone() }, &[], "page");
    refused(&[1], past.clone(), &[(0, 8)], "it has no page 8 of 8");
    let source = Some(SourcePast { tokens: 1, pages: [0].into() });
    refused(&[1], Past { source, ..past.clone() }, &[], "its sequences do not have");
    refused(&[1], Past { asked: 2, ..past.clone() }, &[], "its sequences do not have");
    let read = engine.read(&[NewSource { ids: [1].into(), pages: [0].into() }]);
    assert!(read.unwrap_err().to_string().contains("no encoder"));
    assert!(plan.engine(1, usize::MAX / 2).is_err());
    // It still works.
    assert_eq!(engine.step(&Pass { ids: vec![1], pasts: vec![past], copies: Vec::new() }).unwrap().len(), 96);
}
