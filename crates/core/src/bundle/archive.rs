//! Finds the files in the bytes of a `.tar`. Nothing is copied, so the weights are in memory once.

use super::bytes::Bytes;
use super::names::{CONFIG, MANIFEST};
use crate::{Error, Result};
use grice_model::{Folder, Source};
use std::collections::BTreeMap;
use std::ops::Range;

/// Far above every known model; only a corrupt header exceeds it.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// The number of links that operating systems follow.
const LINKS_MOST: usize = 40;
/// Links to their own parent folders give endless names.
const FILES_MOST: usize = 1 << 16;

/// An archive, with its files by path; links are resolved.
#[derive(Debug)]
pub(crate) struct Archive {
    bytes: Bytes,
    files: BTreeMap<String, Range<usize>>,
}

impl Archive {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`Error::BundleFile`] naming the member at fault.
    pub(crate) fn read(bytes: Bytes) -> Result<Archive> {
        let mut members = Members::default();
        let mut entries = tar::Archive::new(&*bytes);
        for entry in entries.entries().map_err(|error| unreadable(&error))? {
            let entry = entry.map_err(|error| unreadable(&error))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                members.link(&name, &target, kind.is_symlink())?;
            } else if kind.is_file() || kind.is_contiguous() {
                let (start, size) = (entry.raw_file_position(), entry.size());
                members.file(&name, start, size, bytes.len())?;
            } else if kind.is_gnu_sparse() {
                return Err(refused(
                    &name,
                    "a sparse file, which does not contain all of its bytes; pack it without --sparse",
                ));
            }
        }
        let files = strip_top_folder(members.resolve()?);
        Ok(Archive { bytes, files })
    }

    /// The bytes of a file.
    pub(super) fn get(&self, path: &str) -> Option<&[u8]> {
        self.bytes.get(self.files.get(path)?.clone())
    }

    /// The paths of all files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl Folder for Archive {
    fn file(&self, name: &str) -> std::io::Result<Option<Box<dyn Source + '_>>> {
        Ok(self.get(name).map(|bytes| -> Box<dyn Source> { Box::new(bytes) }))
    }
}

fn unreadable(error: &std::io::Error) -> Error {
    // The text after the first colon is bytes of the file, which do not help.
    let cause = error.to_string();
    let cause = cause.split(':').next().unwrap_or_default();
    refused("archive", &format!("not a readable .tar ({cause}); a bundle is a folder or its .tar file"))
}

fn refused(path: &str, cause: &str) -> Error {
    Error::BundleFile { path: path.to_owned(), cause: cause.to_owned() }
}

/// Files and links of the headers, by paths without `.`.
#[derive(Default)]
struct Members {
    files: BTreeMap<String, Range<usize>>,
    /// The target of a link, as a path from the top.
    links: BTreeMap<String, String>,
}

impl Members {
    fn file(&mut self, name: &str, start: u64, size: u64, archive_bytes: usize) -> Result<()> {
        let end = start.checked_add(size).filter(|&end| size <= FILE_BYTES_MAX && end <= archive_bytes as u64);
        let Some(end) = end else {
            return Err(refused(name, &format!("its header claims {size} bytes, more than the archive holds")));
        };
        if let Some(path) = join("", name) {
            self.links.remove(&path);
            self.files.insert(path, start as usize..end as usize);
        }
        Ok(())
    }

    /// A hard link's target is a path from the top; a symbolic link's target starts at the folder of the link.
    fn link(&mut self, name: &str, target: &str, is_symbolic: bool) -> Result<()> {
        let Some(path) = join("", name) else { return Ok(()) };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target_path = match (target.starts_with('/'), is_symbolic) {
            (true, _) => None,
            (false, true) => join(folder, target),
            (false, false) => join("", target),
        };
        let Some(target_path) = target_path else {
            let cause = format!("a link to `{target}`, outside the archive; pack the file itself (tar --dereference)");
            return Err(refused(name, &cause));
        };
        self.files.remove(&path);
        self.links.insert(path, target_path);
        Ok(())
    }

    /// All files, including the targets of links under the links' names. A link to a folder gives every file in it another name;
    /// a link to a missing file gives none.
    fn resolve(mut self) -> Result<BTreeMap<String, Range<usize>>> {
        // Each round follows one more link of a chain; the next round uses the new names.
        for _ in 0..LINKS_MOST {
            let mut found = Vec::new();
            for (link, target) in &self.links {
                if let Some(range) = self.files.get(target) {
                    found.push((link.clone(), range.clone()));
                }
                let inside = format!("{target}/");
                let files = self.files.range(inside.clone()..).take_while(|(path, _)| path.starts_with(&inside));
                found.extend(files.map(|(path, range)| (format!("{link}/{}", &path[inside.len()..]), range.clone())));
            }
            found.retain(|(path, _)| !self.files.contains_key(path));
            if found.is_empty() {
                return Ok(self.files);
            }
            self.files.extend(found);
            if self.files.len() > FILES_MOST {
                break;
            }
        }
        let link = self.links.keys().next().map_or("archive", String::as_str);
        Err(refused(link, "links that form an endless chain; pack the files themselves (tar --dereference)"))
    }
}

/// A path from the top, for one from a folder; `None` for one that leads out of the archive, or to its top.
fn join(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// `name/grice.json` and its neighbours → `grice.json` and its neighbours; the same for `config.json` where there is no `grice.json`.
fn strip_top_folder(files: BTreeMap<String, Range<usize>>) -> BTreeMap<String, Range<usize>> {
    let top_of = |known: &str| match files.contains_key(known) {
        true => Some(String::new()),
        false => files.keys().find_map(|name| Some(format!("{}/", name.strip_suffix(known)?.strip_suffix('/')?))),
    };
    match top_of(MANIFEST).or_else(|| top_of(CONFIG)) {
        Some(top) if !top.trim_end_matches('/').contains('/') => {
            files.into_iter().filter_map(|(name, range)| Some((name.strip_prefix(&top)?.to_owned(), range))).collect()
        }
        _ => files,
    }
}
