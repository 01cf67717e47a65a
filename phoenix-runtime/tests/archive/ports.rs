//! Every archive of this crate against the one suite, and what a folder adds to it.

use std::fs;
use std::sync::Arc;

use phoenix_runtime::domain::id::AggregateId;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::archive::BlockInfo;
use phoenix_runtime::event_store::port::StreamId;
use phoenix_runtime::event_store::{
    Archive, FolderArchive, MemoryArchive, SqliteOptions, SqliteReader, SqliteStore, StoreError,
};
use phoenix_runtime::testkit::conformance::Failure;
use phoenix_runtime::testkit::conformance::archives::{ArchiveFactory, run_archive};
use tempfile::TempDir;

struct Memory;

impl ArchiveFactory for Memory {
    fn open<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Archive>, StoreError>> {
        Box::pin(async { Ok(Arc::new(MemoryArchive::new()) as Arc<dyn Archive>) })
    }
}

struct Folder(TempDir);

impl ArchiveFactory for Folder {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Archive>, StoreError>> {
        let folder = FolderArchive::open(self.0.path().join(name)).unwrap();
        Box::pin(async { Ok(Arc::new(folder) as Arc<dyn Archive>) })
    }
}

struct Sqlite(TempDir);

impl ArchiveFactory for Sqlite {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Archive>, StoreError>> {
        let options = SqliteOptions::at(self.0.path().join(name));
        Box::pin(async { Ok(Arc::new(SqliteStore::open(options).await.unwrap()) as Arc<dyn Archive>) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_an_archive() -> Result<(), Failure> {
    run_archive(&Memory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_an_archive() -> Result<(), Failure> {
    run_archive(&Folder(TempDir::new().unwrap())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_sqlite_is_an_archive() -> Result<(), Failure> {
    run_archive(&Sqlite(TempDir::new().unwrap())).await
}

const BLOCK: BlockInfo = BlockInfo { to: 9, from: 1 };

fn stream(id: &str) -> StreamId {
    StreamId { aggregate: "account".into(), id: AggregateId::new(id).unwrap() }
}

/// The folder of the only stream in an archive.
fn only_stream(root: &TempDir) -> std::path::PathBuf {
    let folders = |path: &std::path::Path| {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().is_some_and(|name| name != "new")).collect::<Vec<_>>()
    };
    let [first] = &folders(root.path())[..] else { panic!("one prefix") };
    let [stream] = &folders(first)[..] else { panic!("one stream") };
    stream.clone()
}

#[tokio::test]
async fn a_folder_leaves_no_file_behind_that_is_not_a_block() {
    let root = TempDir::new().unwrap();
    let folder = FolderArchive::open(root.path()).unwrap();
    folder.put(stream("a"), BLOCK, vec![1, 2, 3]).await.unwrap();
    let mut names: Vec<_> = fs::read_dir(only_stream(&root)).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["1-9.block", "stream"]);
    assert_eq!(fs::read_dir(root.path().join("new")).unwrap().count(), 0);
    // what a crash left, and what people put there, is in nobody's way
    for name in ["9-1.block", "x.block", "1-2.block.tmp", "notes.txt"] {
        fs::write(only_stream(&root).join(name), "?").unwrap();
    }
    fs::write(root.path().join("new").join(format!("{}-0", std::process::id())), "half").unwrap();
    folder.put(stream("a"), BlockInfo { to: 10, from: 10 }, vec![4]).await.unwrap();
    let blocks = folder.blocks(stream("a"), 0, 10).await.unwrap();
    assert_eq!(blocks, [BLOCK, BlockInfo { to: 10, from: 10 }]);
}

#[tokio::test]
async fn a_stream_does_not_enter_the_folder_of_another_one() {
    let root = TempDir::new().unwrap();
    let folder = FolderArchive::open(root.path()).unwrap();
    folder.put(stream("a"), BLOCK, vec![1]).await.unwrap();
    // as if the names of two streams had one hash
    fs::write(only_stream(&root).join("stream"), "account\nb\n").unwrap();
    for refused in [
        folder.put(stream("a"), BLOCK, vec![2]).await.unwrap_err(),
        folder.get(stream("a"), BLOCK).await.unwrap_err(),
        folder.blocks(stream("a"), 0, 9).await.unwrap_err(),
    ] {
        assert!(matches!(refused, StoreError::Damaged(_)), "{refused:?}");
        assert!(refused.to_string().contains("belongs to another stream"), "{refused}");
    }
    assert_eq!(fs::read(only_stream(&root).join("1-9.block")).unwrap(), [1]);
}

#[tokio::test]
async fn a_folder_that_can_not_be_used_says_so() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = FolderArchive::open(file.join("archive")).unwrap_err().to_string();
    assert!(error.contains("file/archive`") && error.contains("check that it is a folder"), "{error}");
    let folder = FolderArchive::open(root.path().join("archive")).unwrap();
    fs::remove_dir_all(root.path().join("archive")).unwrap();
    let error = folder.put(stream("a"), BLOCK, vec![1]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("account/a")), "{error:?}");
    assert_eq!(FolderArchive::reader(root.path().join("nowhere")).blocks(stream("a"), 0, 9).await, Ok(vec![]));
}

#[tokio::test]
async fn a_reader_of_sqlite_reads_blocks_and_writes_none() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("events.db");
    let store = SqliteStore::open(SqliteOptions::at(&path)).await.unwrap();
    store.put(stream("a"), BLOCK, vec![7]).await.unwrap();
    let reader = SqliteReader::open(&path).await.unwrap();
    assert_eq!(Archive::get(&reader, stream("a"), BLOCK).await, Ok(Some(vec![7])));
    assert_eq!(Archive::blocks(&reader, stream("a"), 0, 9).await, Ok(vec![BLOCK]));
    let refused = reader.put(stream("a"), BLOCK, vec![8]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}
