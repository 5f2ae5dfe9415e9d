//! The pipeline with models that are told what to say.
#![allow(clippy::unwrap_used)]

use super::{Draft, Kind, Outcome, Pipeline, PipelineNext, Skill, Skills, StepKind};
use crate::{Turn, Verdict};
use grice_model::{Maxim, PerMaxim};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

const TOOK: Duration = Duration::from_millis(1);
const THRESHOLD: f32 = 0.5;

/// Quantity, quality, relation, manner.
fn verdict(probabilities: [f32; 4]) -> Verdict {
    let [quantity, quality, relation, manner] = probabilities;
    let probabilities = PerMaxim { quantity, quality, relation, manner };
    let violations = PerMaxim::from_fn(|maxim| *probabilities.get(maxim) > THRESHOLD);
    let cooperative = violations.iter().all(|(_, violated)| !violated);
    Verdict { probabilities, violations, cooperative, truncated: false, unknown_share: 0.0 }
}

/// What is said of texts, and what is written.
#[derive(Default)]
struct Cast {
    verdicts: HashMap<&'static str, [f32; 4]>,
    /// By what is asked and the try.
    texts: HashMap<(Option<Maxim>, u32), &'static str>,
    nearest: Vec<&'static str>,
    detected: usize,
    written: Vec<Draft>,
}

impl Cast {
    fn new(verdicts: &[(&'static str, [f32; 4])], texts: &[((Option<Maxim>, u32), &'static str)]) -> Cast {
        Cast { verdicts: verdicts.iter().copied().collect(), texts: texts.iter().copied().collect(), ..Cast::default() }
    }

    fn play(&mut self, mut pipeline: Pipeline) -> Option<Outcome> {
        for _ in 0..100 {
            match pipeline.next().clone() {
                PipelineNext::Done => return pipeline.finish(),
                PipelineNext::Detect(turns) => {
                    self.detected += turns.len();
                    let told = turns.iter().map(|turn| verdict(self.verdicts[turn.response.as_str()])).collect();
                    pipeline.judged(told, TOOK);
                }
                PipelineNext::Write(draft) => {
                    let maxim = match draft.kind {
                        Kind::Answer => None,
                        Kind::Repair(maxim) => Some(maxim),
                    };
                    let text = self.texts.get(&(maxim, draft.attempt)).map(|text| (*text).to_owned());
                    self.written.push(draft);
                    pipeline.wrote(text.ok_or_else(|| "the response is too long".to_owned()), TOOK);
                }
                PipelineNext::Nearest(_) => {
                    pipeline.found(self.nearest.iter().map(|text| (*text).to_owned()).collect(), TOOK);
                }
            }
        }
        panic!("it does not end: {pipeline:?}");
    }
}

fn again(retries: u32) -> Option<Skill> {
    Some(Skill { retries, min_word_f1: 0.0 })
}

fn all_skills() -> Skills {
    let repair = PerMaxim { quantity: again(0), quality: again(0), relation: None, manner: again(0) };
    Skills { repair, answer: again(0), nearest: true }
}

fn repair(response: &str, skills: Skills, rounds: u32) -> Pipeline {
    Pipeline::repair(Turn::new("How was it?", response), None, skills, rounds)
}

#[test]
fn a_cooperative_response_stays_and_nothing_is_written() {
    let mut cast = Cast::new(&[("fine", [0.1; 4])], &[]);
    let outcome = cast.play(repair("fine", all_skills(), 3)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.is_fallback, outcome.rounds), ("fine", false, 0));
    assert_eq!((cast.detected, cast.written.len(), outcome.trace.len()), (1, 0, 1));
    assert_eq!(outcome.before, outcome.after);
}

#[test]
fn a_repair_that_helps_is_taken() {
    let verdicts = [("long long text", [0.9, 0.1, 0.1, 0.1]), ("short", [0.2, 0.1, 0.1, 0.1])];
    let mut cast = Cast::new(&verdicts, &[((Some(Maxim::Quantity), 0), " short\n")]);
    let outcome = cast.play(repair("long long text", all_skills(), 3)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.is_fallback, outcome.rounds), ("short", false, 1));
    assert_eq!((outcome.before.probabilities.quantity, outcome.after.probabilities.quantity), (0.9, 0.2));
    let steps: Vec<_> = outcome.trace.iter().map(|step| (step.step, step.maxim, step.taken)).collect();
    let quantity = Some(Maxim::Quantity);
    let expected =
        [(StepKind::Detect, None, None), (StepKind::Repair, quantity, None), (StepKind::Detect, quantity, Some(true))];
    assert_eq!(steps, expected);
}

#[test]
fn a_repair_that_harms_is_not_taken() {
    for worse in [[0.9, 0.1, 0.1, 0.1], [0.4, 0.6, 0.1, 0.1], [0.95, 0.1, 0.1, 0.1]] {
        let verdicts = [("bad", [0.9, 0.1, 0.1, 0.1]), ("other", worse)];
        let mut cast = Cast::new(&verdicts, &[((Some(Maxim::Quantity), 0), "other")]);
        let outcome = cast.play(repair("bad", all_skills(), 3)).unwrap();
        assert_eq!((outcome.response.as_str(), outcome.is_fallback, outcome.rounds), ("bad", true, 1), "{worse:?}");
        assert_eq!(outcome.before, outcome.after);
        assert!(outcome.trace[2].reason.is_some(), "{:?}", outcome.trace);
    }
}

