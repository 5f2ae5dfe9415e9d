//! What is said of vectors, and what both ways of embedding share.

use grice_core::task::Vector;

/// Numbers as short as they can be read back.
pub(super) fn json_of(vector: &Vector) -> String {
    // Finite numbers always have a JSON form.
    serde_json::to_string(&vector.values).unwrap_or_default()
}

/// How many texts were cut, if any.
pub(super) fn note_of_cut(texts: usize, tokens_max: usize) -> Option<String> {
    let which = match texts {
        0 => return None,
        1 => "1 text was".to_owned(),
        texts => format!("{texts} texts were"),
    };
    Some(format!("{which} cut to the {tokens_max} tokens that the model reads"))
}
