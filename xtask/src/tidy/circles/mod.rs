//! No circles of files inside a crate: files that import from each other can only be read together.
//!
//! An import is a name from another file of the crate, by `use` or by path, also through re-exports. Code that only tests compile does
//! not count.

mod imports;
#[cfg(test)]
mod tests;
mod tokens;

use imports::Imports;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

/// Files that all reach each other, relative to the crate's `src`.
type Circle = BTreeSet<String>;

/// The circles in all crates.
pub(super) fn check(root: &Path, files: &[String]) -> Vec<String> {
    let mut crates: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let Some((member, inside)) = file.split_once("/src/") else { continue };
        // A deleted file is listed until the deletion is committed.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        crates.entry(member).or_default().insert(inside.to_owned(), text);
    }
    crates.iter().flat_map(|(member, texts)| check_crate(member, texts)).collect()
}

fn check_crate(member: &str, texts: &BTreeMap<String, String>) -> Vec<String> {
    let imports = Imports::read(texts);
    let told = circles(&imports).into_iter().map(|circle| {
        let files: Vec<&str> = circle.iter().map(String::as_str).collect();
        format!(
            "{member}/src: files import from each other in a circle: {} (all: {files:?})",
            shortest(&imports, &circle)
        )
    });
    told.collect()
}

fn circles(imports: &Imports) -> Vec<Circle> {
    let reached: Vec<BTreeSet<usize>> = (0..imports.files.len()).map(|file| reached_from(imports, file)).collect();
    let mut circles: Vec<Circle> = Vec::new();
    for (file, name) in imports.files.iter().enumerate() {
        if reached[file].contains(&file) && !circles.iter().any(|circle| circle.contains(name)) {
            let members = reached[file].iter().filter(|other| reached[**other].contains(&file));
            circles.push(members.map(|other| imports.files[*other].clone()).collect());
        }
    }
    circles
}

/// The files that a file needs; includes itself only if it is in a circle.
fn reached_from(imports: &Imports, file: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        next.extend(imports.takes[file].keys().copied().filter(|taken| reached.insert(*taken)));
    }
    reached
}

/// A shortest way around, with a name for each step.
fn shortest(imports: &Imports, circle: &Circle) -> String {
    let of_circle = (0..imports.files.len()).filter(|file| circle.contains(&imports.files[*file]));
    let ways = of_circle.filter_map(|file| way_back(imports, file));
    let way = ways.min_by_key(Vec::len).unwrap_or_default();
    let steps =
        way.windows(2).map(|pair| format!("{} ({}) → ", imports.files[pair[0]], imports.takes[pair[0]][&pair[1]]));
    steps.collect::<String>() + way.last().map_or("", |last| &imports.files[*last])
}

fn way_back(imports: &Imports, start: usize) -> Option<Vec<usize>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for &taken in imports.takes[*way.last()?].keys() {
            let longer: Vec<usize> = way.iter().copied().chain([taken]).collect();
            if taken == start {
                return Some(longer);
            }
            if seen.insert(taken) {
                ways.push_back(longer);
            }
        }
    }
    None
}
