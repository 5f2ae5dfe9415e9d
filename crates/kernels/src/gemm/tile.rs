//! What a kernel is, and what it is handed: a tile of a few rows by a few columns.

use crate::quantize_rows::QuantizeRow;

/// A kernel for 8-bit weights.
pub(crate) struct Int8Kernel {
    /// Rows of a full tile; any smaller number works.
    pub(crate) rows: usize,
    /// Columns of a panel, and of every tile.
    pub(crate) columns: usize,
    /// Consecutive `k` that lie together in a panel.
    pub(crate) group: usize,
    /// `k` is padded with zeros to a multiple of this, itself a multiple of `group`.
    pub(crate) k_align: usize,
    /// Bytes that a number of a quantized row takes.
    pub(crate) row_bytes: usize,
    /// What the kernel adds to each quantized number, to be taken off again by the columns' sums.
    pub(crate) offset: i32,
    pub(crate) quantize_row: QuantizeRow,
    pub(crate) tile: unsafe fn(&Int8Tile),
}

/// The operands of a tile. What they point at must be as long as their comments say.
pub(crate) struct Int8Tile {
    /// From 1 to the kernel's `rows`.
    pub(crate) rows: usize,
    /// Padded `k`, a multiple of `k_align`.
    pub(crate) k: usize,
    /// `rows` quantized rows, `x_stride` bytes apart.
    pub(crate) x: *const u8,
    pub(crate) x_stride: usize,
    /// `k · columns` bytes, aligned to 64 where the panel's length is a multiple of it.
    pub(crate) panel: *const i8,
    /// What sums start from: minus `offset` times the column's sum, `columns` of them.
    pub(crate) start: *const i32,
    /// `rows` factors.
    pub(crate) row_scales: *const f32,
    /// `columns` factors.
    pub(crate) column_scales: *const f32,
    /// `columns` summands.
    pub(crate) bias: *const f32,
    pub(crate) out: Out,
}

/// A kernel for weights in f32, or in binary16 and made f32 on the way.
pub(crate) struct F32Kernel {
    /// Rows of a full tile; any smaller number works.
    pub(crate) rows: usize,
    /// Columns of a panel, and of every tile.
    pub(crate) columns: usize,
    pub(crate) tile: unsafe fn(&F32Tile),
}

/// The operands of a tile. What they point at must be as long as their comments say.
pub(crate) struct F32Tile {
    /// From 1 to the kernel's `rows`.
    pub(crate) rows: usize,
    pub(crate) k: usize,
    /// `rows` rows of `k`, `x_stride` numbers apart.
    pub(crate) x: *const f32,
    pub(crate) x_stride: usize,
    /// `k · columns` numbers, in the form that the kernel reads: f32, or IEEE binary16.
    pub(crate) panel: *const u8,
    /// `columns` summands.
    pub(crate) bias: *const f32,
    pub(crate) out: Out,
}

/// Where a tile goes.
pub(crate) struct Out {
    /// `rows` rows of `columns`, `stride` numbers apart.
    pub(crate) start: *mut f32,
    pub(crate) stride: usize,
    /// Null, or what is added at the end, in the places of `start`.
    pub(crate) residual: *const f32,
}

/// Calls a tile function with the number of rows as a constant; and, for exact sums, with as many of them side by side in `k` as keep the
/// multipliers busy.
macro_rules! by_rows {
    ($tile:ident, $operands:expr, $($rows:literal => $unroll:literal),+) => {
        match $operands.rows {
            $($rows => $tile::<$rows, $unroll>($operands),)+
            _ => {}
        }
    };
    ($tile:ident[$fused:ident, $half:ident], $operands:expr, $($rows:literal),+) => {
        match $operands.rows {
            $($rows => $tile::<$rows, $fused, $half>($operands),)+
            _ => {}
        }
    };
    ($tile:ident, $operands:expr, $($rows:literal),+) => {
        match $operands.rows {
            $($rows => $tile::<$rows>($operands),)+
            _ => {}
        }
    };
}
pub(super) use by_rows;

/// A kernel for 4-bit weights in groups.
pub(crate) struct Int4Kernel {
    /// Rows of a full tile; any smaller number works.
    pub(crate) rows: usize,
    /// Columns of a panel, and of every tile.
    pub(crate) columns: usize,
    /// Makes signed bytes of a row.
    pub(crate) quantize_row: QuantizeRow,
    pub(crate) tile: unsafe fn(&Int4Tile),
}

/// The operands of a tile. What they point at must be as long as their comments say.
pub(crate) struct Int4Tile {
    /// From 1 to the kernel's `rows`.
    pub(crate) rows: usize,
    pub(crate) groups: usize,
    /// Numbers of a group, a multiple of 8.
    pub(crate) group: usize,
    /// `rows` rows of `groups · group` signed bytes, `x_stride` bytes apart.
    pub(crate) x: *const u8,
    pub(crate) x_stride: usize,
    /// `rows` rows of `groups` sums of those, side by side.
    pub(crate) sums: *const i32,
    /// For each group `columns` factors in f32, then `columns · group / 2` bytes: in each 8 consecutive `k` a column has four, whose low
    /// halves are its first four numbers and whose high halves the rest.
    pub(crate) panel: *const u8,
    /// Null, where all zeros are 8, or `columns` bytes for each group.
    pub(crate) zeros: *const u8,
    /// `rows` factors.
    pub(crate) row_scales: *const f32,
    /// `columns` summands.
    pub(crate) bias: *const f32,
    pub(crate) out: Out,
}
