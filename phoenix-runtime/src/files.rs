//! Files that are there whole and durable, or not at all.
//!
//! A file is written under another name, synced and renamed, and then its folder is synced: whoever reads finds all of it,
//! or none. Several processes may share a folder; what a crash leaves under the other name is nobody's.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where files of a folder are written before they have their name.
pub(crate) const NEW: &str = "new";

/// Writes a file below a folder that has [`NEW`]; a file of that name is replaced.
pub(crate) fn write(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (new, mut file) = new_file(root)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        // what stays is only in the way of a tidy folder
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// Whether files can be written below a folder: asked when it is opened rather than when the first one should go there.
pub(crate) fn probe(root: &Path) -> io::Result<()> {
    let (probe, _) = new_file(root)?;
    fs::remove_file(probe)
}

/// A file that nobody else writes, also where several processes share the folder.
fn new_file(root: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = root.join(NEW).join(name);
        match File::create_new(&path) {
            // from before a crash, or from another machine
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return Ok((path, created?)),
        }
    }
}

/// Makes a folder, and each above it, durable.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let named = || sync_folder(parent.unwrap_or(Path::new(".")));
    if path.is_dir() {
        // whoever made it may have been killed before its name was durable; nobody made it where nothing may be made
        return named().or_else(|e| if e.kind() == ErrorKind::PermissionDenied { Ok(()) } else { Err(e) });
    }
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => named(),
    }
}

/// Makes the names in a folder durable. Where a folder can't be opened as a file, they are by themselves.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
