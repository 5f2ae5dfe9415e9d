//! The work of one model for one request: turns or token ids in, verdicts out, with metrics. All judging routes use it.

use crate::arrival::Arrival;
use crate::attempt::Attempt;
use crate::inferred::Inferred;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::served::Served;
use crate::texts::Tokenized;
use crate::timing::Timing;
use grice_core::schedule::{Caching, LogitsRow};
use grice_core::task::{DetectNotes, Task};
use grice_core::{PerMaxim, Turn, Verdict};
use std::sync::Arc;
use std::time::Instant;

/// A model's part of a request. If it is dropped without [`Judging::succeed`], it counts as failed.
pub(crate) struct Judging {
    served: Arc<Served>,
    attempt: Attempt,
    pub(crate) timing: Timing,
}

/// A turn, or its token ids, ready to run.
pub(crate) struct Question {
    tokenized: Tokenized,
    thresholds: PerMaxim<f32>,
}

/// The result of a question.
pub(crate) struct Finding {
    pub(crate) row: LogitsRow,
    pub(crate) verdict: Verdict,
}

impl Judging {
    pub(crate) fn new(served: Arc<Served>, arrival: &Arrival) -> Judging {
        Judging { attempt: Attempt::new(&served, arrival.start), served, timing: Timing::default() }
    }

    pub(crate) fn served(&self) -> &Arc<Served> {
        &self.served
    }

    /// Prepares a turn, with these thresholds or the model's own. The time is proportional to the length of the turn: see
    /// [`crate::lanes::Lanes`].
    ///
    /// # Errors
    /// [`Problem`] if the turn cannot be judged.
    pub(crate) fn prepare(&mut self, turn: &Turn, thresholds: Option<PerMaxim<f32>>) -> Result<Question, Problem> {
        let start = Instant::now();
        let tokenized = self.served.tokenize(turn);
        self.timing.tokenize += start.elapsed();
        Ok(self.question(tokenized?, thresholds))
    }

    /// The same for token ids without a text.
    pub(crate) fn prepare_ids(&mut self, ids: Vec<u32>) -> Question {
        let start = Instant::now();
        let tokenized = self.served.take_ids(ids);
        self.timing.tokenize += start.elapsed();
        self.question(tokenized, None)
    }

    /// A turn that was tokenized already.
    pub(crate) fn question(&self, tokenized: Tokenized, thresholds: Option<PerMaxim<f32>>) -> Question {
        Question { tokenized, thresholds: thresholds.unwrap_or_else(|| *self.served.task().thresholds()) }
    }

    /// The result of each question, in order, or the reason why it has none.
    ///
    /// # Errors
    /// As [`Served::infer`].
    pub(crate) async fn judge(
        &mut self,
        metrics: &Metrics,
        questions: &[&Question],
        deadline: Instant,
        caching: Caching,
    ) -> Result<Vec<Result<Finding, Problem>>, Problem> {
        let sequences: Vec<&Tokenized> = questions.iter().map(|question| &question.tokenized).collect();
        let inferred = self.served.infer(&sequences, deadline, caching).await?;
        let start = Instant::now();
        let found = questions.iter().zip(inferred).map(|(question, inferred)| {
            let inferred = inferred?;
            self.timing.add(&inferred);
            self.read(metrics, question, inferred)
        });
        let found = found.collect();
        self.timing.output += start.elapsed();
        Ok(found)
    }

    /// The probabilities for each question, in order, or the reason why it has none. No client asked these, so they are not counted as verdicts.
    ///
    /// # Errors
    /// As [`Served::infer`].
    pub(crate) async fn probe(
        &mut self,
        questions: &[&Question],
        deadline: Instant,
        caching: Caching,
    ) -> Result<Vec<Result<PerMaxim<f32>, Problem>>, Problem> {
        let sequences: Vec<&Tokenized> = questions.iter().map(|question| &question.tokenized).collect();
        let inferred = self.served.infer(&sequences, deadline, caching).await?;
        let found = questions.iter().zip(inferred).map(|(question, inferred)| {
            let inferred = inferred?;
            self.timing.add(&inferred);
            Ok(self.verdict(question, &inferred)?.probabilities)
        });
        Ok(found.collect())
    }

    fn read(&self, metrics: &Metrics, question: &Question, inferred: Inferred) -> Result<Finding, Problem> {
        let verdict = self.verdict(question, &inferred)?;
        metrics.count_verdict(&verdict);
        Ok(Finding { row: inferred.row, verdict })
    }

    fn verdict(&self, question: &Question, inferred: &Inferred) -> Result<Verdict, Problem> {
        let notes = DetectNotes { thresholds: question.thresholds, reading: question.tokenized.reading };
        self.served.task().read(&notes, &inferred.row).map_err(|error| Problem::from(&error))
    }

    /// Counts the request as answered.
    pub(crate) fn succeed(self) {
        self.attempt.succeed(&self.timing);
    }
}
