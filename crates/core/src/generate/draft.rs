//! Guesses of the next tokens: what followed when the sequence's last tokens stood in the source or earlier in the sequence.
//!
//! A repair copies most of its source, so most guesses are right, and the model checks them all in one run. A guess that is wrong
//! costs a row and changes nothing.

/// The longest run of tokens that is looked up; shorter ones are tried after it.
const NGRAM_MAX: usize = 3;

/// Appends up to `count` guesses to the sequence, whose last tokens they continue.
pub(super) fn guess(tokens: &mut Vec<u32>, source: &[u32], count: usize) {
    if count == 0 {
        return;
    }
    for n in (1..=NGRAM_MAX.min(tokens.len())).rev() {
        let last = &tokens[tokens.len() - n..];
        if let Some(follow) = after_first(source, last) {
            tokens.extend_from_slice(&follow[..count.min(follow.len())]);
            return;
        }
        if let Some(start) = after_latest(tokens, last) {
            let end = tokens.len().min(start.saturating_add(count));
            tokens.extend_from_within(start..end);
            return;
        }
    }
}

/// What follows the first place in the source where `last` stands.
fn after_first<'s>(source: &'s [u32], last: &[u32]) -> Option<&'s [u32]> {
    let at = source.windows(last.len()).position(|window| window == last)?;
    Some(&source[at + last.len()..]).filter(|follow| !follow.is_empty())
}

/// Where the tokens begin that followed `last` when it stood in the sequence before.
fn after_latest(tokens: &[u32], last: &[u32]) -> Option<usize> {
    let earlier = &tokens[..tokens.len() - 1];
    let at = earlier.windows(last.len()).rposition(|window| window == last)?;
    Some(at + last.len())
}
