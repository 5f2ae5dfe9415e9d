//! Tokens → pieces of text: whatever the tokens are and wherever a reader cuts, the pieces are the whole text.

use grice_core::text::{Speller, Stream};
use proptest::prelude::*;
use std::sync::Arc;

/// The token of the byte 0xFF, in vocabularies whose first 256 tokens are bytes.
const PROBE: u32 = 0xFF;

/// Texts of tokens, each of some bytes, as byte-level BPE decodes them.
fn byte_level(pieces: Vec<Vec<u8>>) -> Speller {
    Speller::new(move |ids| {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| pieces[id as usize].clone()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// As SentencePiece models with bytes decode: a run of byte tokens is a text or, if one byte is wrong, a � for each; words bring
/// their space along, but for the first.
fn with_byte_tokens(words: Vec<String>) -> Speller {
    let decode = move |ids: &[u32]| {
        let mut text = String::new();
        for run in ids.chunk_by(|&a, &b| (a < 256) == (b < 256)) {
            if run[0] >= 256 {
                run.iter().for_each(|&id| text += &words[id as usize - 256]);
                continue;
            }
            let bytes: Vec<u8> = run.iter().map(|&id| id as u8).collect();
            text += &String::from_utf8(bytes).unwrap_or_else(|error| "\u{FFFD}".repeat(error.as_bytes().len()));
        }
        text.strip_prefix(' ').map(str::to_owned).unwrap_or(text)
    };
    Speller::new(decode).with_probe(PROBE)
}

/// One word a token, of letters.
fn letters(words: &[&str]) -> Speller {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    Speller::new(move |ids| ids.iter().map(|&id| words[id as usize].as_str()).collect())
}

fn stops(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// The pieces of a stream, the last one that of its end.
fn pieces(speller: &Speller, stops: &[String], ids: &[u32]) -> Vec<String> {
    let mut stream = Stream::new(speller.clone(), stops);
    let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
    pieces.push(stream.finish());
    assert!(stream.is_stopped());
    pieces
}

/// The text of all tokens up to the stop string that ends first.
fn whole(speller: &Speller, stops: &[String], ids: &[u32]) -> String {
    for end in 1..=ids.len() {
        let text = speller.text(&ids[..end]);
        let found = stops.iter().filter_map(|stop| text.find(stop).map(|at| (at + stop.len(), at)));
        if let Some((_, at)) = found.min() {
            return text[..at].to_owned();
        }
    }
    speller.text(ids)
}

/// Stop strings that texts of these letters do hold now and then.
fn some_stops() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof!["[ab ]{1,4}", "é", "€a", "b€"], 0..3)
}

/// Pieces of characters, most of them whole.
fn some_bytes() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let character = prop::sample::select(vec!["a", "b", " ", "é", "€", "😀", "ab", " b", "\u{FFFD}"]);
    let part = character.prop_flat_map(|text| {
        (0..text.len(), 1..5_usize).prop_map(move |(start, count)| text.bytes().skip(start).take(count).collect())
    });
    prop::collection::vec(prop_oneof![3 => part, 1 => prop::collection::vec(any::<u8>(), 0..4)], 40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_bytes_are_the_whole_text(bytes in some_bytes(), ids in prop::collection::vec(0..40_u32, 0..200), stops in some_stops()) {
        let speller = byte_level(bytes);
        prop_assert_eq!(pieces(&speller, &stops, &ids).concat(), whole(&speller, &stops, &ids));
    }

    #[test]
    fn a_character_cut_anywhere_is_never_split(text in "[a-c é€😀]{0,80}", cuts in prop::collection::vec(1..5_usize, 400)) {
        let (mut bytes, mut tokens) = (text.as_bytes(), Vec::new());
        for cut in cuts {
            let (token, rest) = bytes.split_at(cut.min(bytes.len()));
            tokens.push(token.to_vec());
            bytes = rest;
        }
        let ids: Vec<u32> = (0..tokens.len() as u32).collect();
        let pieces = pieces(&byte_level(tokens), &[], &ids);
        let is_whole = pieces.iter().all(|piece| !piece.contains('\u{FFFD}'));
        prop_assert!(is_whole);
        prop_assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn bytes_among_words_are_the_whole_text(
        words in prop::collection::vec("[ ]?[ab]{0,3}", 12),
        runs in prop::collection::vec((prop::collection::vec(256..268_u32, 0..30), prop::sample::select(vec!["", "\n", "é", "😀", "€a"]), prop::option::of(any::<u8>())), 0..12),
        stops in some_stops(),
    ) {
        let mut ids = Vec::new();
        for (words, text, byte) in runs {
            ids.extend(words);
            ids.extend(text.bytes().chain(byte).map(u32::from));
        }
        let speller = with_byte_tokens(words);
        prop_assert_eq!(pieces(&speller, &stops, &ids).concat(), whole(&speller, &stops, &ids));
    }

    #[test]
    fn random_tokens_end_no_stream(ids in prop::collection::vec(0..260_u32, 0..120)) {
        let speller = with_byte_tokens(["", " a", "b", " "].map(str::to_owned).to_vec());
        prop_assert_eq!(pieces(&speller, &[], &ids).concat(), speller.text(&ids));
    }
}

#[test]
fn text_comes_as_soon_as_it_is_certain() {
    let speller = byte_level(vec![b"a".to_vec(), vec![0xE2], vec![0x82, 0xAC], vec![0xFF]]);
    assert_eq!(pieces(&speller, &[], &[0, 1, 2, 0]), ["a", "", "€", "a", ""]);
    assert_eq!(
        pieces(&speller, &[], &[0, 1]),
        ["a", "", "\u{FFFD}"],
        "what never becomes a character is told at the end"
    );
    assert_eq!(pieces(&speller, &[], &[3, 0]), ["", "\u{FFFD}a", ""]);
}

#[test]
fn stop_strings_across_tokens_are_found_and_not_leaked() {
    let speller = letters(&["ABC", "DE", "FGH", "IJK", "x"]);
    let stop = stops(&["DEFGHIJ"]);
    assert_eq!(pieces(&speller, &stop, &[0, 1, 2, 3, 4]), ["ABC", "", "", "", "", ""]);
    assert_eq!(pieces(&speller, &stop, &[0, 1, 2, 4]), ["ABC", "", "", "DEFGHx", ""], "it was none");
    assert_eq!(pieces(&speller, &stop, &[0, 1, 2]), ["ABC", "", "", "DEFGH"], "the end releases what was held");
}

#[test]
fn a_stop_string_inside_a_token_cuts_it() {
    let speller = letters(&["one\ntwo", "three"]);
    assert_eq!(pieces(&speller, &stops(&["\n"]), &[1, 0, 1]), ["three", "one", "", ""]);
}

#[test]
fn the_stop_string_that_ends_first_wins() {
    let speller = letters(&["abcd", "ab", "cd", "e"]);
    assert_eq!(pieces(&speller, &stops(&["bc", "abcde"]), &[1, 2, 3]).concat(), "a");
    assert_eq!(pieces(&speller, &stops(&["cd", "abcd"]), &[0]).concat(), "", "of two that end together the longer");
    assert_eq!(pieces(&speller, &stops(&["e", "bcd"]), &[3, 0]).concat(), "");
    assert_eq!(pieces(&speller, &stops(&["", "d"]), &[0]).concat(), "abc", "an empty one is none");
}

#[test]
fn a_stream_tells_of_its_stop_at_once() {
    let mut stream = Stream::new(with_byte_tokens(vec!["a".to_owned()]), &stops(&["\n"]));
    assert_eq!((stream.push(256), stream.is_stopped()), ("a".to_owned(), false));
    assert_eq!(
        (stream.push(0x0A), stream.is_stopped()),
        (String::new(), true),
        "though another byte could spoil the line's end"
    );
    assert_eq!((stream.push(256), stream.finish()), (String::new(), String::new()));
}

#[test]
fn a_long_stream_decodes_few_tokens_at_a_time() {
    let longest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = longest.clone();
    let speller = Speller::new(move |ids| {
        seen.fetch_max(ids.len(), std::sync::atomic::Ordering::Relaxed);
        " word".repeat(ids.len())
    });
    let mut stream = Stream::new(speller, &[]);
    for _ in 0..5_000 {
        assert_eq!(stream.push(0), " word");
    }
    assert!(longest.load(std::sync::atomic::Ordering::Relaxed) < 100);
}
