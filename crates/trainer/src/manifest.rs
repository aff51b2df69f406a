//! The seal of a checkpoint: size and SHA-256 of every file in it.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Its name in the checkpoint's folder.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The files of a sealed checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) files: Vec<Entry>,
}

/// One file of a sealed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// How closely a checkpoint is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrutiny {
    /// Every file is there and has its size.
    Sizes,
    /// Every file has its contents.
    Hashes,
}

impl Manifest {
    /// Reads the manifest of a checkpoint and compares the files with it; the error is the reason
    /// why the checkpoint is not complete.
    pub(crate) fn check(folder: &Path, scrutiny: Scrutiny) -> Result<Self, String> {
        if !folder.is_dir() {
            return Err("does not exist".to_owned());
        }
        let text = fs::read(folder.join(MANIFEST));
        let text = text.map_err(|error| format!("is not sealed: `{MANIFEST}`: {error}"))?;
        let manifest = serde_json::from_slice::<Self>(&text)
            .map_err(|error| format!("is corrupt: `{MANIFEST}`: {error}"))?;
        for Entry { name, bytes, .. } in &manifest.files {
            match fs::metadata(folder.join(name)) {
                Err(error) => return Err(format!("is incomplete: `{name}`: {error}")),
                Ok(found) if found.len() != *bytes => {
                    let found = found.len();
                    return Err(format!("is corrupt: `{name}` has {found} bytes, wanted {bytes}"));
                }
                Ok(_) => {}
            }
        }
        if scrutiny == Scrutiny::Hashes {
            let files = manifest.files.par_iter();
            files.try_for_each(|Entry { name, sha256, .. }| match hash(&folder.join(name)) {
                Err(error) => Err(format!("cannot be read: `{name}`: {error}")),
                Ok(found) if found != *sha256 => {
                    Err(format!("is corrupt: `{name}` has SHA-256 {found}, wanted {sha256}"))
                }
                Ok(_) => Ok(()),
            })?;
        }
        Ok(manifest)
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(digest)),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// The digest in hexadecimal.
pub(crate) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes to a file, and counts and hashes what goes through.
pub(crate) struct Sealing {
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Sealing {
    /// A new file.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create_new(path)?, digest: Sha256::new(), bytes: 0 })
    }

    /// Waits until the file is on the disk, and returns its entry in the manifest.
    pub(crate) fn seal(self, name: &str) -> io::Result<Entry> {
        self.file.sync_all()?;
        Ok(Entry { name: name.to_owned(), bytes: self.bytes, sha256: hex(self.digest) })
    }
}

impl Write for Sealing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.digest.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let files = [("a.bin", &b"abc"[..]), ("empty", b"")].map(|(name, data)| {
            let mut file = Sealing::create(&folder.path().join(name)).unwrap();
            file.write_all(data).unwrap();
            file.seal(name).unwrap()
        });
        let manifest = serde_json::to_vec(&Manifest { files: files.into() }).unwrap();
        fs::write(folder.path().join(MANIFEST), manifest).unwrap();
        folder
    }

    /// The digests of "abc" and of nothing are those of FIPS 180-4's examples.
    #[test]
    fn the_seal_is_size_and_sha256() {
        let folder = sealed();
        let manifest = Manifest::check(folder.path(), Scrutiny::Hashes).unwrap();
        let found = manifest.files.iter().map(|e| (e.bytes, &e.sha256[..8])).collect::<Vec<_>>();
        assert_eq!(found, [(3, "ba7816bf"), (0, "e3b0c442")]);
    }

    #[test]
    fn every_damage_is_named() {
        let reason = |damage: &dyn Fn(&Path), scrutiny| {
            let folder = sealed();
            damage(folder.path());
            Manifest::check(folder.path(), scrutiny).unwrap_err()
        };
        let truncate = |folder: &Path| fs::write(folder.join("a.bin"), "ab").unwrap();
        assert_eq!(reason(&truncate, Scrutiny::Sizes), "is corrupt: `a.bin` has 2 bytes, wanted 3");
        let flip = |folder: &Path| fs::write(folder.join("a.bin"), "abd").unwrap();
        let flipped = reason(&flip, Scrutiny::Hashes);
        assert!(flipped.starts_with("is corrupt: `a.bin` has SHA-256 a52d159f"), "{flipped}");
        let remove = |folder: &Path| fs::remove_file(folder.join("empty")).unwrap();
        assert!(reason(&remove, Scrutiny::Sizes).starts_with("is incomplete: `empty`: "));
        let unseal = |folder: &Path| fs::remove_file(folder.join(MANIFEST)).unwrap();
        assert!(reason(&unseal, Scrutiny::Sizes).starts_with("is not sealed: `manifest.json`: "));
        let tear = |folder: &Path| fs::write(folder.join(MANIFEST), "{\"files\"").unwrap();
        assert!(reason(&tear, Scrutiny::Sizes).starts_with("is corrupt: `manifest.json`: "));
    }
}
