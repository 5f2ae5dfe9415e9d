//! Links and headings of Markdown pages, as far as this repository uses them.

/// A link or an image, written in a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link<'t> {
    pub(crate) line: usize,
    /// As written, with its anchor.
    pub(crate) target: &'t str,
}

impl<'t> Link<'t> {
    /// The path and the anchor, if the link stays in the repository. The path is empty for a place on the same page.
    pub(crate) fn local(&self) -> Option<(&'t str, Option<&'t str>)> {
        let is_address = self.target.contains("://") || self.target.starts_with("mailto:");
        (!is_address).then(|| self.target.split_once('#').map_or((self.target, None), |(path, at)| (path, Some(at))))
    }
}

/// All links outside code.
pub(crate) fn links(text: &str) -> Vec<Link<'_>> {
    prose(text).flat_map(|(index, line)| links_in(index + 1, line)).collect()
}

/// The anchors of all headings, as GitHub and mdBook make them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let headings = prose(text).filter_map(|(_, line)| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    for heading in headings {
        let anchor = anchor(heading);
        let earlier = |other: &&String| other.strip_prefix(&anchor).is_some_and(is_numbering);
        let count = found.iter().filter(earlier).count();
        found.push(if count == 0 { anchor } else { format!("{anchor}-{count}") });
    }
    found
}

/// The path that a link on a page means, both relative to the root. Leaves `..` at the front if it leads out of the root.
pub(crate) fn resolve(page: &str, path: &str) -> String {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')).filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(&last)) if last != ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Lines outside fenced code, and their indices.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

fn links_in(line_number: usize, line: &str) -> impl Iterator<Item = Link<'_>> {
    line.match_indices("](").filter_map(move |(at, opening)| {
        let is_code = line[..at].matches('`').count() % 2 == 1;
        let target = line[at + opening.len()..].split_once(')')?.0;
        (!is_code).then_some(Link { line: line_number, target })
    })
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Nothing, or the number of a repeated heading.
fn is_numbering(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix('-').is_some_and(|number| number.parse::<usize>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text =
            "[a](b.md) and ![c](d/e.png)\n`[x](y)` [f](#g)\n```\n[no](no.md)\n```\n[h](https://i/j.md) [k](l.md#m)";
        let found: Vec<_> = links(text).iter().map(|link| (link.line, link.local())).collect();
        assert_eq!(
            found,
            [
                (1, Some(("b.md", None))),
                (1, Some(("d/e.png", None))),
                (2, Some(("", Some("g")))),
                (6, None),
                (6, Some(("l.md", Some("m"))))
            ]
        );
    }

    #[test]
    fn anchors_are_those_of_the_web_page() {
        let text = "# On a GPU\n```sh\n# no heading\n```\n## `serve`, and what it costs\n## The same\n## The same\n";
        assert_eq!(anchors(text), ["on-a-gpu", "serve-and-what-it-costs", "the-same", "the-same-1"]);
    }

    #[test]
    fn paths_start_at_the_page() {
        assert_eq!(resolve("README.md", "docs/a.md"), "docs/a.md");
        assert_eq!(resolve("docs/a.md", "../models/x/README.md"), "models/x/README.md");
        assert_eq!(resolve("docs/a.md", "./b.md"), "docs/b.md");
        assert_eq!(resolve("docs/a.md", "../../b.md"), "../b.md");
    }
}
