//! Every link of a Markdown page leads somewhere, and every page of `docs/` is in the book.

use crate::book;
use crate::markdown::{Link, anchors, links, resolve};
use crate::workspace::read;
use std::collections::BTreeMap;
use std::path::Path;

/// The pages of the repository by path, and all its files.
struct Site<'f> {
    pages: BTreeMap<&'f str, String>,
    files: &'f [String],
}

/// The broken links, and what the book lacks.
pub(super) fn check(root: &Path, files: &[String]) -> Vec<String> {
    let pages = files.iter().filter(|file| file.ends_with(".md"));
    let pages = pages.filter_map(|file| Some((file.as_str(), read(&root.join(file)).ok()?))).collect();
    let site = Site { pages, files };
    let mut broken: Vec<String> = site.pages.iter().flat_map(|(page, text)| site.broken_links(page, text)).collect();
    broken.extend(site.missing_in_book());
    broken
}

impl Site<'_> {
    fn broken_links(&self, page: &str, text: &str) -> Vec<String> {
        let broken = links(text).into_iter().filter_map(|link| Some((link.line, self.problem(page, &link)?)));
        broken.map(|(line, problem)| format!("{page}:{line}: {problem}")).collect()
    }

    fn problem(&self, page: &str, link: &Link) -> Option<String> {
        let (path, at) = link.local()?;
        let path = if path.is_empty() { page.to_owned() } else { resolve(page, path) };
        if !self.has(&path) {
            return Some(format!("there is no `{path}`, to which `{}` leads", link.target));
        }
        let (at, text) = (at?, self.pages.get(path.as_str())?);
        let is_there = anchors(text).iter().any(|anchor| anchor == at);
        (!is_there).then(|| format!("`{path}` has no heading with the anchor `#{at}`"))
    }

    fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file == path || file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Pages of `docs/` that the book's table of contents leaves out, and pages outside the book to which one inside leads.
    fn missing_in_book(&self) -> Vec<String> {
        let Some(summary) = self.pages.get(book::SUMMARY) else { return vec![format!("{} is missing", book::SUMMARY)] };
        let listed = book::pages(summary);
        let is_missing = |page: &str| page != book::SUMMARY && !listed.iter().any(|listed| listed == page);
        let docs = self.pages.keys().filter(|page| page.starts_with("docs/")).map(|page| ((*page).to_owned(), "docs/"));
        let linked = self.pages.iter().filter(|(page, _)| !is_missing(page) && **page != book::SUMMARY);
        let linked = linked.flat_map(|(page, text)| {
            let paths =
                links(text).into_iter().filter_map(|link| Some(link.local()?.0)).filter(|path| path.ends_with(".md"));
            paths.map(|path| (resolve(page, path), *page)).collect::<Vec<_>>()
        });
        let missing = docs.chain(linked).filter(|(page, _)| is_missing(page));
        missing.map(|(page, why)| format!("{}: `{page}` is not in the book ({why})", book::SUMMARY)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_pages(pages: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (page, text) in pages {
            let file = folder.path().join(page);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let files: Vec<String> = pages.iter().map(|(page, _)| (*page).to_owned()).collect();
        check(folder.path(), &files)
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let pages = [
            ("README.md", "[a](docs/a.md) [b](docs/b.md) [folder](docs) [web](https://example.com/x.md)"),
            ("docs/SUMMARY.md", "[Start](../README.md)\n- [A](a.md)"),
            ("docs/a.md", "# A page\n[here](#a-page) [there](../README.md#nothing)"),
        ];
        let broken = check_pages(&pages);
        let expected = [
            "README.md:1: there is no `docs/b.md`, to which `docs/b.md` leads",
            "docs/a.md:2: `README.md` has no heading with the anchor `#nothing`",
            "docs/SUMMARY.md: `docs/b.md` is not in the book (README.md)",
        ];
        assert_eq!(broken, expected);
    }

    #[test]
    fn every_page_of_docs_is_in_the_book() {
        let pages = [("docs/SUMMARY.md", "- [A](a.md)"), ("docs/a.md", "# A"), ("docs/b.md", "# B")];
        assert_eq!(check_pages(&pages), ["docs/SUMMARY.md: `docs/b.md` is not in the book (docs/)"]);
        assert_eq!(check_pages(&[("docs/a.md", "# A")]), ["docs/SUMMARY.md is missing"]);
    }
}
