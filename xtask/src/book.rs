//! The book: the pages of `docs/SUMMARY.md` as a website with a search, made by mdBook.
//!
//! Pages outside `docs/` are in it too. So the pages are copied to one folder at their places, where the links between them lead on.

use crate::markdown::{links, resolve};
use crate::process::{run, step};
use crate::workspace::{Workspace, read};
use crate::{Error, Result, tools};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The table of contents.
pub(crate) const SUMMARY: &str = "docs/SUMMARY.md";
const SETTINGS: &str = "docs/book.toml";

/// The pages in the book, relative to the root.
pub(crate) fn pages(summary: &str) -> Vec<String> {
    links(summary).into_iter().filter_map(|link| Some(resolve(SUMMARY, link.local()?.0))).collect()
}

/// Builds the book into `target/book/html`.
///
/// # Errors
/// [`Error::File`], [`Error::Links`], those of the tools.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let mdbook = tools::install(workspace, &tools::MDBOOK)?;
    let folder = workspace.target.join("book");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    }
    lay_out(&workspace.root, &folder)?;
    step("mdbook build");
    run(Command::new(mdbook).arg("build").arg(&folder))?;
    let site = folder.join("html");
    let broken = broken_references(&site)?;
    broken.iter().for_each(|broken| eprintln!("    {broken}"));
    if !broken.is_empty() {
        return Err(Error::Links(broken.len()));
    }
    println!("    {}", site.join("index.html").display());
    Ok(())
}

/// Copies the pages, the images on them and the settings.
fn lay_out(root: &Path, folder: &Path) -> Result<()> {
    let summary = read(&root.join(SUMMARY))?;
    let source = folder.join("src");
    for page in pages(&summary) {
        copy(root, &source, &page)?;
        let text = read(&root.join(&page))?;
        let paths = links(&text).into_iter().filter_map(|link| Some(resolve(&page, link.local()?.0)));
        for file in paths.filter(|path| !path.ends_with(".md") && root.join(path).is_file()) {
            copy(root, &source, &file)?;
        }
    }
    write(&source.join("SUMMARY.md"), &at_root(&summary))?;
    write(&folder.join("book.toml"), &read(&root.join(SETTINGS))?)
}

/// The table of contents for a reader in the root.
fn at_root(summary: &str) -> String {
    let rewrite = |line: &str| {
        let Some((before, rest)) = line.split_once("](") else { return format!("{line}\n") };
        let Some((path, after)) = rest.split_once(')') else { return format!("{line}\n") };
        format!("{before}]({}){after}\n", resolve(SUMMARY, path))
    };
    summary.lines().map(rewrite).collect()
}

fn copy(root: &Path, to: &Path, file: &str) -> Result<()> {
    let (from, to) = (root.join(file), to.join(file));
    make_folder_of(&to)?;
    std::fs::copy(&from, &to).map(drop).map_err(|source| Error::File { path: from, source })
}

fn write(file: &Path, text: &str) -> Result<()> {
    make_folder_of(file)?;
    std::fs::write(file, text).map_err(|source| Error::File { path: file.to_owned(), source })
}

fn make_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })
}

/// Links, images, scripts and styles of the website that are not there.
fn broken_references(site: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for page in html_files(site)? {
        let folder = page.parent().unwrap_or(site);
        let text = read(&page)?;
        let missing = references(&text).filter(|path| !folder.join(path).exists());
        broken.extend(missing.map(|path| format!("{}: there is no `{path}`", page.display())));
    }
    Ok(broken)
}

/// All HTML files, except the page for missing ones, whose links start at the host.
fn html_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |source| Error::File { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            found.extend(html_files(&path)?);
        } else if path.extension().is_some_and(|end| end == "html") && !path.ends_with("404.html") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Relative paths in `href` and `src`.
fn references(html: &str) -> impl Iterator<Item = &str> {
    let values = [" href=\"", " src=\""].into_iter().flat_map(|name| html.split(name).skip(1));
    let paths = values.filter_map(|rest| rest.split(['"', '#', '?']).next());
    paths.filter(|path| !path.is_empty() && !path.starts_with('/') && !path.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENTS: &str =
        "# Contents\n\n[Start](../README.md)\n\n- [Serving](serving.md)\n  - [Deploying](../deploy/README.md)\n";

    #[test]
    fn the_contents_name_pages_from_the_root() {
        assert_eq!(pages(CONTENTS), ["README.md", "docs/serving.md", "deploy/README.md"]);
        let text = at_root(CONTENTS);
        assert!(
            text.contains("[Start](README.md)\n\n- [Serving](docs/serving.md)\n  - [Deploying](deploy/README.md)\n")
        );
    }

    #[test]
    fn pages_keep_their_places_and_bring_their_images() {
        let (root, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |file: &str, text: &str| write(&root.path().join(file), text).unwrap();
        put(SUMMARY, "[Start](../README.md)\n- [A](a.md)\n");
        put(SETTINGS, "[book]\n");
        put("README.md", "![picture](docs/images/a.svg) [a](docs/a.md)");
        put("docs/a.md", "[back](../README.md)");
        put("docs/images/a.svg", "<svg/>");
        put("docs/not-in-the-book.md", "");
        lay_out(root.path(), folder.path()).unwrap();
        for file in ["src/README.md", "src/docs/a.md", "src/docs/images/a.svg", "src/SUMMARY.md", "book.toml"] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
        assert!(!folder.path().join("src/docs/not-in-the-book.md").exists());
    }

    #[test]
    fn what_a_web_page_misses_is_named() {
        let site = tempfile::tempdir().unwrap();
        let page = "<a href=\"b.html#x\"></a><a href=\"https://c\"></a><img src=\"d.png\"><a href=\"#here\"></a>";
        write(&site.path().join("a.html"), page).unwrap();
        write(&site.path().join("b.html"), "<script src=\"../a.js\"></script>").unwrap();
        write(&site.path().join("404.html"), "<a href=\"nothing.html\"></a>").unwrap();
        let mut broken = broken_references(site.path()).unwrap();
        broken.sort();
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(
            broken[0].ends_with("a.html: there is no `d.png`") && broken[1].ends_with("b.html: there is no `../a.js`")
        );
    }
}
