//! How f32 arithmetic is rounded.

/// How products and sums of f32 numbers are rounded.
///
/// A number that is rounded to a byte next makes a whole step of a difference in the last bit, where it lies between two bytes; and a
/// step in one layer is many in the next. So what stands before 8-bit weights is computed stepwise, in an order that no instruction set
/// chooses for itself. Sums, norms, softmax and activations always are: only products of f32 matrices gain by fused arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Each product and each sum by itself, in one order: the same bits on every instruction set.
    Stepwise,
    /// A product and its addition at once where the processor can: for what is not rounded any further. The bits are the instruction set's
    /// own, but a row's do not depend on the rows beside it.
    Fused,
}
