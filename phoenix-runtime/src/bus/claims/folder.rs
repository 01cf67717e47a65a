//! Bodies in a folder: a file each.
//!
//! ```text
//! <folder>/3f/0192...01.3fa2...9c.1048577     by the first digits of the hash
//! <folder>/new/...                            files that are being written; after a crash some may stay, and expire
//! ```
//!
//! Several processes may share a folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::claim::Claim;
use super::port::{Claims, ClaimsError};
use crate::domain::ports::BoxFuture;
use crate::files;

/// Why a folder can't keep bodies.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to open the folder of large messages `{}`: {source}; check that it is a folder that this program may read and \
     write",
    path.display()
)]
pub struct ClaimsFolderError {
    /// The folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// Bodies in a folder.
#[derive(Debug, Clone)]
pub struct FolderClaims {
    root: Arc<Path>,
}

impl FolderClaims {
    /// Opens a folder, and makes it where there is none.
    ///
    /// # Errors
    /// A folder that can't be made, or not be written to.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ClaimsFolderError> {
        let path = path.into();
        let opened = files::make_folder(&path.join(files::NEW)).and_then(|()| files::probe(&path));
        match opened {
            Ok(()) => Ok(Self { root: path.into() }),
            Err(source) => Err(ClaimsFolderError { path, source }),
        }
    }

    /// Made of the claim's numbers, so it is in this folder whatever a message says.
    fn place(&self, claim: Claim) -> PathBuf {
        self.root.join(claim.shelf()).join(claim.file_name())
    }

    /// Does something with files on a thread that may wait for a disk.
    fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ClaimsError>> {
        let claims = self.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || {
                work(&claims).map_err(|error| {
                    let folder = claims.root.display();
                    ClaimsError(format!("failed to {what} `{folder}`: {error}; check the folder and its disk"))
                })
            });
            done.await.unwrap_or_else(|e| Err(ClaimsError(format!("failed to {what}: {e}"))))
        })
    }

    fn write(&self, claim: Claim, body: &[u8]) -> io::Result<()> {
        let place = self.place(claim);
        let folder = self.root.join(claim.shelf());
        match fs::create_dir(&folder) {
            // also if it was there: whoever made it may not have come to make its name durable
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => files::sync_folder(&self.root)?,
        }
        files::write(&self.root, &place, body)
    }

    fn read(&self, claim: Claim) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.place(claim)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut body = Vec::new();
        // one byte more shows that it is not what was claimed
        file.take(claim.bytes().saturating_add(1)).read_to_end(&mut body)?;
        Ok(Some(body))
    }

    fn sweep(&self, before: SystemTime) -> io::Result<usize> {
        let mut removed = 0;
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            let name = folder.file_name();
            let is_ours = name == files::NEW || name.to_str().is_some_and(|name| name.len() == 2);
            if !is_ours || !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                removed += usize::from(remove_if_old(&file?, before)?);
            }
        }
        Ok(removed)
    }
}

/// Another process may be faster.
fn remove_if_old(file: &fs::DirEntry, before: SystemTime) -> io::Result<bool> {
    let removed = file.metadata().and_then(|metadata| {
        let is_old = metadata.is_file() && metadata.modified()? < before;
        if is_old { fs::remove_file(file.path()).map(|()| true) } else { Ok(false) }
    });
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        other => other,
    }
}

impl Claims for FolderClaims {
    fn name(&self) -> String {
        format!("folder `{}`", self.root.display())
    }

    fn put(&self, claim: Claim, body: Arc<[u8]>) -> BoxFuture<'_, Result<(), ClaimsError>> {
        self.run("keep a large message in", move |claims| claims.write(claim, &body))
    }

    fn get(&self, claim: Claim) -> BoxFuture<'_, Result<Option<Vec<u8>>, ClaimsError>> {
        self.run("read a large message of", move |claims| claims.read(claim))
    }

    fn expire(&self, before_micros: i64) -> BoxFuture<'_, Result<usize, ClaimsError>> {
        let before = UNIX_EPOCH + Duration::from_micros(u64::try_from(before_micros).unwrap_or(0));
        self.run("remove old messages of", move |claims| claims.sweep(before))
    }
}
