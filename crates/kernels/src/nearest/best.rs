//! The best rows so far, in a heap whose top is the worst of them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Its number, from 0.
    pub row: usize,
    /// Its inner product with the query.
    pub similarity: f32,
}

/// Keeps the best of the rows that it is offered.
pub(super) struct Best {
    count: usize,
    minimum: Option<f32>,
    heap: BinaryHeap<Worst>,
}

/// A row; the one that leaves first is the greatest.
struct Worst(Near);

impl Best {
    /// For so many rows, at least one.
    pub(super) fn new(count: usize, minimum: Option<f32>) -> Best {
        Best { count, minimum, heap: BinaryHeap::with_capacity(count.min(1024)) }
    }

    /// Looks at a row. Rows come in order, so an equal one does not displace an earlier one.
    pub(super) fn offer(&mut self, row: usize, similarity: f32) {
        if self.heap.len() < self.count {
            let is_enough = self.minimum.is_none_or(|minimum| similarity >= minimum);
            if is_enough && !similarity.is_nan() {
                self.heap.push(Worst(Near { row, similarity }));
            }
        } else if let Some(mut worst) = self.heap.peek_mut()
            && similarity > worst.0.similarity
        {
            *worst = Worst(Near { row, similarity });
        }
    }

    /// What was kept, in no order.
    pub(super) fn into_rows(self) -> Vec<Near> {
        self.heap.into_iter().map(|Worst(near)| near).collect()
    }
}

/// The best of several lists, in order.
pub(super) fn merge(found: Vec<Vec<Near>>, count: usize) -> Vec<Near> {
    let mut all: Vec<Near> = found.into_iter().flatten().collect();
    all.sort_unstable_by(by_rank);
    all.truncate(count);
    all
}

/// The larger similarity first, then the lower row. No similarity is NaN.
fn by_rank(a: &Near, b: &Near) -> Ordering {
    b.similarity.partial_cmp(&a.similarity).unwrap_or(Ordering::Equal).then(a.row.cmp(&b.row))
}

impl Ord for Worst {
    fn cmp(&self, other: &Worst) -> Ordering {
        by_rank(&self.0, &other.0)
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Worst) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Worst) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}
