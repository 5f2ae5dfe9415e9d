//! Who made a file's pipelines. A driver takes them for what it wrote itself, and reads them without much care: they are as good as a
//! program. A seal, BLAKE3 with a secret key that lies in the user's cache folder, tells those of the user's own making from any other.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

const FILE: &str = "compile.key";

/// What seals are made with.
pub(super) struct Key([u8; blake3::KEY_LEN]);

impl Key {
    /// The key in a folder, if there is one.
    pub(super) fn open(folder: &Path) -> Option<Key> {
        let bytes = fs::read(folder.join(FILE)).ok()?;
        Some(Key(bytes.try_into().ok()?))
    }

    /// The key in a folder, or a new one, which is put there for nobody but this user to read.
    pub(super) fn open_or_make(folder: &Path) -> io::Result<Key> {
        if let Some(key) = Key::open(folder) {
            return Ok(key);
        }
        let mut key = [0; blake3::KEY_LEN];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        fs::create_dir_all(folder)?;
        // Under another name first: whoever reads meanwhile finds a whole key or none.
        let unfinished = folder.join(format!("{FILE}.{}.part", std::process::id()));
        let _ = fs::remove_file(&unfinished);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&unfinished)?.write_all(&key)?;
        fs::rename(&unfinished, folder.join(FILE))?;
        Ok(Key(key))
    }

    /// Of some bytes, in hexadecimal.
    pub(super) fn seal(&self, bytes: &[u8]) -> String {
        blake3::keyed_hash(&self.0, bytes).to_hex().to_string()
    }

    /// Whether the seal is one of this key on these bytes. Takes the same time whatever it is.
    pub(super) fn fits(&self, seal: &str, bytes: &[u8]) -> bool {
        blake3::Hash::from_hex(seal).is_ok_and(|seal| blake3::keyed_hash(&self.0, bytes) == seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_its_key_and_bytes_only() {
        let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
        assert!(Key::open(folders[0].path()).is_none());
        let key = Key::open_or_make(&folders[0].path().join("new")).unwrap();
        let same = Key::open_or_make(&folders[0].path().join("new")).unwrap();
        let other = Key::open_or_make(folders[1].path()).unwrap();
        let seal = key.seal(b"pipelines");
        assert!(key.fits(&seal, b"pipelines") && same.fits(&seal, b"pipelines"));
        assert!(!key.fits(&seal, b"Pipelines") && !other.fits(&seal, b"pipelines"));
        assert!(!key.fits("", b"pipelines") && !key.fits(&seal[1..], b"pipelines"));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        Key::open_or_make(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
