//! Text: the same ids as the Python library, and windows that keep what matters.
#![allow(clippy::unwrap_used)]

use grice_core::text::{Template, Tokenizer, encode_turn};
use grice_core::{Bundle, Context, Turn, Utterance};
use grice_testkit::fixtures::Fixture;
use proptest::prelude::*;
use std::sync::LazyLock;

struct Model {
    name: &'static str,
    template: Template,
    tokenizer: Tokenizer,
}

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let load = |fixture: Fixture| {
        let bundle = Bundle::open(&fixture.folder).unwrap();
        Model {
            name: fixture.name,
            template: Template::new(bundle.manifest()),
            tokenizer: Tokenizer::from_json(&bundle.tokenizer().unwrap()).unwrap(),
        }
    };
    Fixture::all().into_iter().map(load).collect()
});

#[test]
fn ids_equal_the_python_librarys() {
    for (model, fixture) in MODELS.iter().zip(Fixture::all()) {
        let cases = fixture.texts();
        assert!(cases.len() >= 25);
        for case in cases {
            assert_eq!(model.tokenizer.ids(&case.text).unwrap(), case.ids, "{}: {}", model.name, case.name);
        }
    }
}

fn turn(context: Context, evidence: Option<&str>, response: &str) -> Turn {
    Turn { context, evidence: evidence.map(str::to_owned), response: response.to_owned() }
}

#[test]
fn utterances_alternate_back_from_the_response() {
    let template = &MODELS[0].template;
    let text = |utterances: &[&str]| {
        let utterances = utterances.iter().map(|text| Utterance::Text((*text).to_owned())).collect();
        template.context_text(&Context::Utterances(utterances))
    };
    assert_eq!(text(&["Hello?"]), "[agent_1]: Hello?");
    assert_eq!(text(&["Hi.", "Hello?"]), "[agent_2]: Hi. [agent_1]: Hello?");
    assert_eq!(text(&[]), "");
    let spoken = Utterance::Spoken { speaker: "{text}".to_owned(), text: "{speaker}".to_owned() };
    assert_eq!(template.context_text(&Context::Utterances(vec![spoken])), "[{text}]: {speaker}");
}

#[test]
fn evidence_that_only_names_its_source_is_absent() {
    let template = &MODELS[0].template;
    for absent in ["", "FS1", "FS1; FS2", " AS1, Personal Knowledge;", "FS3 Personal Knowledge"] {
        assert_eq!(template.evidence_text(&turn(Context::default(), Some(absent), "x")), "", "{absent}");
    }
    for present in ["FS12", "FS1 says so", "Personal", "Knowledge", "It rains."] {
        assert_eq!(template.evidence_text(&turn(Context::default(), Some(present), "x")), present);
    }
}

#[test]
fn placeholders_in_a_users_text_are_text() {
    let rendered = MODELS[0].template.render("{response}", "{context}", "{evidence}");
    assert_eq!(rendered.text, "Context: {response}\nEvidence: {context}\nResponse: {evidence}");
    assert_eq!(&rendered.text[rendered.response], "{evidence}");
}

#[test]
fn the_oldest_context_goes_first() {
    for model in MODELS.iter() {
        let context = (0..60).map(|n| format!("word{n} and more.")).collect::<Vec<_>>().join(" ");
        let turn = turn(Context::Text(context), Some("The film came out in 1998."), "I watched the film yesterday.");
        let whole = encode_turn(&model.template, &model.tokenizer, 8000, &turn).unwrap();
        assert!(!whole.truncated);
        let cut = encode_turn(&model.template, &model.tokenizer, 128, &turn).unwrap();
        assert!(cut.truncated && cut.ids.len() <= 128 && cut.ids.len() > 110, "{}: {}", model.name, cut.ids.len());
        // Everything from the newest context to the end is untouched.
        let tail = cut.ids.len() - 20;
        assert_eq!(cut.ids[tail - 20..], whole.ids[whole.ids.len() - 40..], "{}", model.name);
    }
}

#[test]
fn a_long_response_loses_its_end_and_evidence_goes_before_it() {
    for model in MODELS.iter() {
        let response = "I watched the film yesterday. ".repeat(200);
        let turn = turn(Context::Text("hello".into()), Some("The film came out in 1998."), &response);
        let cut = encode_turn(&model.template, &model.tokenizer, 64, &turn).unwrap();
        assert!(cut.truncated && cut.ids.len() <= 64 && cut.ids.len() > 56, "{}: {}", model.name, cut.ids.len());
        let bare = grice_core::Turn::new("", "I watched the film yesterday.");
        let bare = encode_turn(&model.template, &model.tokenizer, 64, &bare).unwrap();
        assert_eq!(cut.ids[..bare.ids.len() - 1], bare.ids[..bare.ids.len() - 1], "{}", model.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// For every text, the window fits, reports cuts correctly, and cuts nothing that fits.
    #[test]
    fn every_window_fits(
        context in "\\PC{0,300}", evidence in prop::option::of("\\PC{0,80}"), response in "[a-zé中🙂 .!\\[\\]]{0,200}x",
        max_tokens in 40usize..200, model in 0usize..2,
    ) {
        let model = &MODELS[model];
        let turn = turn(Context::Text(context), evidence.as_deref(), &response);
        let whole = encode_turn(&model.template, &model.tokenizer, 8000, &turn).unwrap();
        let cut = encode_turn(&model.template, &model.tokenizer, max_tokens, &turn).unwrap();
        prop_assert!(cut.ids.len() <= max_tokens);
        prop_assert_eq!(cut.truncated, whole.ids.len() > max_tokens);
        if !cut.truncated {
            prop_assert_eq!(cut.ids, whole.ids);
        }
    }
}