#[test]
fn several_violations_are_repaired_the_worst_first() {
    let verdicts =
        [("bad", [0.8, 0.1, 0.1, 0.9]), ("clear", [0.8, 0.1, 0.1, 0.2]), ("clear and short", [0.1, 0.1, 0.1, 0.2])];
    let texts = [((Some(Maxim::Manner), 0), "clear"), ((Some(Maxim::Quantity), 0), "clear and short")];
    let mut cast = Cast::new(&verdicts, &texts);
    let outcome = cast.play(repair("bad", all_skills(), 3)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.rounds), ("clear and short", 2));
    assert_eq!(cast.written[1].turn.response, "clear");
    let outcome = Cast::new(&verdicts, &texts).play(repair("bad", all_skills(), 1)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.rounds, outcome.is_fallback), ("clear", 1, false));
}

#[test]
fn a_maxim_that_cannot_be_repaired_does_not_keep_others_from_it() {
    let verdicts = [("bad", [0.95, 0.1, 0.1, 0.9]), ("no", [0.95, 0.1, 0.1, 0.9]), ("clear", [0.94, 0.1, 0.1, 0.2])];
    let texts = [((Some(Maxim::Quantity), 0), "no"), ((Some(Maxim::Manner), 0), "clear")];
    let outcome = Cast::new(&verdicts, &texts).play(repair("bad", all_skills(), 2)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.rounds, outcome.is_fallback), ("clear", 2, false));
}

#[test]
fn retries_are_exact_and_then_the_original_stays_with_its_verdict() {
    for retries in [0, 1, 3] {
        let mut skills = all_skills();
        skills.repair.quantity = again(retries);
        let texts: Vec<_> = (0..9).map(|attempt| ((Some(Maxim::Quantity), attempt), "no!!!!!!")).collect();
        let mut cast = Cast::new(&[("bad", [0.9, 0.1, 0.1, 0.1])], &texts);
        let outcome = cast.play(repair("bad", skills, 1)).unwrap();
        assert_eq!(
            cast.written.iter().map(|draft| draft.attempt).collect::<Vec<_>>(),
            (0..=retries).collect::<Vec<_>>()
        );
        assert_eq!((outcome.response.as_str(), outcome.is_fallback), ("bad", true));
        assert_eq!(outcome.after.probabilities.quantity, 0.9);
    }
}

#[test]
fn a_repair_that_strays_is_not_taken() {
    let verdicts = [("the film was good but long", [0.1, 0.1, 0.1, 0.9]), ("the film was good but slow", [0.1; 4])];
    let texts = [((Some(Maxim::Manner), 0), "cats purr"), ((Some(Maxim::Manner), 1), "the film was good but slow")];
    let mut skills = all_skills();
    skills.repair.manner = Some(Skill { retries: 1, min_word_f1: 0.8 });
    let outcome = Cast::new(&verdicts, &texts).play(repair("the film was good but long", skills, 1)).unwrap();
    assert_eq!(outcome.response, "the film was good but slow");
    assert_eq!(outcome.trace[1].reason.as_deref(), Some("it changes too many words"));
    skills.repair.manner = Some(Skill { retries: 1, min_word_f1: 0.9 });
    let outcome = Cast::new(&verdicts, &texts).play(repair("the film was good but long", skills, 1)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.is_fallback), ("the film was good but long", true));
}

#[test]
fn of_the_nearest_responses_the_detector_chooses() {
    let verdicts = [
        ("off", [0.1, 0.1, 0.9, 0.1]),
        ("near", [0.1, 0.1, 0.3, 0.1]),
        ("best", [0.1, 0.1, 0.2, 0.1]),
        ("new fault", [0.6, 0.1, 0.1, 0.1]),
    ];
    let mut cast = Cast::new(&verdicts, &[]);
    cast.nearest = vec!["new fault", "near", "best", "off", " "];
    let outcome = cast.play(repair("off", all_skills(), 3)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.rounds, cast.detected), ("best", 1, 4));
}

#[test]
fn without_a_near_response_one_is_written() {
    let verdicts = [("off", [0.1, 0.1, 0.9, 0.1]), ("on", [0.1, 0.1, 0.2, 0.1])];
    let outcome = Cast::new(&verdicts, &[((None, 0), "on")]).play(repair("off", all_skills(), 3)).unwrap();
    assert_eq!(outcome.response, "on");
    // Nor is there a model that writes one.
    let skills = Skills { answer: None, ..all_skills() };
    let outcome = Cast::new(&verdicts, &[]).play(repair("off", skills, 3)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.is_fallback), ("off", true));
    let skills = Skills { answer: None, nearest: false, ..all_skills() };
    let outcome = Cast::new(&verdicts, &[]).play(repair("off", skills, 3)).unwrap();
    assert_eq!((outcome.response.as_str(), outcome.is_fallback, outcome.rounds), ("off", true, 0));
}

