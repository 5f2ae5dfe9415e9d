//! Pipelines with real models: the tiny detector and tiny models that write.
#![allow(clippy::unwrap_used, clippy::panic)]

use grice_core::task::{Kind, NamedViolations, Outcome, Pipeline, StepKind};
use grice_core::{Bundle, Detector, Error, Memory, Options, PerMaxim, PipelineRunner, Turn, Writer};
use grice_testkit::fixtures::fixtures_folder;
use grice_testkit::generators::{copy_with_recipes, recipes};
use serde_json::{Value, json};
use std::time::Duration;

struct Tiny {
    folder: tempfile::TempDir,
}

impl Tiny {
    fn new(name: &str, recipes: &Value) -> Tiny {
        let folder = tempfile::tempdir().unwrap();
        copy_with_recipes(name, folder.path(), recipes);
        Tiny { folder }
    }

    fn writer(&self) -> Writer {
        Writer::open(self.folder.path(), None).unwrap()
    }

    fn runner(&self) -> PipelineRunner {
        let detector = Bundle::open(fixtures_folder().join("tiny-bert")).unwrap();
        let detector = Detector::load(&detector, &Options::default()).unwrap();
        PipelineRunner::new(detector, self.writer(), 1, Memory::Tokens(8000), || Duration::ZERO).unwrap()
    }
}

fn turns() -> Vec<Turn> {
    (0..24)
        .map(|place| Turn::new(format!("w{} w21", 20 + place), format!("w{} w{} w31", 30 + place, 40 + place)))
        .collect()
}

fn all_named() -> Option<PerMaxim<bool>> {
    Some(PerMaxim::from_fn(|_| true))
}

#[test]
fn side_by_side_is_as_alone() {
    for name in ["llama", "t5", "gpt2"] {
        let mut runner = Tiny::new(name, &recipes()).runner();
        let skills = runner.skills();
        let pipelines = || -> Vec<Pipeline> {
            let repairs = turns().into_iter().map(|turn| Pipeline::repair(turn, None, skills, 3));
            let named = turns().into_iter().map(|turn| Pipeline::repair(turn, all_named(), skills, 4));
            let answers = turns().into_iter().map(|turn| Pipeline::answer(turn, skills, 2));
            repairs.chain(named).chain(answers).collect()
        };
        let together: Vec<Outcome> = runner.run_all(pipelines()).unwrap().into_iter().map(Result::unwrap).collect();
        let mut taken = 0;
        for (pipeline, together) in pipelines().into_iter().zip(&together) {
            let alone = runner.run(pipeline).unwrap();
            // fp32 detectors may differ in the last bit beside others.
            assert_eq!(
                (&alone.response, alone.is_fallback, alone.rounds),
                (&together.response, together.is_fallback, together.rounds)
            );
            let texts = |outcome: &Outcome| outcome.trace.iter().map(|step| step.text.clone()).collect::<Vec<_>>();
            assert_eq!(texts(&alone), texts(together));
            taken += usize::from(alone.trace.iter().any(|step| step.taken == Some(true)));
        }
        assert!(taken > 10, "{name}: {taken}");
    }
}

#[test]
fn a_turn_at_fault_does_not_affect_the_others() {
    let mut runner = Tiny::new("llama", &recipes()).runner();
    let skills = runner.skills();
    let pipeline = |response: &str| Pipeline::repair(Turn::new("w20", response), None, skills, 2);
    let outcomes = runner.run_all(vec![pipeline("w30 w31"), pipeline(" "), pipeline("w40")]).unwrap();
    assert!(matches!(&outcomes[1], Err(Error::EmptyField { field: "response" })));
    assert_eq!(outcomes[0].as_ref().unwrap(), &runner.run(pipeline("w30 w31")).unwrap());
    assert!(outcomes[2].is_ok());
}

#[test]
fn seeds_decide_what_is_drawn() {
    let tiny = Tiny::new("llama", &recipes());
    let named = NamedViolations(PerMaxim { manner: true, ..PerMaxim::default() });
    let texts = |seed: u64| {
        let mut runner = tiny.runner().with_seed(seed);
        let skills = runner.skills();
        let outcome = runner.run(Pipeline::repair(Turn::new("w20 w21", "w30 w31"), Some(named.0), skills, 1)).unwrap();
        outcome.trace.into_iter().map(|step| step.text).collect::<Vec<_>>()
    };
    assert_eq!(texts(7), texts(7));
    assert!((0..5).any(|seed| texts(seed) != texts(7)));
}

/// A prompt's words, as the model reads them.
fn prompt(writer: &Writer, kind: Kind, turn: &Turn) -> Result<String, Error> {
    let recipes = writer.recipes();
    let recipe = match kind {
        Kind::Answer => recipes.answer.as_ref().unwrap(),
        Kind::Repair(maxim) => recipes.repair.get(maxim).as_ref().unwrap(),
    };
    let start = writer.start_by(recipe, turn)?;
    Ok(writer.text(start.source.as_ref().unwrap_or(&start.prompt)))
}

