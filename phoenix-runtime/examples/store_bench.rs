use std::sync::Arc;
use std::time::Instant;
use phoenix_runtime::domain::id::*;
use phoenix_runtime::domain::outcome::*;
use phoenix_runtime::event_store::port::*;
use phoenix_runtime::event_store::*;
use rusqlite::params;

const AGG: u64 = 10_000;
struct Gen { rng: u64, versions: Vec<u64>, sequences: Vec<u64>, ids: Vec<StreamId>, slices: Vec<Slice>, name: Arc<str>, cmd: Arc<str>, n: u64 }
impl Gen {
    fn new() -> Self {
        let agg: Arc<str> = "bank-account".into();
        let ids: Vec<_> = (0..AGG).map(|n| StreamId { aggregate: agg.clone(), id: AggregateId::new(format!("account-{n:06}")).unwrap() }).collect();
        let slices = ids.iter().map(|s| Slice::of(&s.aggregate, s.id.as_str())).collect();
        Self { rng: 88172645463325252, versions: vec![0; AGG as usize], sequences: vec![0; 1024], ids, slices, name: "deposited".into(), cmd: "deposit".into(), n: 0 }
    }
    fn next(&mut self) -> u64 { self.rng ^= self.rng << 13; self.rng ^= self.rng >> 7; self.rng ^= self.rng << 17; self.rng }
    fn batch(&mut self, size: usize, epochs: Vec<(Partition, Epoch)>) -> Arc<Batch> {
        let records = (0..size).map(|_| {
            let a = (self.next() % AGG) as usize;
            let r = u128::from(self.next()) << 64 | u128::from(self.next());
            self.versions[a] += 1;
            let slice = self.slices[a];
            self.sequences[usize::from(slice.0)] += 1;
            self.n += 1;
            let id = MessageId(uuid::Uuid::from_u128(r));
            Record { stream: self.ids[a].clone(), slice, sequence: self.sequences[usize::from(slice.0)], time_micros: 1_700_000_000_000_000 + self.n as i64,
                event: Some(EventData { version: self.versions[a], name: self.name.clone(), schema_version: 1, codec: 1, payload: vec![7; 120] }),
                command: Some(Box::new(CommandData { id, dedup: Dedup::of_id(id), name: self.cmd.clone(), key: None, payload_hash: r as u64,
                    outcome: Outcome { kind: OutcomeKind::Replied, version: self.versions[a], codec: 1, body: vec![9; 20] }, correlation_id: None, causation_id: None })) }
        }).collect();
        Arc::new(Batch { epochs, records })
    }
}
fn bare(path: &str, size: usize, total: usize, commit_each: bool) -> f64 {
    // the schema of the store itself
    let db = rusqlite::Connection::open(path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.pragma_update(None, "synchronous", "full").unwrap();
    db.pragma_update(None, "wal_autocheckpoint", 10000).unwrap();
    db.pragma_update(None, "cache_size", -65536).unwrap();
    let mut g = Gen::new();
    let batches: Vec<_> = (0..total / size).map(|_| g.batch(size, vec![])).collect();
    let start = Instant::now();
    for batch in &batches {
        if commit_each { db.execute_batch("BEGIN IMMEDIATE").unwrap(); }
        {
            let mut insert = db.prepare_cached("INSERT INTO events (position, aggregate, id, version, dedup, time_micros, event_name, \
     schema_version, codec, command_id, command_name, key, payload_hash, outcome_kind, outcome_version, outcome_codec, \
     correlation_id, causation_id, outcome_body, payload) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)").unwrap();
            for r in &batch.records {
                let (e, c) = (r.event.as_ref().unwrap(), r.command.as_deref().unwrap());
                insert.execute(params![(i64::from(r.slice.0) << 44) + r.sequence as i64, &*r.stream.aggregate, r.stream.id.as_str(), e.version as i64, &c.dedup.0[..], r.time_micros,
                   &*e.name, e.schema_version, e.codec, &c.id.0.as_bytes()[..], &*c.name, c.key.as_deref(), c.payload_hash as i64, c.outcome.kind as u8, c.outcome.version as i64, c.outcome.codec,
                   None::<&str>, None::<&str>, &c.outcome.body[..], &e.payload[..]]).unwrap();
            }
        }
        if commit_each { db.execute_batch("COMMIT").unwrap(); }
    }
    (total as f64) / start.elapsed().as_secs_f64()
}
#[tokio::main]
async fn main() {
    let total: usize = std::env::args().nth(1).map_or(200_000, |a| a.parse().unwrap());
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or("/var/tmp".into())).unwrap();
    for round in 0..3 {
        for size in [1, 500, 5000] {
            let total = if size == 1 { 5_000 } else { total };
            let path = dir.path().join(format!("bare-{round}-{size}"));
            drop(SqliteStore::open(SqliteOptions::at(&path)).await.unwrap());
            let b = bare(path.to_str().unwrap(), size, total, true);
            let path = dir.path().join(format!("store-{round}-{size}"));
            let store = SqliteStore::open(SqliteOptions::at(&path)).await.unwrap();
            let epochs = store.acquire(vec![Partition(0)]).await.unwrap();
            let mut g = Gen::new();
            let batches: Vec<_> = (0..total / size).map(|_| g.batch(size, epochs.clone())).collect();
            let start = Instant::now();
            for batch in batches { store.append(batch).await.unwrap(); }
            let s = total as f64 / start.elapsed().as_secs_f64();
            println!("size {size}: bare {b:.0}/s, store {s:.0}/s, ratio {:.2}", s / b);
            if size == 500 {
                let batches: Vec<_> = (0..200).map(|_| g.batch(50, epochs.clone())).collect();
                let start = Instant::now();
                let all: Vec<_> = batches.into_iter().map(|b| store.append(b)).collect();
                for f in all { f.await.unwrap(); }
                println!("   200 x 50 queued at once: {:.0}/s", 10_000.0 / start.elapsed().as_secs_f64());
                let start = Instant::now();
                let (_, end) = { let (mut p, mut n) = (Position::default(), 0); loop { let (e, q) = store.read_all(p, 10_000).await.unwrap(); p = q; if e.is_empty() { break } n += e.len(); } (n, p) };
                println!("   read_all {:.0}/s", total as f64 / start.elapsed().as_secs_f64());
                let start = Instant::now();
                for _ in 0..20 { store.read_all(end.clone(), 1000).await.unwrap(); }
                println!("   idle poll {:?}", start.elapsed() / 20);
                let start = Instant::now();
                for i in 0..1000 { store.read_stream(g.ids[i].clone(), 1, 1000).await.unwrap(); }
                println!("   read_stream {:?} each", start.elapsed() / 1000);
                let qs: Vec<_> = (0..1000).map(|i| (g.ids[i].clone(), Dedup([i as u8; 16]))).collect();
                let start = Instant::now();
                store.outcomes(qs).await.unwrap();
                println!("   1000 outcomes {:?}", start.elapsed());
                let start = Instant::now();
                println!("   {} ids {:?}", store.ids("bank-account".into(), None, 10_000).await.unwrap().len(), start.elapsed());
                let start = Instant::now();
                for i in 0..1000 { store.known_keys(g.ids[i].clone(), 100).await.unwrap(); }
                println!("   known_keys {:?} each", start.elapsed() / 1000);
                let start = Instant::now();
                for _ in 0..1000 { store.append(Arc::new(Batch{epochs: epochs.clone(), records: vec![]})).await.unwrap(); }
                println!("   empty batch {:?} each", start.elapsed() / 1000);
                let last = (0..1024).map(Slice).collect::<Vec<_>>();
                let start = Instant::now();
                store.last_sequences(last).await.unwrap();
                println!("   last_sequences {:?}", start.elapsed());
            }
        }
        let store = MemoryStore::new();
        let epochs = store.acquire(vec![Partition(0)]).await.unwrap();
        let mut g = Gen::new();
        let batches: Vec<_> = (0..2000).map(|_| g.batch(500, epochs.clone())).collect();
        let start = Instant::now();
        for batch in batches { store.append(batch).await.unwrap(); }
        println!("memory {:.0}/s", 1_000_000.0 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        let mut n = 0;
        for id in &g.ids { n += store.read_stream(id.clone(), 1, usize::MAX).await.unwrap().len(); }
        println!("memory read_stream {:.0} events/s", n as f64 / start.elapsed().as_secs_f64());
    }
}
