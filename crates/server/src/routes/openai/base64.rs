//! Vectors as base64 (RFC 4648) of little-endian floats, which OpenAI's own clients ask for.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The numbers of a vector.
pub(super) fn of(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for place in 0..4 {
            let digit = (group >> (18 - 6 * place)) & 63;
            out.push(if place <= chunk.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_python() {
        // base64.b64encode(numpy.array([...], "<f4"))
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[1.0]), "AACAPw==");
        assert_eq!(of(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(of(&[0.1, 1e-9, 3.0]), "zczMPV9wiTAAAEBA");
    }
}
