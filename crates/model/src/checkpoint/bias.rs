//! T5's relative positions: distances fall into buckets, the far ones on a logarithmic scale, and each bucket adds a number to a head's
//! scores (Raffel et al., "T5", 2020).

use grice_kernels::ScoreBias;

/// Farther than any model tells distances apart.
const DISTANCE_MAX: usize = 1 << 16;

/// How distances fall into buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    /// How many there are.
    pub(super) count: usize,
    /// Distances from here on share the last.
    pub(super) max_distance: usize,
    /// Whether keys after the query have buckets of their own, as in encoders; else they share the first.
    pub(super) both_sides: bool,
}

impl Buckets {
    /// The bucket of a key `distance` tokens after its query. Logarithms are taken in single precision, as PyTorch takes them.
    pub(super) fn of(self, distance: i64) -> usize {
        let (count, first) = match (self.both_sides, distance > 0) {
            (true, true) => (self.count / 2, self.count / 2),
            (true, false) => (self.count / 2, 0),
            (false, _) => (self.count, 0),
        };
        let far = if self.both_sides { distance.unsigned_abs() } else { (-distance).max(0) as u64 } as usize;
        let exact = (count / 2).max(1);
        if far < exact {
            return first + far;
        }
        let ratio = (self.max_distance as f64 / exact as f64).ln() as f32;
        let place = (far as f32 / exact as f32).ln() / ratio * (count - exact) as f32;
        first + (exact + place as usize).min(count - 1)
    }

    /// The table `[buckets, heads]` spread out over distances.
    pub(super) fn spread(self, table: &[f32], heads: usize) -> Result<ScoreBias, String> {
        let in_range = self.max_distance <= DISTANCE_MAX && self.max_distance > self.count && self.count >= 4;
        if !in_range {
            return Err(format!(
                "config.json: field `relative_attention_max_distance`: {} does not fit {} buckets",
                self.max_distance, self.count
            ));
        }
        let reach = self.max_distance as i64;
        let values: Vec<f32> = (0..heads)
            .flat_map(|head| (-reach..=reach).map(move |distance| table[self.of(distance) * heads + head]))
            .collect();
        ScoreBias::new(heads, self.max_distance, &values).map_err(|error| error.to_string())
    }
}
