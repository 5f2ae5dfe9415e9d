//! What is kept of timings, and what a device makes of them.

use super::cache::{Kept, Key};
use super::device_timer::Budget;
use super::{Class, Shape, Size, Tiles, check};
use crate::gemm::tests::{EVERYTHING, device};
use crate::gemm::{Abilities, Choice, Form, Fragments, Method, RowsSize, TileSize};
use grice_model::Precision;
use std::time::Duration;

const SHAPE: Shape = Shape { precision: Precision::Fp32, rows: 8, k: 768, n: 3072 };

fn key() -> Key {
    let [adapter, backend, driver, shaders] = ["A card", "vulkan", "driver 1", "0123"].map(str::to_owned);
    Key { adapter, backend, driver, shaders }
}

fn choice() -> Choice {
    let size = RowsSize { rows: 8, column_threads: 32, k_threads: 4 };
    Choice { method: Method::Rows { form: Form::F32, size }, shares: 3 }
}

/// Writes a file, lets `change` do to it what happens to files, and reads it back: the choice, and words of the warning.
fn check_kept(change: impl Fn(&str) -> Option<Vec<u8>>, key_read: Key, found: Option<Choice>, words: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("of/its/own");
    let mut kept = Kept::new(key());
    kept.set(&SHAPE, choice());
    kept.write(&folder).unwrap();
    let path = key().path(&folder);
    match change(&std::fs::read_to_string(&path).unwrap()) {
        Some(bytes) => std::fs::write(key_read.path(&folder), bytes).unwrap(),
        None => std::fs::remove_file(&path).unwrap(),
    }
    let (read, warning) = Kept::read(&folder, &key_read, &EVERYTHING);
    assert_eq!(read.get(&SHAPE), found);
    match (warning, words) {
        (None, None) => {}
        (Some(warning), Some(words)) => {
            assert!(warning.contains(words) && warning.contains("tiles-"), "{warning}");
        }
        (warning, words) => panic!("{warning:?} where {words:?} was due"),
    }
    // Whatever was there, it can be written anew.
    read.write(&folder).unwrap();
    assert_eq!(Kept::read(&folder, &key_read, &EVERYTHING), (read, None));
}

#[test]
fn what_is_kept_comes_back() {
    check_kept(|text| Some(text.into()), key(), Some(choice()), None);
    check_kept(|_| None, key(), None, None);
}

#[test]
fn what_is_not_ours_is_ignored() {
    let other = |change: fn(&mut Key)| {
        let mut key = key();
        change(&mut key);
        key
    };
    let same = |text: &str| Some(text.into());
    check_kept(same, other(|key| key.driver = "driver 2".to_owned()), None, Some("another adapter, driver or release"));
    check_kept(same, other(|key| key.adapter = "B".to_owned()), None, Some("another adapter, driver or release"));
    check_kept(same, other(|key| key.shaders = "4567".to_owned()), None, Some("another adapter, driver or release"));
    check_kept(|text| Some(text.replace("\"version\": 1", "\"version\": 2").into()), key(), None, Some("version 2"));
}

#[test]
fn what_is_broken_is_ignored() {
    check_kept(|text| Some(text.as_bytes()[..text.len() / 2].into()), key(), None, Some("not a file of timed tiles"));
    check_kept(|_| Some(Vec::new()), key(), None, Some("not a file of timed tiles"));
    check_kept(|_| Some(vec![0xff; 100]), key(), None, Some("not a file of timed tiles"));
    check_kept(|_| Some(vec![b' '; 5 << 20]), key(), None, Some("too many"));
    let change = |from: &'static str, to: &'static str| {
        move |text: &str| {
            assert!(text.contains(from), "{text}");
            Some(text.replace(from, to).into_bytes())
        }
    };
    check_kept(change("\"rows\": 8", "\"rows\": 9"), key(), None, Some("1 of 1 entries"));
    check_kept(change("\"rows\": 8", "\"rows\": 0"), key(), None, Some("1 of 1 entries"));
    check_kept(change("\"shares\": 3", "\"shares\": 0"), key(), None, Some("1 of 1 entries"));
    check_kept(change("\"column_threads\": 32", "\"column_threads\": 256"), key(), None, Some("1 of 1 entries"));
}

#[test]
fn a_folder_that_cannot_be_written_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let warning = Kept::new(key()).write(&file.join("folder")).unwrap_err();
    assert!(warning.contains("timed again next time"), "{warning}");
    let (kept, warning) = Kept::read(&file.join("folder"), &key(), &EVERYTHING);
    assert_eq!(kept.get(&SHAPE), None);
    assert!(warning.is_some());
}

