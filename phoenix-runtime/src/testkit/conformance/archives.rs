//! What an archive is: a suite that every adapter of [`Archive`] passes unchanged.

use std::sync::Arc;

use super::Failure;
use super::fixture::{Checked, equal, holds, stream};
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::port::{StoreError, StreamId};

/// Opens archives for the suite.
pub trait ArchiveFactory: Send + Sync {
    /// Opens the archive of this name: empty the first time; later, after all handles of the one before were dropped,
    /// a durable archive has what was put.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Archive>, StoreError>>;

    /// Hears of the streams whose blocks will be put, before the archive of this name is opened: a table may need that
    /// the store beside it knows them.
    fn expect<'a>(&'a self, _name: &'a str, _streams: Vec<StreamId>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The archives that the suite opens.
pub const NAMES: [&str; 6] = ["by_version", "overlap", "names", "large", "at_once", "reopened"];

/// Ids that a name of a file, a statement or a path may not take for anything else.
fn ids() -> Vec<String> {
    let odd = ["a", "A", "a ", "a/../b", "..", "/etc", "C:\\x", "a\nb", "nul", "%41", "'; --", "\u{1f600}"];
    odd.into_iter().map(str::to_owned).chain(["\u{e9}".repeat(127)]).collect()
}

/// A stream of another aggregate, whose name and id together read as those of one of the first.
fn twin() -> StreamId {
    StreamId { aggregate: "bank".into(), ..stream("account/a") }
}

/// Checks every promise of an archive.
///
/// # Errors
/// The first thing that is not as promised.
pub async fn run_archive(factory: &dyn ArchiveFactory) -> Result<(), Failure> {
    let numbered = (0..7).map(|n| format!("account {n}"));
    let all: Vec<_> = ids().into_iter().chain(numbered).chain(["b".to_owned()]).map(|id| stream(&id)).collect();
    for name in NAMES {
        factory.expect(name, [all.clone(), vec![twin()]].concat()).await?;
    }
    let [by_version, overlap, names, large, at_once, _] = NAMES;
    blocks_are_found_by_version(&*factory.open(by_version).await?).await?;
    blocks_may_overlap_and_be_replaced(&*factory.open(overlap).await?).await?;
    streams_are_told_apart_by_their_exact_names(&*factory.open(names).await?).await?;
    blocks_may_be_large(&*factory.open(large).await?).await?;
    many_put_at_once(&factory.open(at_once).await?).await?;
    what_was_put_is_there_after_reopening(factory).await
}

fn block(from: u64, to: u64) -> BlockInfo {
    BlockInfo { to, from }
}

/// Bytes of which no two blocks have the same.
fn bytes(stream: &StreamId, block: BlockInfo) -> Vec<u8> {
    [format!("{stream} {block}").into_bytes(), vec![0, 255, 10, 13]].concat()
}

async fn put(archive: &dyn Archive, stream: &StreamId, block: BlockInfo) -> Result<(), StoreError> {
    archive.put(stream.clone(), block, bytes(stream, block)).await
}

async fn blocks_are_found_by_version(archive: &dyn Archive) -> Checked {
    holds("an archive has a name", !archive.name().is_empty())?;
    let (a, b) = (stream("a"), stream("b"));
    equal("no blocks", &archive.blocks(a.clone(), 0, 10).await?, &Vec::new())?;
    equal("no block", &archive.get(a.clone(), block(1, 9)).await?, &None)?;
    // by number, not by text
    for (from, to) in [(101, 1000), (1, 9), (10, 100), (1001, 1001)] {
        put(archive, &a, block(from, to)).await?;
    }
    put(archive, &b, block(1, 9)).await?;
    let all = [block(1, 9), block(10, 100), block(101, 1000), block(1001, 1001)];
    for (from, limit, expected) in [
        (0, 10, &all[..]),
        (1, 10, &all[..]),
        (9, 10, &all[..]),
        (10, 10, &all[1..]),
        (100, 1, &all[1..2]),
        (101, 1, &all[2..3]),
        (1001, 10, &all[3..]),
        (1002, 10, &[]),
        (0, 2, &all[..2]),
        (0, 0, &[]),
        (0, usize::MAX, &all[..]),
        (u64::MAX, usize::MAX, &[]),
    ] {
        equal("blocks", &archive.blocks(a.clone(), from, limit).await?, &expected.to_vec())?;
    }
    for info in all {
        equal("a block", &archive.get(a.clone(), info).await?, &Some(bytes(&a, info)))?;
        holds("a block has a place", !archive.place(&a, info).is_empty())?;
    }
    equal("a block of other versions", &archive.get(a.clone(), block(1, 10)).await?, &None)?;
    equal("what another stream has", &archive.blocks(b.clone(), 0, 10).await?, &vec![block(1, 9)])
}

async fn blocks_may_overlap_and_be_replaced(archive: &dyn Archive) -> Checked {
    let a = stream("a");
    for (from, to) in [(1, 5), (1, 8), (3, 5), (6, 8)] {
        put(archive, &a, block(from, to)).await?;
    }
    let all = vec![block(1, 5), block(3, 5), block(1, 8), block(6, 8)];
    equal("in the order of their last versions", &archive.blocks(a.clone(), 0, 10).await?, &all)?;
    for length in [100_000, 0, 7] {
        archive.put(a.clone(), block(3, 5), vec![9; length]).await?;
        equal("the new bytes", &archive.get(a.clone(), block(3, 5)).await?, &Some(vec![9; length]))?;
    }
    equal("no block more", &archive.blocks(a.clone(), 0, 10).await?, &all)?;
    equal("the others' bytes", &archive.get(a.clone(), block(1, 5)).await?, &Some(bytes(&a, block(1, 5))))
}

async fn streams_are_told_apart_by_their_exact_names(archive: &dyn Archive) -> Checked {
    let (all, info) = (ids(), block(1, 2));
    let all: Vec<_> = all.iter().map(|id| stream(id)).chain([twin()]).collect();
    for stream in &all {
        put(archive, stream, info).await?;
    }
    for stream in &all {
        equal("the block of a stream", &archive.get(stream.clone(), info).await?, &Some(bytes(stream, info)))?;
        equal("its blocks", &archive.blocks(stream.clone(), 0, 10).await?, &vec![info])?;
    }
    Ok(())
}

async fn blocks_may_be_large(archive: &dyn Archive) -> Checked {
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let (from, to) = (u64::from(u32::MAX) * 1000, u64::from(u32::MAX) * 1001);
    archive.put(stream("a"), block(from, to), large.clone()).await?;
    let found = archive.get(stream("a"), block(from, to)).await?;
    holds("five million bytes", found.as_ref() == Some(&large))
}

async fn many_put_at_once(archive: &Arc<dyn Archive>) -> Checked {
    let put_one = |n: u64| {
        let archive = Arc::clone(archive);
        let stream = stream(&format!("account {}", n % 7));
        // three of each: whoever is last has put the same
        let info = block(n / 21 * 10 + 1, n / 21 * 10 + 10);
        tokio::spawn(async move { put(&*archive, &stream, info).await })
    };
    let all: Vec<_> = (0..210).map(put_one).collect();
    for one in all {
        one.await.map_err(|e| Failure(e.to_string()))??;
    }
    for n in 0..7 {
        let stream = stream(&format!("account {n}"));
        let found = archive.blocks(stream.clone(), 0, 100).await?;
        equal("ten blocks of each", &found.len(), &10)?;
        for info in found {
            equal("a block", &archive.get(stream.clone(), info).await?, &Some(bytes(&stream, info)))?;
        }
    }
    Ok(())
}

async fn what_was_put_is_there_after_reopening(factory: &dyn ArchiveFactory) -> Checked {
    let archive = factory.open(NAMES[5]).await?;
    for (from, to) in [(1, 5), (6, 8)] {
        put(&*archive, &stream("a"), block(from, to)).await?;
    }
    if !archive.is_durable() {
        return Ok(());
    }
    drop(archive);
    let archive = factory.open(NAMES[5]).await?;
    equal("the blocks", &archive.blocks(stream("a"), 0, 10).await?, &vec![block(1, 5), block(6, 8)])?;
    let expected = Some(bytes(&stream("a"), block(6, 8)));
    equal("the bytes", &archive.get(stream("a"), block(6, 8)).await?, &expected)?;
    put(&*archive, &stream("a"), block(9, 9)).await?;
    equal("the blocks", &archive.blocks(stream("a"), 0, 10).await?, &vec![block(1, 5), block(6, 8), block(9, 9)])
}
