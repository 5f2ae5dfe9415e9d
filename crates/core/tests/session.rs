//! A model and its schedule, driven like in a browser.
#![allow(clippy::unwrap_used)]

use grice_core::schedule::{Failure, Rejection, RequestId, Retry, Run, Time};
use grice_core::session::{Ask, Detection, Pushed, Refusal, Session, SessionOptions, Step};
use grice_core::{AnyEngine, Bundle, Engine, EngineError, Error, ErrorKind, Model, Options, Turn, run_rows_blocking};
use grice_testkit::fixtures::fixtures_folder;
use std::sync::Arc;

/// A session and its engine, with a clock that advances by a millisecond at each call.
struct Driven {
    session: Session,
    engine: AnyEngine,
    now_ms: u64,
    batches: Vec<usize>,
}

impl Driven {
    fn new(settings: &str) -> Driven {
        let model =
            Model::load(&Bundle::open(fixtures_folder().join("tiny-bert")).unwrap(), &Options::default()).unwrap();
        let engine = model.build_engine(1).unwrap();
        let settings: SessionOptions = serde_json::from_str(settings).unwrap();
        let session = Session::new(model, "sha256:0", &settings).unwrap();
        Driven { session, engine, now_ms: 0, batches: Vec::new() }
    }

    fn push(&mut self, response: &str, ask: &str) -> Result<Pushed, Refusal> {
        let now_ms = &mut self.now_ms;
        self.session.push(&Turn::new("Hello?", response), &serde_json::from_str(ask).unwrap(), || {
            *now_ms += 1;
            Time::from_micros(*now_ms * 1000)
        })
    }

    fn request(&mut self, response: &str, ask: &str) -> RequestId {
        match self.push(response, ask).unwrap() {
            Pushed::Request(id) => id,
            Pushed::Answer(detection) => panic!("{response}: known already: {detection:?}"),
        }
    }

    fn poll(&mut self) -> Step {
        self.session.poll(Time::from_micros(self.now_ms * 1000))
    }

    fn run(&mut self, run: &Run) {
        self.batches.push(run.batch.rows());
        let outcome = self
            .engine
            .forward(&run.batch)
            .map_err(|error| Failure { error: Arc::new(error.into()), retry: Retry::Never });
        self.now_ms += 10;
        assert!(self.session.complete(run.id, outcome, Time::from_micros(self.now_ms * 1000)));
    }

    /// Polls and runs until there is nothing to do; answers in their order.
    fn finish(&mut self) -> Vec<(RequestId, Result<Detection, Refusal>)> {
        let mut answers = Vec::new();
        loop {
            match self.poll() {
                Step::Answer(id, found) => answers.push((id, found)),
                Step::Run(run) => self.run(&run),
                Step::WaitUntil(_) | Step::Idle => return answers,
            }
        }
    }
}