#[test]
fn rows_share_a_shape_up_to_the_next_power_of_two() {
    let rows = |m| Shape::of(Precision::Fp16, Size { m, k: 768, n: 768 }).rows;
    for (m, expected) in [(0, 1), (1, 1), (2, 2), (3, 4), (8, 8), (9, 16), (128, 128), (129, 256), (1 << 20, 4096)] {
        assert_eq!(rows(m), expected, "{m} rows");
    }
    assert_eq!(SHAPE.to_string(), "fp32 [8, 768] x [768, 3072]");
}

#[test]
fn a_choice_suits_the_rows_it_is_made_for() {
    let tiles = Tiles::new(Class::Nvidia, Abilities { cooperative: None, ..EVERYTHING });
    let choose = |precision, m| tiles.choose(precision, Size { m, k: 768, n: 768 }).unwrap().method;
    assert!(matches!(choose(Precision::Int8, 5), Method::Rows { form: Form::Int8, size } if size.rows == 8));
    assert!(matches!(choose(Precision::Fp16, 200), Method::Tile { form: Form::F16, .. }));
    let poor = Tiles::new(Class::Unknown, Abilities { workgroup_bytes_max: 64, ..EVERYTHING });
    let error = poor.choose(Precision::Fp32, Size { m: 9, k: 4, n: 4 }).unwrap_err().to_string();
    assert!(error.contains("max_compute_workgroup_storage_size"), "{error}");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let size = TileSize { m: 64, n: 64, k: 16, thread_m: 4, thread_n4: 1 };
    let tile = Method::Tile { form: Form::F32, size };
    assert_eq!(tile.obstacle(&EVERYTHING), None);
    for (change, words) in [
        (TileSize { thread_m: 16, ..size }, "no room"),
        (TileSize { m: 48, ..size }, "no room"),
        (TileSize { k: 2, ..size }, "no room"),
        (TileSize { m: 128, n: 128, k: 64, thread_m: 8, thread_n4: 2 }, "memory"),
        (TileSize { thread_m: 1, ..size }, "invocations"),
    ] {
        let obstacle = Method::Tile { form: Form::F32, size: change }.obstacle(&EVERYTHING);
        assert!(obstacle.is_some_and(|reason| reason.contains(words)), "{change:?}: {obstacle:?}");
    }
    let f16 = Method::Tile { form: Form::F16, size };
    assert!(f16.obstacle(&Abilities { f16: false, ..EVERYTHING }).is_some());
}

#[test]
fn timing_on_a_device_is_kept() {
    let Some(gpu) = device::gpu("timing_on_a_device_is_kept") else { return };
    let folder = tempfile::tempdir().unwrap();
    let abilities = Abilities { cooperative: None, ..device::abilities(&gpu) };
    let budget = Budget { shape: Duration::from_millis(50), total: Duration::from_secs(20) };
    let shapes =
        [Precision::Fp32, Precision::Fp16, Precision::Int8].map(|precision| Shape { precision, rows: 4, k: 64, n: 96 });
    let mut tiles = Tiles::new(Class::Software, abilities);
    let warnings = tiles.time(&gpu, &shapes, budget, Some(folder.path())).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(tiles.timed.len(), shapes.len());
    // Read again, with no time to time anything.
    let mut again = Tiles::new(Class::Software, abilities);
    let none = Budget { shape: Duration::ZERO, total: Duration::ZERO };
    assert_eq!(again.time(&gpu, &shapes, none, Some(folder.path())).unwrap(), Vec::<String>::new());
    assert_eq!(again.timed, tiles.timed);
    for shape in shapes {
        assert_eq!(again.choose(shape.precision, shape.size()).unwrap(), tiles.timed[&shape]);
    }
}

#[test]
fn cooperative_matrices_are_checked_first() {
    let Some(gpu) = device::gpu("cooperative_matrices_are_checked_first") else { return };
    let abilities = device::abilities(&gpu);
    match abilities.cooperative {
        Some(fragments) => assert_eq!(check::cooperative_fault(&gpu, fragments, &abilities).unwrap(), None),
        None => {
            // What the adapter lacks is found out, and the device lives on.
            let fault = check::cooperative_fault(&gpu, Fragments { size: 16, subgroup: 32 }, &abilities).unwrap();
            assert!(fault.is_some());
            assert_eq!(gpu.lost(), None);
            eprintln!("skipped: the adapter has no cooperative matrix");
        }
    }
}