#[test]
fn of_a_long_turn_the_oldest_part_of_the_context_goes_and_never_the_response() {
    let mut recipes = recipes();
    recipes["recipes"]["quantity"]["source_tokens"] = 20.into();
    recipes["recipes"]["answer"] =
        json!({"template": "w6 {context} w7 {evidence} w8", "source_tokens": 12, "max_new_tokens": 8});
    let long = (20..90).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
    for name in ["llama", "t5", "gpt2"] {
        let writer = Tiny::new(name, &recipes).writer();
        let quantity = Kind::Repair(grice_core::Maxim::Quantity);
        let told = prompt(&writer, quantity, &Turn::new(long.clone(), "w30 w31 w32")).unwrap();
        assert!(told.starts_with("w7 ") && told.ends_with("w88 w89 w8 w30 w31 w32"), "{name}: {told}");
        let refused = prompt(&writer, quantity, &Turn::new("w20", long.clone()));
        assert!(
            matches!(refused, Err(Error::LongPrompt { field: "response", tokens: 70.., longest: 20 })),
            "{refused:?}"
        );
        // The end of an answer's prompt stays, and the context goes before the evidence only as far as it must.
        let turn = Turn { evidence: Some("w50".to_owned()), ..Turn::new(long.clone(), "") };
        let told = prompt(&writer, Kind::Answer, &turn).unwrap();
        assert!(told.starts_with("w6 ") && told.ends_with("w89 w7 w50 w8"), "{name}: {told}");
        let turn = Turn { evidence: Some(long.clone()), ..Turn::new("w21 w22", "") };
        let told = prompt(&writer, Kind::Answer, &turn).unwrap();
        assert_eq!(told, "w6 w21 w22 w7 w8", "{name}");
    }
}

#[test]
fn the_end_token_of_a_source_stays_when_the_context_is_cut() {
    let writer = Tiny::new("t5", &recipes()).writer();
    let long = "w30 ".repeat(2000);
    let recipe = writer.recipes().repair.quantity.clone().unwrap();
    let whole = writer.start_by(&recipe, &Turn::new("w20", "w31")).unwrap();
    let cut = writer.start_by(&recipe, &Turn::new(long, "w31")).unwrap();
    let (whole, cut) = (whole.source.unwrap(), cut.source.unwrap());
    assert_eq!(cut.len(), 256);
    assert_eq!(cut.last(), whole.last());
}

#[test]
fn a_user_s_special_tokens_are_text() {
    let writer = Tiny::new("llama", &recipes()).writer();
    let recipe = writer.recipes().repair.quantity.clone().unwrap();
    let of = |response: &str| writer.start_by(&recipe, &Turn::new("w20", response)).unwrap().prompt.to_vec();
    // Neither the end nor the start token; one unknown word instead.
    let ids = of("w30 </s> <s> w31");
    assert!(!ids[1..].contains(&1) && !ids[1..].contains(&2), "{ids:?}");
    assert_eq!(ids.len(), of("w30 w50 w51 w31").len());
}

#[test]
fn a_nul_is_refused_wherever_it_stands_in_a_turn() {
    let writer = Tiny::new("llama", &recipes()).writer();
    let refused = |turn: Turn, name: &str| {
        for recipe in [writer.recipes().answer.as_ref().unwrap(), writer.recipes().repair.quality.as_ref().unwrap()] {
            let told = writer.start_by(recipe, &turn);
            assert!(matches!(&told, Err(Error::NulInField { field, .. }) if *field == name), "{name}: {told:?}");
        }
    };
    // So a special token is spelled inside grice.
    let spelled = "w20 \0</s>\0 w21";
    refused(Turn::new(spelled, "w30"), "context");
    refused(Turn { evidence: Some(spelled.to_owned()), ..Turn::new("w20", "w30") }, "evidence");
    refused(Turn::new("w20", spelled), "response");
}

#[test]
fn a_folder_s_manifest_is_checked() {
    let tiny = Tiny::new("llama", &recipes());
    let open = |manifest: Value| {
        std::fs::write(tiny.folder.path().join("grice.json"), manifest.to_string()).unwrap();
        Writer::open(tiny.folder.path(), None).map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(Writer::is_folder(tiny.folder.path()));
    let mut manifest = recipes();
    manifest["digests"] = json!({ "config.json": "sha256:00" });
    assert!(open(manifest).unwrap_err().contains("config.json: its digest is sha256:"));
    let mut manifest = recipes();
    manifest["recipes"]["manner"]["template"] = "{context}".into();
    let told = open(manifest).unwrap_err();
    assert!(told.contains("grice.json: `recipes.manner`") && told.contains("`{response}` is missing"), "{told}");
    assert!(open(json!({ "format": 1, "task": "detect" })).is_err());
    assert!(!Writer::is_folder(tiny.folder.path()), "it is a detector's");
    // And a detector's door says what this is.
    std::fs::write(tiny.folder.path().join("grice.json"), recipes().to_string()).unwrap();
    let told = Bundle::open(tiny.folder.path()).unwrap_err().to_string();
    assert!(told.contains("`task`") && told.contains("a detector is needed here; see `grice repair --help`"), "{told}");
}

#[test]
fn steps_are_told_in_order() {
    let mut runner = Tiny::new("llama", &recipes()).runner();
    let skills = runner.skills();
    let outcome = runner.run(Pipeline::answer(Turn::new("w20 w21", ""), skills, 0)).unwrap();
    let steps: Vec<StepKind> = outcome.trace.iter().map(|step| step.step).collect();
    assert_eq!(steps, [StepKind::Generate, StepKind::Detect]);
    assert_eq!(outcome.generated.as_deref(), Some(outcome.response.as_str()));
}
