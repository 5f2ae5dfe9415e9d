//! Which slot of a relative position table a distance has.

use crate::ShapeError;

/// DeBERTa's slots of distances: `δ(r) = clamp(b(r) + span, 0, 2·span - 1)`, where b spaces distances beyond half the buckets
/// logarithmically (`make_log_bucket_position` of Hugging Face's DebertaV2) or leaves them as they are.
#[derive(Clone, Debug)]
pub struct SlotMap {
    span: usize,
    /// The slots of the distances from `-reach` to `reach`; beyond, those of the ends.
    slots: Vec<u32>,
    reach: usize,
}

/// The farthest that distances are looked at one by one; sequences end before.
const REACH_MAX: usize = 1 << 16;

/// The most slots to either side.
const SPAN_MAX: usize = 1 << 20;

impl SlotMap {
    /// `span` slots to either side. With `buckets` above 0, that many buckets, half to either side, the last of them for distances of
    /// `max_position - 1`; else a slot a distance.
    ///
    /// # Errors
    /// No slots, fewer than 4 buckets, or more of anything than a model could have.
    pub fn new(span: usize, buckets: i64, max_position: usize) -> Result<Self, ShapeError> {
        if span == 0 {
            return Err(ShapeError::Malformed { what: "the span of relative positions", rule: "must not be 0" });
        }
        let most = span.max(max_position).max(usize::try_from(buckets.max(0)).unwrap_or(usize::MAX));
        if most > SPAN_MAX {
            return Err(ShapeError::TooLarge { what: "the span of relative positions", max: SPAN_MAX, got: most });
        }
        if (1..4).contains(&buckets) {
            return Err(ShapeError::Malformed {
                what: "buckets of relative positions",
                rule: "must be at least 4, or none",
            });
        }
        let middle = usize::try_from(buckets / 2).unwrap_or(0);
        let bucket =
            |distance: usize| if middle == 0 { distance as i64 } else { bucket_of(distance, middle, max_position) };
        // Beyond max_position buckets go on growing, slowly, until the clamp ends them.
        let end = span as i64;
        let reach = (0..REACH_MAX).find(|&distance| bucket(distance) >= end).unwrap_or(REACH_MAX);
        let slot = |bucket: i64| (bucket + end).clamp(0, 2 * end - 1) as u32;
        let mut slots: Vec<u32> = (1..=reach).rev().map(|distance| slot(-bucket(distance))).collect();
        slots.extend((0..=reach).map(|distance| slot(bucket(distance))));
        Ok(Self { span, slots, reach })
    }

    /// How many slots there are, `2·span`.
    pub fn slots(&self) -> usize {
        2 * self.span
    }

    /// The slot of the distance `r` from a key to its query, query minus key.
    pub fn slot(&self, r: i64) -> usize {
        let reach = self.reach as i64;
        self.slots[(r.clamp(-reach, reach) + reach) as usize] as usize
    }
}

/// b of a distance, in the f32 steps of PyTorch, whose results decide what `ceil` sees.
fn bucket_of(distance: usize, middle: usize, max_position: usize) -> i64 {
    if distance <= middle {
        return distance as i64;
    }
    let whole = (max_position.saturating_sub(1) as f64 / middle as f64) as f32;
    let ratio = (distance as f32 / middle as f32).ln() / whole.ln();
    (ratio * (middle - 1) as f32).ceil() as i64 + middle as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots by Hugging Face's formula in f32 arithmetic (NumPy), over -2048..=2048: some of them, and `Σ slot · (1 + place)`.
    fn check(span: usize, buckets: i64, max_position: usize, some: &[(i64, usize)], sum: u64) {
        let map = SlotMap::new(span, buckets, max_position).unwrap();
        assert_eq!(map.slots(), 2 * span);
        for &(distance, slot) in some {
            assert_eq!(map.slot(distance), slot, "span {span}, {buckets} buckets: {distance}");
        }
        let all = (-2048..=2048).zip(1u64..).map(|(distance, place)| map.slot(distance) as u64 * place);
        assert_eq!(all.sum::<u64>(), sum, "span {span}, {buckets} buckets");
        assert_eq!(map.slot(i64::MIN), map.slot(-1 << 40));
        assert_eq!(map.slot(i64::MAX), 2 * span - 1);
    }

    #[test]
    fn meets_hugging_face() {
        let full = [
            (-2048, 0),
            (-512, 0),
            (-511, 1),
            (-510, 1),
            (-400, 23),
            (-300, 49),
            (-257, 64),
            (-256, 64),
            (-200, 87),
            (-130, 126),
            (-129, 127),
            (-128, 128),
            (-127, 129),
            (-1, 255),
            (0, 256),
            (1, 257),
            (127, 383),
            (128, 384),
            (129, 385),
            (200, 425),
            (255, 448),
            (300, 463),
            (400, 489),
            (510, 511),
            (2047, 511),
        ];
        check(256, 256, 512, &full, 3_206_142_841);
        check(8, 8, 32, &[(-31, 1), (-17, 1), (-9, 2), (-5, 3), (-4, 4), (4, 12), (8, 14), (16, 15)], 94_496_999);
        check(16, 16, 64, &[(-31, 3), (-9, 7), (-8, 8), (9, 25), (16, 27), (31, 29)], 195_285_229);
    }

    #[test]
    fn without_buckets_a_distance_is_its_slot() {
        check(4, -1, 512, &[(-5, 0), (-4, 0), (-3, 1), (0, 4), (3, 7), (4, 7)], 44_076_025);
        check(512, 0, 512, &[(-513, 0), (-511, 1), (0, 512), (511, 1023), (600, 1023)], 6_396_790_015);
    }

    #[test]
    fn refuses_what_no_model_has() {
        assert!(SlotMap::new(0, 0, 512).is_err());
        assert!(SlotMap::new(usize::MAX, 0, 512).is_err());
        assert!(SlotMap::new(256, i64::MAX, 512).is_err());
        assert!(SlotMap::new(256, 3, 512).is_err());
        // Fewer positions than half the buckets: all distances there are have slots of their own.
        let short = SlotMap::new(256, 256, 64).unwrap();
        assert_eq!((short.slot(63), short.slot(-63)), (319, 193));
        assert!(SlotMap::new(256, 256, 0).is_ok());
    }
}