#[test]
fn named_violations_are_repaired_without_asking_first() {
    let verdicts = [("said", [0.9, 0.1, 0.1, 0.9]), ("clear", [0.5, 0.1, 0.1, 0.2])];
    let named = PerMaxim { manner: true, ..PerMaxim::default() };
    let mut cast = Cast::new(&verdicts, &[((Some(Maxim::Manner), 0), "clear")]);
    let pipeline = Pipeline::repair(Turn::new("", "said"), Some(named), all_skills(), 3);
    assert!(matches!(pipeline.next(), PipelineNext::Write(Draft { kind: Kind::Repair(Maxim::Manner), .. })));
    let outcome = cast.play(pipeline).unwrap();
    // The first response is judged together with the repair, since they are compared.
    assert_eq!((outcome.response.as_str(), cast.detected), ("clear", 2));
    assert_eq!(outcome.before.probabilities.manner, 0.9);
    // Nothing comes of it: the original, with its verdict.
    let mut cast = Cast::new(&verdicts, &[]);
    let outcome = cast.play(Pipeline::repair(Turn::new("", "said"), Some(named), all_skills(), 3)).unwrap();
    assert_eq!(
        (outcome.response.as_str(), outcome.is_fallback, outcome.after.probabilities.manner),
        ("said", true, 0.9)
    );
}

#[test]
fn an_answer_is_written_judged_and_repaired() {
    let verdicts = [("bad answer", [0.9, 0.1, 0.1, 0.1]), ("good", [0.1; 4])];
    let texts = [((None, 0), "??????"), ((None, 1), "bad answer"), ((Some(Maxim::Quantity), 0), "good")];
    let skills = Skills { answer: again(1), ..all_skills() };
    let outcome = Cast::new(&verdicts, &texts).play(Pipeline::answer(Turn::new("Hi", "old"), skills, 2)).unwrap();
    assert_eq!((outcome.generated.as_deref(), outcome.response.as_str()), (Some("bad answer"), "good"));
    // A bad answer is better than none; nothing is none.
    let bad = Cast::new(&[("??????", [0.1; 4])], &texts).play(Pipeline::answer(Turn::new("Hi", ""), all_skills(), 2));
    assert_eq!(bad.unwrap().response, "??????");
    assert_eq!(Cast::default().play(Pipeline::answer(Turn::new("Hi", ""), all_skills(), 2)), None);
}

proptest! {
    /// Whatever models say: it ends, within its rounds, and never with a worse response.
    #[test]
    fn no_turn_gets_worse(
        probabilities in prop::collection::vec(prop::array::uniform4(0.0f32..1.0), 8),
        texts in prop::collection::vec(0usize..9, 24), nearest in prop::collection::vec(0usize..8, 0..6),
        named in prop::option::of(prop::array::uniform4(any::<bool>())), rounds in 0u32..5, retries in 0u32..3, min_word_f1 in 0.0f32..1.0,
        can in prop::array::uniform6(any::<bool>()), answers in any::<bool>(),
    ) {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i!!!!!"];
        let verdicts: Vec<_> = names.iter().copied().zip(probabilities.iter().copied().cycle()).collect();
        let kinds = [None, Some(Maxim::Quantity), Some(Maxim::Quality), Some(Maxim::Relation), Some(Maxim::Manner)];
        let asked = kinds.into_iter().flat_map(|kind| (0..3).map(move |attempt| (kind, attempt)));
        let texts: Vec<_> = asked.zip(texts.iter().map(|&place| names[place])).collect();
        let mut cast = Cast::new(&verdicts, &texts);
        cast.nearest = nearest.iter().map(|&place| names[place]).collect();
        let of = |can: bool| can.then_some(Skill { retries, min_word_f1 });
        let repair = PerMaxim { quantity: of(can[0]), quality: of(can[1]), relation: of(can[2]), manner: of(can[3]) };
        let skills = Skills { repair, answer: of(can[4] || answers), nearest: can[5] };
        let named = named.map(|[quantity, quality, relation, manner]| PerMaxim { quantity, quality, relation, manner });
        let turn = Turn::new("How was it?", "a");
        let pipeline = if answers { Pipeline::answer(turn, skills, rounds) } else { Pipeline::repair(turn, named, skills, rounds) };
        let outcome = cast.play(pipeline).unwrap();
        let worst = |verdict: &Verdict| verdict.probabilities.iter().map(|(_, p)| *p).fold(0.0, f32::max);
        prop_assert!(outcome.rounds <= rounds);
        prop_assert!(worst(&outcome.after) <= worst(&outcome.before));
        for maxim in Maxim::ALL {
            prop_assert!(*outcome.before.violations.get(maxim) || !*outcome.after.violations.get(maxim));
        }
        let first = outcome.generated.as_deref().unwrap_or("a");
        if outcome.is_fallback {
            prop_assert_eq!(&outcome.response, first);
        }
        prop_assert_eq!(&outcome.after, &verdict(cast.verdicts[outcome.response.as_str()]));
        prop_assert!(cast.written.iter().all(|draft| draft.attempt <= retries));
    }
}
