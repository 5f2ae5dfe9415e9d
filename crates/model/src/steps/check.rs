//! Whether steps out of a file are ones that a program could have had. Engines trust their steps, so a file's are checked here first.

use super::{Action, Operand, Rows, Slot, Step, Steps, Then};
use std::collections::HashMap;

/// More columns than any model has.
const COLUMNS_MAX: usize = 1 << 20;
/// More steps than any model has.
const STEPS_MAX: usize = 1 << 16;

/// Steps that no program has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step} of {steps} does not fit what comes before it: {problem}")]
pub struct Unsound {
    step: usize,
    steps: usize,
    problem: &'static str,
}

impl Steps {
    /// Checks that every step reads what a step before it wrote, that all sizes agree and that every number names a part.
    ///
    /// # Errors
    /// [`Unsound`], naming the first step that does not fit.
    pub fn check(&self) -> Result<(), Unsound> {
        let unsound = |step: usize, problem| Unsound { step, steps: self.list.len(), problem };
        let sizes = self.linears.iter().flatten().chain(&self.norms).chain([&self.embedding, &self.hidden]);
        let heads = self.attentions.iter().all(|&[heads, key_heads, head_dim]| {
            let in_range = heads.checked_mul(head_dim).is_some_and(|columns| (1..=COLUMNS_MAX).contains(&columns));
            in_range && key_heads > 0 && heads.is_multiple_of(key_heads)
        });
        if !heads || !sizes.into_iter().all(|size| (1..=COLUMNS_MAX).contains(size)) {
            return Err(unsound(0, "a size is out of range"));
        }
        if self.list.len() > STEPS_MAX {
            return Err(unsound(STEPS_MAX, "there are too many"));
        }
        let mut state = State { steps: self, written: HashMap::new() };
        for (number, step) in self.list.iter().enumerate() {
            state.take(number, step).map_err(|problem| unsound(number, problem))?;
        }
        let ends = state.holds(&self.answer).is_ok() && self.answer.rows == Rows::Sequences && self.answer.is_whole();
        if ends { Ok(()) } else { Err(unsound(self.list.len(), "the answer is not what the last steps left")) }
    }
}

/// What lies in the buffers.
struct State<'a> {
    steps: &'a Steps,
    written: HashMap<Slot, (Rows, usize)>,
}

type Checked = Result<(), &'static str>;

fn ensure(is_so: bool, problem: &'static str) -> Checked {
    if is_so { Ok(()) } else { Err(problem) }
}

impl State<'_> {
    fn take(&mut self, number: usize, step: &Step) -> Checked {
        let action = &step.action;
        ensure((number == 0) == matches!(action, Action::Embed { .. }), "the embedding is not the first step")?;
        ensure(step.layer.is_none_or(|layer| layer < STEPS_MAX), "its layer is out of range")?;
        for operand in action.reads() {
            self.holds(&operand)?;
        }
        for operand in action.writes() {
            let fits = operand.is_whole() && (1..=4 * COLUMNS_MAX).contains(&operand.width);
            ensure(fits, "what it writes is not a whole buffer")?;
            ensure(action.reads().all(|read| read.slot != operand.slot), "it writes what it reads")?;
        }
        self.sizes(action)?;
        for Operand { slot, rows, width, .. } in action.writes() {
            self.written.insert(slot, (rows, width));
        }
        Ok(())
    }

    fn holds(&self, operand: &Operand) -> Checked {
        let Operand { slot, rows, width, offset, columns } = *operand;
        ensure(self.written.get(&slot) == Some(&(rows, width)), "it reads what was not written so")?;
        let end = offset.checked_add(columns);
        ensure(columns > 0 && end.is_some_and(|end| end <= width), "it reads columns that are not there")
    }

    fn sizes(&self, action: &Action) -> Checked {
        let unlike = "its operands are not as wide as its weights";
        match *action {
            Action::Embed { to } => ensure(to.rows == Rows::Tokens && to.columns == self.steps.embedding, unlike),
            Action::Product { x, linear, then, to } => {
                let size = self.linear(linear)?;
                ensure(x.is_whole() && [x.columns, to.columns] == size && x.rows == to.rows, unlike)?;
                self.follows(&then, &to)
            }
            Action::FeedForward { x, up, down, then, inner, to, .. } => {
                let ([k, between], [also, n]) = (self.linear(up)?, self.linear(down)?);
                ensure(x.is_whole() && between == also && inner.columns == between, unlike)?;
                ensure([x.columns, to.columns] == [k, n] && x.rows == to.rows && x.rows == inner.rows, unlike)?;
                ensure(inner.slot != to.slot, "it writes two results to one buffer")?;
                self.follows(&then, &to)
            }
            Action::Norm { x, norm, to } => {
                ensure(x.is_whole() && self.norm(norm)? == x.columns, unlike)?;
                ensure((x.rows, x.columns) == (to.rows, to.columns), unlike)
            }
            Action::Pick { x, to } => {
                let rows = [x.rows, to.rows] == [Rows::Tokens, Rows::Sequences];
                ensure(rows && x.is_whole() && x.columns == to.columns, unlike)
            }
            Action::Pool { x, to } => {
                let rows = [x.rows, to.rows] == [Rows::Tokens, Rows::Sequences];
                ensure(rows && x.is_whole() && x.columns == to.columns, unlike)
            }
            Action::Unit { x, to } => {
                let rows = [x.rows, to.rows] == [Rows::Sequences; 2];
                ensure(rows && x.is_whole() && x.columns == to.columns, unlike)
            }
            Action::Gate { x, to, .. } => {
                let halves = to.columns.checked_mul(2) == Some(x.columns);
                ensure(x.is_whole() && halves && x.rows == to.rows, unlike)
            }
            Action::Rotate { x, attention } => {
                let [_, _, head_dim] = self.attention(attention)?;
                ensure(x.rows == Rows::Tokens && x.columns.is_multiple_of(head_dim), unlike)
            }
            Action::Keep { .. } | Action::AttendKept { .. } => Err("an encoder keeps nothing"),
            Action::Attend { q, k, v, attention, to } => {
                let [heads, key_heads, head_dim] = self.attention(attention)?;
                let rows = [k.rows, v.rows] == [Rows::Tokens; 2] && q.rows == to.rows;
                let beside = k.slot == v.slot && k.width == v.width;
                let asking = [q, to].iter().all(|operand| operand.columns == heads * head_dim);
                let asked = [k, v].iter().all(|operand| operand.columns == key_heads * head_dim);
                ensure(rows && beside && asking && asked, unlike)
            }
        }
    }

    fn follows(&self, then: &Then, to: &Operand) -> Checked {
        if let Some(residual) = then.residual {
            let same = (residual.rows, residual.columns) == (to.rows, to.columns);
            ensure(same && residual.is_whole(), "what it adds is not as wide as its result")?;
        }
        match then.norm {
            Some(norm) => ensure(self.norm(norm)? == to.columns, "its norm is not as wide as its result"),
            None => Ok(()),
        }
    }

    fn linear(&self, number: usize) -> Result<[usize; 2], &'static str> {
        self.steps.linears.get(number).copied().ok_or("there is no such linear")
    }

    fn attention(&self, number: usize) -> Result<[usize; 3], &'static str> {
        self.steps.attentions.get(number).copied().ok_or("there is no such attention")
    }

    fn norm(&self, number: usize) -> Result<usize, &'static str> {
        self.steps.norms.get(number).copied().ok_or("there is no such norm")
    }
}
