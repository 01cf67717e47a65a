//! An archive in a folder: a file for each block.
//!
//! ```text
//! <folder>/3f/a2...9c/stream                 aggregate and id: exactly whose folder this is
//! <folder>/3f/a2...9c/1-1024.block
//! <folder>/new/...                           files that are being written; after a crash some may stay
//! ```
//!
//! The folder of a stream is named by `xxh3_128(aggregate, 0, id)`. Hashes can be made to collide, so whose it is stands
//! in it, and a stream whose place is taken is not archived. Several nodes may share a folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::port::{Archive, BlockInfo};
use crate::domain::ports::BoxFuture;
use crate::event_store::port::{StoreError, StreamId};
use crate::files;

/// No block is as large; a file that is larger is not read into memory.
const MOST_BYTES: u64 = 1 << 30;

/// Why a folder can't be an archive.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to open the archive `{}`: {source}; check that it is a folder that this program may read and write",
    path.display()
)]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// An archive in a folder.
#[derive(Debug, Clone)]
pub struct FolderArchive {
    root: Arc<Path>,
}

impl FolderArchive {
    /// Opens a folder as an archive, and makes it where there is none.
    ///
    /// # Errors
    /// A folder that can't be made, or not be written to.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let path = path.into();
        let opened = files::make_folder(&path.join(files::NEW)).and_then(|()| files::probe(&path));
        match opened {
            Ok(()) => Ok(Self { root: path.into() }),
            Err(source) => Err(FolderError { path, source }),
        }
    }

    /// Opens a folder to read its blocks, whether it is there or not.
    #[must_use]
    pub fn reader(path: impl Into<PathBuf>) -> Self {
        Self { root: path.into().into() }
    }

    fn folder(&self, stream: &StreamId) -> PathBuf {
        let mut hash = Xxh3::new();
        hash.update(stream.aggregate.as_bytes());
        hash.update(&[0]);
        hash.update(stream.id.as_str().as_bytes());
        let name = format!("{:032x}", hash.digest128());
        let (first, rest) = name.split_at(2);
        self.root.join(first).join(rest)
    }

    fn file(&self, stream: &StreamId, block: BlockInfo) -> PathBuf {
        self.folder(stream).join(format!("{block}{SUFFIX}"))
    }

    /// Does something with files on a thread that may wait for a disk.
    fn run<T: Send + 'static>(
        &self,
        stream: StreamId,
        what: &'static str,
        work: impl FnOnce(&Self, &StreamId) -> Result<T, Failed> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let archive = self.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || {
                work(&archive, &stream).map_err(|failed| match failed {
                    Failed::Io(error) => StoreError::Unavailable(format!(
                        "failed to {what} {stream} in the archive `{}`: {error}; check the folder and its disk",
                        archive.root.display()
                    )),
                    Failed::Damaged(reason) => StoreError::Damaged(reason),
                })
            });
            done.await.unwrap_or_else(|e| Err(StoreError::Unavailable(format!("failed to {what}: {e}"))))
        })
    }
}

/// What names the stream of a folder.
const STREAM: &str = "stream";
const SUFFIX: &str = ".block";

enum Failed {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl FolderArchive {
    /// Whether the stream's folder is there and its own.
    fn is_own(&self, stream: &StreamId) -> Result<bool, Failed> {
        let path = self.folder(stream).join(STREAM);
        match fs::read(&path) {
            Ok(owner) if owner == exact(stream) => Ok(true),
            Ok(owner) => Err(Failed::Damaged(format!(
                "`{}` belongs to another stream, {:?}, and not to {stream}, whose name has the same hash: {stream} can't \
                 be archived in a folder",
                path.display(),
                String::from_utf8_lossy(&owner)
            ))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, stream: &StreamId, block: BlockInfo, bytes: &[u8]) -> Result<(), Failed> {
        if !self.is_own(stream)? {
            files::make_folder(&self.folder(stream))?;
            files::write(&self.root, &self.folder(stream).join(STREAM), &exact(stream))?;
            // of two that came at once one has the last word
            self.is_own(stream)?;
        }
        Ok(files::write(&self.root, &self.file(stream, block), bytes)?)
    }

    fn read(&self, stream: &StreamId, block: BlockInfo) -> Result<Option<Vec<u8>>, Failed> {
        if !self.is_own(stream)? {
            return Ok(None);
        }
        let path = self.file(stream, block);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        if file.take(MOST_BYTES + 1).read_to_end(&mut bytes)? as u64 > MOST_BYTES {
            return Err(Failed::Damaged(format!("`{}` is larger than any block is", path.display())));
        }
        Ok(Some(bytes))
    }

    fn list(&self, stream: &StreamId, from: u64, limit: usize) -> Result<Vec<BlockInfo>, Failed> {
        if !self.is_own(stream)? {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder(stream))? {
            let name = entry?.file_name();
            found.extend(name.to_str().and_then(block_of).filter(|block| block.to >= from));
        }
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }
}

/// What the file that names a stream holds.
fn exact(stream: &StreamId) -> Vec<u8> {
    format!("{}\n{}\n", stream.aggregate, stream.id).into_bytes()
}

fn block_of(name: &str) -> Option<BlockInfo> {
    let (from, to) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let block = BlockInfo { from: from.parse().ok()?, to: to.parse().ok()? };
    (block.from <= block.to).then_some(block)
}

impl Archive for FolderArchive {
    fn name(&self) -> String {
        format!("folder `{}`", self.root.display())
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        format!("`{}`", self.file(stream, block).display())
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(stream, "write a block of", move |archive, stream| archive.write(stream, block, &bytes))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.run(stream, "read a block of", move |archive, stream| archive.read(stream, block))
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        self.run(stream, "list the blocks of", move |archive, stream| archive.list(stream, from, limit))
    }
}
