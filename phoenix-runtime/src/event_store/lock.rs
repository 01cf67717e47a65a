//! One owner a file: a lock on a file beside the database or the folder, which the operating system lets go when the owner dies.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::event_store::sqlite::OpenError;

/// Held by the owner of a database for as long as it may write.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    // the lock lives as long as the open file; the file itself stays, because removing it would let two owners in
    _file: File,
}

impl OwnerLock {
    /// Takes the lock of a file or folder that is there, or says who has it.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        // one lock, whatever the path to it looks like
        let real = path.canonicalize().map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let lock = lock_path(&real);
        let io = |source| OpenError::Io { path: lock.clone(), source };
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&lock).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // who it is only helps; without it the error is still clear
                let known = file.read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
                let owner = if known { owner.trim().to_owned() } else { "another process".to_owned() };
                return Err(OpenError::Owned { path: path.to_owned(), lock, owner });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let text = format!("process {}\n", std::process::id());
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes())).map_err(io)?;
        Ok(Self { _file: file })
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
