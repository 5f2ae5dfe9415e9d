//! Small crates, given as files and their texts.

use super::*;

fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let texts = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    circles(&Imports::read(&texts)).into_iter().map(|circle| circle.into_iter().collect()).collect()
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&[&str]]) {
    assert_eq!(found(files), expected.to_vec());
}

#[test]
fn files_that_import_from_each_other_are_a_circle() {
    let one = ("a.rs", "use crate::b::B; pub struct A;");
    check(&[("lib.rs", "mod a; mod b;"), one, ("b.rs", "use crate::a::A; pub struct B;")], &[&["a.rs", "b.rs"]]);
    check(&[("lib.rs", "mod a; mod b;"), one, ("b.rs", "use super::a::A; pub struct B;")], &[&["a.rs", "b.rs"]]);
    check(&[("lib.rs", "mod a; mod b;"), one, ("b.rs", "pub struct B; fn f() { crate::a::A; }")], &[&["a.rs", "b.rs"]]);
    check(&[("lib.rs", "mod a; mod b;"), one, ("b.rs", "pub struct B;")], &[]);
}

#[test]
fn a_re_export_hides_no_circle_and_makes_none() {
    let root = "mod a; mod b; pub use a::A; pub use b::B;";
    let [a, b] = ["use crate::B; pub struct A;", "use crate::{A, c}; pub struct B;"];
    check(&[("lib.rs", root), ("a.rs", a), ("b.rs", b)], &[&["a.rs", "b.rs"]]);
    check(&[("lib.rs", root), ("a.rs", a), ("b.rs", "use crate::Outer; pub struct B;")], &[]);
    check(&[("lib.rs", root), ("a.rs", a), ("b.rs", "pub struct B;")], &[]);
    // Under another name, and through two folders.
    let root = "mod a; mod b; pub use b::B as Other; pub use a::inner::A;";
    let files = [("a/mod.rs", "pub mod inner;"), ("a/inner.rs", "use crate::Other; pub struct A;")];
    check(&[("lib.rs", root), files[0], files[1], ("b.rs", "use crate::A; pub struct B;")], &[&["a/inner.rs", "b.rs"]]);
}

#[test]
fn a_file_that_uses_its_children_must_not_be_used_by_them() {
    let child = ("a/b.rs", "use super::A; pub fn b(_: A) {}");
    check(&[("lib.rs", "mod a;"), ("a.rs", "mod b; pub struct A; fn f() { b::b(A) }"), child], &[&["a.rs", "a/b.rs"]]);
    check(&[("lib.rs", "mod a;"), ("a/mod.rs", "mod b; pub use b::b; pub struct A;"), child], &[]);
    // A name that the parent imports belongs to another file.
    let parent = ("a/mod.rs", "mod b; mod c; use c::A; fn f() { b::b(A) }");
    check(&[("lib.rs", "mod a;"), parent, child, ("a/c.rs", "pub struct A;")], &[]);
}

#[test]
fn a_module_that_is_imported_counts_by_what_is_taken_of_it() {
    let a = ("a.rs", "use crate::b; pub struct A; fn f() { b::go() }");
    check(
        &[("lib.rs", "mod a; mod b;"), a, ("b.rs", "use crate::a::{self}; pub fn go() { a::A; }")],
        &[&["a.rs", "b.rs"]],
    );
    let folder = ("b/mod.rs", "mod inner; mod other; pub use inner::go;");
    let files = [("b/inner.rs", "pub fn go() {}"), ("b/other.rs", "use crate::a::A;")];
    check(&[("lib.rs", "mod a; mod b;"), a, folder, files[0], files[1]], &[]);
}

#[test]
fn a_glob_is_an_import_of_the_file() {
    check(
        &[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::*; pub struct A;"), ("b.rs", "use crate::a::A;")],
        &[&["a.rs", "b.rs"]],
    );
    let folder = ("b/mod.rs", "mod c; pub use c::*;");
    let files = [("a.rs", "use crate::b::C; pub struct A;"), ("b/c.rs", "use crate::a::A; pub struct C;")];
    check(&[("lib.rs", "mod a; mod b;"), folder, files[0], files[1]], &[&["a.rs", "b/c.rs"]]);
}

#[test]
fn tests_may_look_at_everything() {
    let a = ("a.rs", "use crate::b::B; pub struct A; #[cfg(test)] mod tests;");
    let tests = ("a/tests.rs", "use crate::a::A; use crate::b::B;");
    let b = ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }");
    check(&[("lib.rs", "mod a; mod b;"), a, b, tests], &[]);
}

#[test]
fn circles_of_three_are_found_apart_from_others() {
    let files = [
        ("main.rs", "mod a; mod b; mod c; mod d; mod e; use a::A; pub struct Root;"),
        ("a.rs", "use crate::b::B; use crate::d::D; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
        ("d.rs", "pub struct D; fn f() { crate::e::e() }"),
        ("e.rs", "pub fn e() {} use super::d::D;"),
    ];
    check(&files, &[&["a.rs", "b.rs", "c.rs"], &["d.rs", "e.rs"]]);
}

#[test]
fn an_inline_module_belongs_to_its_file() {
    let a = ("a.rs", "mod inner { use super::A; use super::super::b::B; } pub struct A;");
    check(&[("lib.rs", "mod a; mod b;"), a, ("b.rs", "pub struct B;")], &[]);
    check(&[("lib.rs", "mod a; mod b;"), a, ("b.rs", "use crate::a::A; pub struct B;")], &[&["a.rs", "b.rs"]]);
}

#[test]
fn a_circle_is_told_with_the_names_that_make_it() {
    let texts = |b: &str| {
        let files = [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", b)];
        files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let (tangled, cleared) = (texts("use crate::a::A; pub struct B;"), texts("pub struct B;"));
    assert!(check_crate("crates/x", &tangled)[0].contains("a.rs (B) → b.rs (A) → a.rs"));
    assert_eq!(check_crate("crates/x", &cleared), [""; 0]);
}
