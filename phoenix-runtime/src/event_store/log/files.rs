//! What the log needs of a file system, so that tests can put a disk below it that fails and forgets.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One flat folder.
pub trait Files: Send + Sync + fmt::Debug + 'static {
    /// The names of its files, in any order.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file; one of this name is replaced.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Opens a file for reading, and for writing where `write` says so.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn LogFile>>;

    /// Gives a file another name; a file of that name is replaced, at once and as a whole.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open keeps it.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: what was made, renamed and removed before.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. Everything is read and written at an offset, so that it has no state of its own.
pub trait LogFile: Send + Sync + fmt::Debug + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn length(&self) -> io::Result<u64>;

    /// Reads into the whole of `buffer` or up to the end of the file, and says how many bytes these were.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves room for a file of this length and makes it that long; what is new reads as zeros.
    ///
    /// # Errors
    /// Whatever the file system says, for example that the disk is full.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn cut(&self, len: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Whatever the file system says. What was written before may be lost then, whatever a later call says.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the operating system.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder where there is none.
    ///
    /// # Errors
    /// A folder that can't be made.
    pub fn make(path: &Path) -> io::Result<Self> {
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.is_dir()).collect();
        if !missing.is_empty() {
            fs::create_dir_all(path)?;
        }
        // the names of all that were made have to last as well
        for above in missing.into_iter().filter_map(Path::parent) {
            // a relative path begins where the process is
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            File::open(above)?.sync_all()?;
        }
        Ok(Self(path.to_owned()))
    }

    /// A folder that is there.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Files for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            // a name that is no UTF-8 is none of ours
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(self.0.join(name))?;
        Ok(Arc::new(Open(file)))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(Open(File::options().read(true).write(write).open(self.0.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

#[derive(Debug)]
struct Open(File);

impl LogFile for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // a file system that reserves nothing: a full disk shows when it is written to
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.0.set_len(len),
            Err(error) => Err(error.into()),
        }
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
