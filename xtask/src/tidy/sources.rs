//! Rules about source files: no paths of one machine, and no large files.

use crate::{Error, Result, process};
use std::path::Path;
use std::process::Command;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Absolute paths that exist only on a build machine. Split, so that this file may contain them.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// The files of the repository, including new ones, relative to its root.
///
/// # Errors
/// Errors of `git ls-files`.
pub(super) fn tracked(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listing = process::capture(&mut git)?;
    let listing = String::from_utf8(listing)
        .map_err(|error| Error::Unreadable { place: "git ls-files".to_owned(), problem: error.to_string() })?;
    Ok(listing.split_terminator('\0').map(str::to_owned).collect())
}

/// Lines of all Rust files under a folder.
pub(super) fn lines_under(root: &Path, files: &[String], folder: &str) -> usize {
    let inside = files.iter().filter(|file| file.starts_with(folder) && file.ends_with(".rs"));
    inside.filter_map(|file| std::fs::read_to_string(root.join(file)).ok()).map(|text| text.lines().count()).sum()
}

/// The errors in a file, and the warnings about its size.
pub(super) fn check_file(root: &Path, file: &str) -> (Vec<String>, Vec<String>) {
    // Skip deleted files, which are listed until the deletion is committed, and weights, which are not text.
    let Ok(text) = std::fs::read_to_string(root.join(file)) else { return Default::default() };
    let errors = machine_paths(&text);
    let errors = errors.map(|(line, path)| format!("{file}:{line}: `{path}…` is a path of one machine")).collect();
    let warnings = if file.ends_with(".rs") { large_parts(file, &text) } else { Vec::new() };
    (errors, warnings)
}

/// Lines with a machine's path, and the path.
fn machine_paths(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        let here = MACHINE_PATHS.into_iter().filter(move |path| {
            // `at/work/` and `https://host/work/` are not such paths.
            let mut starts = line.match_indices(path).map(|(at, _)| line[..at].chars().next_back());
            starts.any(|before| before.is_none_or(|c| !(c.is_alphanumeric() || "./-_~})".contains(c))))
        });
        here.map(move |path| (index + 1, path))
    })
}

fn large_parts(file: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let mut large: Vec<String> = functions(text)
        .filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX)
        .map(|(name, line, lines)| format!("{file}:{line}: fn {name} has {lines} lines; consider splitting it"))
        .collect();
    if lines > FILE_LINES_MAX {
        large.push(format!("{file}: {lines} lines; consider splitting it"));
    }
    large
}

/// Name, first line and number of lines of every function. Reads only indentation, which rustfmt makes reliable.
fn functions(text: &str) -> impl Iterator<Item = (&str, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = text.lines().enumerate().filter_map(|(index, line)| Some((index, indent(line), function_name(line)?)));
    starts.filter_map(move |(start, depth, name)| {
        let closes = |line: &&str| line.trim_start().starts_with('}') && indent(line) == depth;
        let end = lines[start..].iter().position(closes)?;
        Some((name, start + 1, end + 1))
    })
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with("//"));
    words.by_ref().find(|&word| word == "fn" || !is_qualifier(word)).filter(|&word| word == "fn")?;
    // A function on one line has no body to measure.
    let name = words.next().filter(|_| !line.trim_end().ends_with(['}', ';']))?;
    name.split(['(', '<']).next()
}

fn is_qualifier(word: &str) -> bool {
    word.starts_with("pub") || ["const", "async", "unsafe", "extern", "\"C\"", "crate)", "super)"].contains(&word)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_and_look_alikes_are_not() {
        let [work, root] = MACHINE_PATHS;
        let text = format!("fine\nopen(\"{work}x\")\n{root}.cargo\nhttps://host{work}\nwood{work}\n`{root}`");
        let found: Vec<usize> = machine_paths(&text).map(|(line, _)| line).collect();
        assert_eq!(found, [2, 3, 6]);
    }

    #[test]
    fn functions_are_measured_by_their_indentation() {
        let text = "pub(crate) fn one(\n    a: u8,\n) -> u8 {\n    a\n}\n\nimpl X {\n    fn two<T>() {\n        if true {\n        }\n    }\n    fn short() {}\n}\n// fn three() {\n";
        let found: Vec<_> = functions(text).collect();
        // The `)` of a long signature is not the end, nor is a nested block.
        assert_eq!(found, [("one", 1, 5), ("two", 8, 4)]);
    }
}
