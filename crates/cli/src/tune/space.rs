//! The settings to choose from: the axes of the grid.

use grice_core::schedule::Accumulate;

const ROWS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const TOKENS: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];
/// Kind and milliseconds, the longer delays later.
const WAITS: [(Accumulate, u64); 5] = [
    (Accumulate::Never, 0),
    (Accumulate::WhileBusy, 5),
    (Accumulate::WhileBusy, 20),
    (Accumulate::Always, 5),
    (Accumulate::Always, 20),
];

/// The axes: threads and replicas, rows, tokens, delay.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Space {
    /// Threads of each replica, and replicas: all cores are used.
    layouts: Vec<(usize, usize)>,
}

/// One setting, in words of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) threads: usize,
    pub(crate) replicas: usize,
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    pub(crate) accumulate: Accumulate,
    pub(crate) wait_ms: f64,
    /// How often a batch is delayed: a rough order, for made-up machines.
    #[cfg(test)]
    pub(crate) wait_share: f64,
}

impl Space {
    /// For so many cores; a GPU has one layout.
    pub(crate) fn new(cores: usize, is_gpu: bool) -> Space {
        let cores = cores.max(1);
        let threads = (0..usize::BITS).map(|power| 1_usize << power).take_while(|threads| *threads < cores);
        let divided: Vec<(usize, usize)> = threads.map(|threads| (threads, cores / threads)).collect();
        let whole = [(cores, 1)];
        let layouts = if is_gpu { whole.into() } else { divided.into_iter().chain(whole).collect() };
        Space { layouts }
    }

    /// Choices on each axis.
    pub(crate) fn sizes(&self) -> [usize; 4] {
        [self.layouts.len(), ROWS.len(), TOKENS.len(), WAITS.len()]
    }

    /// How many settings there are.
    pub(crate) fn len(&self) -> usize {
        self.sizes().iter().product()
    }

    /// The server's defaults, as nearly as the grid has them.
    pub(crate) fn start(&self) -> [usize; 4] {
        [self.layouts.len() - 1, ROWS.len() - 1, 2, 0]
    }

    /// The setting of these choices; choices beyond an axis are its last one.
    pub(crate) fn at(&self, setting: &[usize]) -> Chosen {
        let choice = |axis: usize, size: usize| setting.get(axis).copied().unwrap_or(0).min(size - 1);
        let (threads, replicas) = self.layouts[choice(0, self.layouts.len())];
        let (accumulate, wait_ms) = WAITS[choice(3, WAITS.len())];
        Chosen {
            threads,
            replicas,
            rows: ROWS[choice(1, ROWS.len())],
            tokens: TOKENS[choice(2, TOKENS.len())],
            accumulate,
            wait_ms: wait_ms as f64,
            #[cfg(test)]
            wait_share: if accumulate == Accumulate::Always { 1.0 } else { 0.3 },
        }
    }

    /// Every setting.
    pub(crate) fn all(&self) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new()];
        for size in self.sizes() {
            all = all
                .into_iter()
                .flat_map(|begun| (0..size).map(move |choice| [&begun[..], &[choice]].concat()))
                .collect();
        }
        all
    }
}

#[cfg(test)]
mod layouts {
    use super::*;

    #[test]
    fn replicas_share_all_cores() {
        let layouts = |cores: usize| Space::new(cores, false).layouts;
        assert_eq!(layouts(1), [(1, 1)]);
        assert_eq!(layouts(2), [(1, 2), (2, 1)]);
        assert_eq!(layouts(6), [(1, 6), (2, 3), (4, 1), (6, 1)]);
        assert_eq!(Space::new(8, true).layouts, [(8, 1)]);
        let space = Space::new(2, false);
        assert_eq!((space.len(), space.all().len()), (420, 420));
        let start = space.at(&space.start());
        assert_eq!((start.threads, start.replicas, start.rows, start.tokens), (2, 1, 64, 1024));
        assert_eq!(start.accumulate, Accumulate::Never);
    }
}
