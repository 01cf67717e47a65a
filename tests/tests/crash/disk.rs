//! A folder on a disk that can lose what was not synced: see `shim/lost_writes.c` for the model.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lot::Lot;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The folder and the disk's view of it.
pub(crate) struct Disk {
    shim: PathBuf,
    /// What programs see.
    folder: PathBuf,
    view: PathBuf,
}

/// How much of what was not synced is lost.
pub(crate) enum Loss<'a> {
    /// All of it.
    Everything,
    /// Each sector, length and name by lot: a disk may have written anything in any order.
    ByLot(&'a mut Lot),
    /// As by lot, and some of these sectors hold what was never written.
    Garbage(&'a mut Lot),
}

impl Disk {
    /// Takes a folder, whose path has to be what the kernel calls it, and compiles the shim in `base`, below which the
    /// disk's view is as well.
    pub(crate) fn new(base: &Path, folder: &Path) -> Self {
        let disk = Self { shim: base.join("lost_writes.so"), folder: folder.to_owned(), view: base.join("disk") };
        for folder in [&disk.folder, &disk.view.join("content"), &disk.view.join("entries")] {
            fs::create_dir_all(folder).expect("a folder");
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/shim/lost_writes.c");
        let compiled = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread", "-o"])
            .args([disk.shim.as_os_str(), source.as_ref()])
            .output()
            .expect("`cc`, which links Rust programs, is there");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        disk
    }

    /// The environment of a program that writes to this disk.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        [
            ("LD_PRELOAD", text(&self.shim)),
            ("LOST_WRITES_DIR", text(&self.folder)),
            ("LOST_WRITES_DISK", text(&self.view)),
        ]
    }

    /// Loses what was not synced. No program may run.
    pub(crate) fn cut_power(&self, mut loss: Loss<'_>) {
        // in the order of names, for the lot's sake
        for name in names(&self.folder) {
            let file = self.folder.join(&name);
            let seen = fs::read(&file).expect("a file");
            let synced = fs::read(self.content(&name)).unwrap_or_default();
            let named = self.entry(&name).exists();
            let (kept, left) = match &mut loss {
                Loss::Everything => (named, synced),
                Loss::ByLot(lot) => (named || lot.one_in(2), mixed(lot, false, &seen, &synced)),
                Loss::Garbage(lot) => (named || lot.one_in(2), mixed(lot, true, &seen, &synced)),
            };
            if kept {
                fs::write(&file, &left).expect("a file");
                // what the machine finds when it comes back is on its disk
                fs::write(self.content(&name), &left).expect("a file");
                fs::write(self.entry(&name), "").expect("a file");
            } else {
                fs::remove_file(&file).expect("a file");
                // there may be none
                let _ = fs::remove_file(self.content(&name));
            }
        }
    }

    fn content(&self, name: &str) -> PathBuf {
        self.view.join("content").join(name)
    }

    fn entry(&self, name: &str) -> PathBuf {
        self.view.join("entries").join(name)
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8")).collect()
}

/// Takes each sector from one or the other. Where they differ, bytes may also be spoilt: but none that was synced, for
/// disks spoil no neighbours, and every store relies on that.
fn mixed(lot: &mut Lot, garbage: bool, seen: &[u8], synced: &[u8]) -> Vec<u8> {
    let mut left = vec![0; if lot.one_in(2) { seen.len() } else { synced.len() }];
    for (number, sector) in left.chunks_mut(SECTOR).enumerate() {
        let start = number * SECTOR;
        let part = |of: &[u8]| of.get(start..of.len().min(start + SECTOR)).unwrap_or_default().to_owned();
        let (new, old) = (part(seen), part(synced));
        let (takes_new, spoils) = (lot.one_in(2), garbage && lot.one_in(3));
        for (index, byte) in sector.iter_mut().enumerate() {
            let (new, old) = (new.get(index).copied().unwrap_or(0), old.get(index).copied().unwrap_or(0));
            *byte = if takes_new { new } else { old };
            if spoils && new != old && lot.one_in(20) {
                *byte ^= u8::try_from(1 + lot.below(255)).expect("it is a byte");
            }
        }
    }
    left
}

#[cfg(test)]
pub(crate) mod tests {
    use libtest_mimic::Trial;

    use super::*;

    fn run(disk: &Disk, script: &str) {
        let status = Command::new("sh")
            .args(["-ec", script])
            .current_dir(&disk.folder)
            .envs(disk.environment())
            .status()
            .expect("a shell");
        assert!(status.success(), "{script}");
    }

    #[track_caller]
    fn check(script: &str, expected: &[(&str, &str)]) {
        let base = tempfile::tempdir().expect("a folder");
        let base = base.path().canonicalize().expect("it is there");
        let disk = Disk::new(&base, &base.join("store"));
        run(&disk, script);
        disk.cut_power(Loss::Everything);
        let left: Vec<_> = names(&disk.folder)
            .into_iter()
            .map(|name| (fs::read_to_string(disk.folder.join(&name)).expect("text"), name))
            .collect();
        let left: Vec<_> = left.iter().map(|(content, name)| (&**name, &**content)).collect();
        assert_eq!(left, expected, "{script}");
    }

    fn a_write_is_durable_once_file_and_folder_were_synced() {
        check("printf one > file", &[]);
        check("printf one > file; sync file", &[]);
        check("printf one > file; sync .", &[("file", "")]);
        check("printf one > file; sync file .", &[("file", "one")]);
        check("printf one > file; sync -d file; sync .", &[("file", "one")]);
    }

    fn what_follows_a_sync_is_lost() {
        check("printf one > file; sync file .; printf two >> file", &[("file", "one")]);
        check("printf one > file; sync file .; printf two > file", &[("file", "one")]);
        check("printf one > file; sync file .; printf two >> file; sync file", &[("file", "onetwo")]);
        check(
            "printf one > file; sync file .; printf x | dd status=none of=file conv=notrunc,fsync",
            &[("file", "xne")],
        );
        check("printf one > file; sync file .; truncate -s 1 file; sync file", &[("file", "o")]);
    }

    fn names_are_removed_and_given_at_once() {
        check("printf one > file; sync file .; rm file", &[]);
        check("printf one > file; sync file .; mv file other", &[("other", "one")]);
        check("printf one > file; sync file .; printf two > other; mv other file", &[]);
        check("printf one > file; sync file .; rm file; printf two > file", &[]);
    }

    fn by_lot_a_sector_is_old_or_new() {
        let (new, old) = ([b'n'; 10 * SECTOR], [b'o'; 10 * SECTOR]);
        let mut lot = Lot::new(1, &[]);
        let left = mixed(&mut lot, false, &new, &old);
        assert!(left.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(left.contains(&b'n') && left.contains(&b'o'));
        assert_eq!(mixed(&mut lot, false, &new, &new), new);
        // what was synced is never spoilt
        assert_eq!(mixed(&mut lot, true, &new, &new), new);
        let left = mixed(&mut lot, true, &new, &old);
        assert!(left.iter().any(|byte| !b"no".contains(byte)));
    }

    pub(crate) fn trials() -> Vec<Trial> {
        crate::trials![
            a_write_is_durable_once_file_and_folder_were_synced,
            what_follows_a_sync_is_lost,
            names_are_removed_and_given_at_once,
            by_lot_a_sector_is_old_or_new,
        ]
    }
}