#[test]
fn turns_that_come_together_run_together_and_identical_ones_once() {
    let mut driven = Driven::new(r#"{"batchRowsMax": 4}"#);
    let ids: Vec<RequestId> = ["a", "b", "a", "c", "d", "e"].map(|text| driven.request(text, "{}")).to_vec();
    let answers = driven.finish();
    assert_eq!(driven.batches, [4, 1]);
    assert_eq!(answers.len(), ids.len());
    let found = |id: RequestId| answers.iter().find(|(of, _)| *of == id).unwrap().1.as_ref().unwrap();
    assert_eq!(found(ids[0]).verdict, found(ids[2]).verdict);
    assert_ne!(found(ids[0]).verdict, found(ids[1]).verdict);
    assert!(!found(ids[0]).cached);
    assert_eq!(found(ids[0]).timings.tokenize_ms, 1.0);
    assert!(found(ids[5]).timings.queue_ms >= 10.0, "the second batch waited for the first");
    assert_eq!(found(ids[5]).timings.infer_ms, 10.0);
}

#[test]
fn what_was_judged_is_known_and_thresholds_apply_to_it_too() {
    let mut driven = Driven::new("{}");
    driven.request("a", "{}");
    let (id, first) = driven.finish().remove(0);
    let first = first.unwrap();
    let Pushed::Answer(again) = driven.push("a", "{}").unwrap() else { panic!("not known") };
    assert!(again.cached);
    assert_eq!(again.verdict, first.verdict);
    // A page reads the same digits either way.
    let digits = |told: String| told.split_once("\"probabilities\":").unwrap().1.split_once('}').unwrap().0.to_owned();
    let pushed = digits(serde_json::to_string(&Pushed::Answer(again)).unwrap());
    assert_eq!(digits(serde_json::to_string(&Step::Answer(id, Ok(first.clone()))).unwrap()), pushed);
    let Pushed::Answer(strict) = driven.push("a", r#"{"thresholds": {"manner": 0, "quality": 1}}"#).unwrap() else {
        panic!("not known")
    };
    assert!(strict.verdict.violations.manner && !strict.verdict.violations.quality);
    assert_eq!(strict.verdict.violations.quantity, first.verdict.violations.quantity);
    driven.request("a", r#"{"bypassCache": true}"#);
    assert_eq!(driven.finish().len(), 1);
    let mut forgetful = Driven::new(r#"{"cacheBytesMax": 0, "thresholds": {"relation": 0}}"#);
    forgetful.request("a", "{}");
    assert!(forgetful.finish().remove(0).1.unwrap().verdict.violations.relation);
    forgetful.request("a", "{}");
}

#[test]
fn a_cancelled_turn_gets_no_answer_and_disturbs_no_other() {
    let mut driven = Driven::new("{}");
    let (kept, cancelled) = (driven.request("a", "{}"), driven.request("b", "{}"));
    assert!(driven.session.cancel(cancelled));
    assert!(!driven.session.cancel(cancelled));
    let answers = driven.finish();
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [kept]);
    assert_eq!(driven.batches, [1]);
    assert!(!driven.session.cancel(kept));
}

#[test]
fn a_turn_held_back_for_others_leaves_after_its_wait() {
    let mut driven = Driven::new(r#"{"waitMs": 20}"#);
    driven.request("a", "{}");
    let Step::WaitUntil(moment) = driven.poll() else { panic!("it did not wait") };
    // It came in the second millisecond, when it had been tokenized.
    assert_eq!(moment, Time::from_micros(22_000));
    driven.now_ms = 22;
    assert_eq!(driven.finish().len(), 1);
}

#[test]
fn refusals_say_who_is_at_fault() {
    let mut driven = Driven::new(r#"{"queueMax": 1}"#);
    let at_fault = |refusal: Result<Pushed, Refusal>| match refusal.unwrap_err() {
        Refusal::Error(error) => (error.kind(), error.to_string()),
        Refusal::Rejection(rejection) => panic!("{rejection}"),
    };
    let (kind, said) = at_fault(driven.push(" ", "{}"));
    assert_eq!((kind, said.contains("`response` is empty")), (ErrorKind::BadInput, true), "{said}");
    for threshold in ["-0.1", "1.5"] {
        let (kind, said) = at_fault(driven.push("a", &format!(r#"{{"thresholds": {{"manner": {threshold}}}}}"#)));
        assert_eq!((kind, said.contains("threshold of `manner`")), (ErrorKind::BadInput, true), "{said}");
    }
    let late = driven.request("a", r#"{"timeoutMs": 5}"#);
    assert!(matches!(driven.push("b", "{}"), Err(Refusal::Rejection(Rejection::QueueFull { .. }))));
    driven.now_ms += 100;
    let answers = driven.finish();
    assert!(matches!(&answers[..], [(id, Err(Refusal::Rejection(Rejection::DeadlineExceeded)))] if *id == late));
    let ask: Result<Ask, _> = serde_json::from_str(r#"{"treshold": 1}"#);
    assert!(ask.unwrap_err().to_string().contains("unknown field `treshold`"));
    let model = Model::load(&Bundle::open(fixtures_folder().join("tiny-bert")).unwrap(), &Options::default()).unwrap();
    let settings: SessionOptions = serde_json::from_str(r#"{"thresholds": {"quality": 2}}"#).unwrap();
    assert!(matches!(Session::new(model, "", &settings), Err(Error::Threshold(maxim)) if maxim.name() == "quality"));
}

#[test]
fn a_turn_on_which_the_model_fails_costs_no_other() {
    let mut driven = Driven::new("{}");
    let ids = ["a", "b", "c"].map(|response| driven.request(response, "{}"));
    let Step::Run(run) = driven.poll() else { panic!("nothing to run") };
    let bad = run.batch.sequence(1).to_vec();
    let outcome = run_rows_blocking(&run.batch, |part| match (0..part.rows()).any(|row| part.sequence(row) == bad) {
        true => Err(EngineError::Run("broken".to_owned())),
        false => driven.engine.forward(part),
    });
    assert!(driven.session.complete_rows(run.id, outcome, Time::from_micros(50_000)));
    let mut answers = driven.finish();
    answers.sort_by_key(|(id, _)| *id);
    assert!(answers.iter().map(|(id, _)| *id).eq(ids));
    let failed = answers.iter().filter(|(_, answer)| answer.is_err()).count();
    assert_eq!(failed, 1);
    assert!(answers.iter().any(|(_, answer)| matches!(answer, Err(Refusal::Rejection(Rejection::Failed(_))))));
}

#[test]
fn thresholds_are_numbers_from_0_to_1() {
    let mut driven = Driven::new("{}");
    let all = |value: &str| {
        format!(
            "{{\"thresholds\": {{\"quantity\": {value}, \"quality\": {value}, \"relation\": {value}, \"manner\": {value}}}}}"
        )
    };
    for (threshold, cooperative) in [("0", false), ("1", true)] {
        driven.request(threshold, &all(threshold));
        assert_eq!(driven.finish().remove(0).1.unwrap().verdict.cooperative, cooperative);
    }
    for outside in ["-0.1", "1.001"] {
        let refused = driven.push("a", &all(outside)).unwrap_err();
        assert_eq!(refused.to_string(), "the threshold of `quantity` must be a number from 0 to 1");
    }
}

#[test]
fn an_engine_that_fails_fails_its_turns_and_no_others() {
    let mut driven = Driven::new("{}");
    let id = driven.request("a", "{}");
    let Step::Run(run) = driven.poll() else { panic!("nothing to run") };
    let error = Arc::new(Error::Tokenizer("broken".to_owned()));
    assert!(driven.session.complete(run.id, Err(Failure { error, retry: Retry::Never }), Time::from_micros(50_000)));
    let answers = driven.finish();
    assert!(matches!(&answers[..], [(of, Err(Refusal::Rejection(Rejection::Failed(_))))] if *of == id));
    driven.request("a", "{}");
    assert!(driven.finish().remove(0).1.is_ok());
}
