//! What is larger than a segment can be.

use std::sync::Arc;

use phoenix_runtime::event_store::port::{Partition, Snapshot, StoreError};
use phoenix_runtime::event_store::{EventStore, LogStore, LogStoreOptions};

use crate::disk::Disk;
use crate::rows::{Rows, small, snapshot, stream};

#[tokio::test]
async fn no_segment_is_larger_than_addresses_reach() {
    let disk = Disk::default();
    let options = LogStoreOptions { segment_size: 8 << 30, ..small() };
    let mut rows = Rows::new(1);
    for epoch in 1..=2 {
        let store = LogStore::open_on(Arc::new(disk.clone()), options.clone()).await.unwrap();
        store.acquire(vec![Partition(0)]).await.unwrap();
        rows.epoch = epoch;
        let records = vec![rows.event(0, 10)];
        store.append(rows.batch(records)).await.unwrap();
    }
    assert_eq!(disk.largest_reserved(), 2 << 30);
}

#[tokio::test]
async fn what_no_frame_can_hold_is_refused_by_its_largest_record() {
    let store = LogStore::open_on(Arc::new(Disk::default()), small()).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(1);
    let mut records: Vec<_> = (0..3).map(|_| rows.event(0, 10)).collect();
    // nobody reads these bytes, so they take no memory
    for (record, size) in records.iter_mut().zip([400 << 20, 500 << 20, 300 << 20]) {
        record.event.as_mut().unwrap().payload = vec![0; size];
    }
    let told = store.append(rows.batch(records)).await;
    assert!(matches!(&told, Err(StoreError::Refused { index: 1, reason }) if reason.contains("1 GiB")), "{told:?}");
    let large = Snapshot { payload: vec![0; 1 << 30], ..snapshot(0, 1, 0) };
    let told = store.put_snapshot(large).await;
    assert!(matches!(&told, Err(StoreError::Refused { .. })), "{told:?}");
    let mut rows = Rows::new(1);
    let records = vec![rows.event(0, 10)];
    store.append(rows.batch(records)).await.unwrap();
    assert_eq!(store.read_stream(stream(0), 1, 9).await.unwrap().len(), 1);
}
