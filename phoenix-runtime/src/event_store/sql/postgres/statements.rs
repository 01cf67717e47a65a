//! The constant statements of PostgreSQL. Each is prepared once a connection.

use super::super::row::event_columns;

/// One append. The rows of the partitions stay locked until it commits, so that whoever raises an epoch waits for it;
/// and under READ COMMITTED a lock that was waited for returns the newest version of its row, so that the comparison
/// is never with what an old snapshot shows. Without the fence no row is inserted, and the number of rows tells.
///
/// Arrays are taken apart side by side in the list of columns; as a table, `FROM unnest(..)` puts each of them down as
/// rows of its own first, which costs five times as much.
pub(super) const APPEND: &str = "
WITH held AS MATERIALIZED (
  SELECT p.epoch, p.moves FROM partitions AS p WHERE p.partition = ANY ($1::integer[])
  ORDER BY p.partition FOR SHARE
), fence AS MATERIALIZED (
  SELECT coalesce(array_agg(h.epoch) = $2::bigint[] AND array_agg(h.moves) = $3::bigint[], false) AS holds
  FROM held AS h
), named AS (
  INSERT INTO event_names (aggregate, event_name)
  SELECT n.aggregate, n.event_name FROM unnest($4::text[], $5::text[]) AS n(aggregate, event_name)
  WHERE (SELECT f.holds FROM fence AS f)
  ON CONFLICT DO NOTHING
), begun AS (
  INSERT INTO streams (stream, aggregate, id)
  SELECT s.stream, s.aggregate, s.id FROM unnest($6::bigint[], $7::text[], $8::text[]) AS s(stream, aggregate, id)
  WHERE (SELECT f.holds FROM fence AS f)
)
INSERT INTO events (position, stream, version, dedup_short, time_micros, payload_hash, outcome_version,
  schema_version, codec, outcome_kind, outcome_codec, dedup, command_id, event_name, command_name, key,
  correlation_id, causation_id, outcome_body, payload)
SELECT unnest($9::bigint[]), unnest($10::bigint[]), unnest($11::bigint[]), unnest($12::bigint[]),
  unnest($13::bigint[]), unnest($14::bigint[]), unnest($15::bigint[]), unnest($16::integer[]),
  unnest($17::smallint[]), unnest($18::smallint[]), unnest($19::smallint[]), unnest($20::bytea[]),
  unnest($21::bytea[]), unnest($22::text[]), unnest($23::text[]), unnest($24::text[]), unnest($25::text[]),
  unnest($26::text[]), unnest($27::bytea[]), unnest($28::bytea[])
WHERE (SELECT f.holds FROM fence AS f)";

/// Waits for open appends, which hold these rows; locks in one order, so that two owners never wait for each other.
pub(super) const RAISE: &str = "
WITH held AS MATERIALIZED (
  SELECT p.partition FROM partitions AS p WHERE p.partition = ANY ($1::integer[]) ORDER BY p.partition
  FOR NO KEY UPDATE
)
UPDATE partitions AS p SET epoch = p.epoch + 1 FROM held AS h WHERE p.partition = h.partition
RETURNING p.partition, p.epoch, p.moves";

pub(super) const HELD: &str =
    "SELECT p.partition, p.epoch, p.moves FROM partitions AS p WHERE p.partition = ANY ($1::integer[])";

pub(super) const STREAMS: &str = "
SELECT q.n - 1, s.stream, coalesce((
  SELECT e.version FROM events AS e WHERE e.stream = s.stream AND e.version IS NOT NULL
  ORDER BY e.version DESC LIMIT 1), 0)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q(aggregate, id, n)
JOIN streams AS s ON s.aggregate = q.aggregate AND s.id = q.id";

pub(super) const KEYS: &str = "
SELECT q.n - 1, e.dedup FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS q(stream, short, n)
JOIN events AS e ON e.stream = q.stream AND e.dedup_short = q.short";

pub(super) const LAST_POSITIONS: &str = "
SELECT (SELECT max(e.position) FROM events AS e
        WHERE e.position > q.slice << 44 AND e.position < (q.slice + 1) << 44)
FROM unnest($1::bigint[]) AS q(slice)";

pub(super) const STREAM_PAGE: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events AS e
WHERE e.stream = (SELECT s.stream FROM streams AS s WHERE s.aggregate = $1 AND s.id = $2)
  AND e.version IS NOT NULL AND e.version >= $3
ORDER BY e.version LIMIT $4"
);

/// The order of the slices is that in which the question is scanned; readers count on the order within each alone.
pub(super) const PAGE_AFTER: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", s.aggregate, s.id
FROM unnest($1::bigint[]) AS q(position)
CROSS JOIN LATERAL (
  SELECT e.* FROM events AS e WHERE e.position > q.position AND e.position < ((q.position >> 44) + 1) << 44
  ORDER BY e.position LIMIT $2
) AS e
JOIN streams AS s ON s.stream = e.stream
LIMIT $2"
);

pub(super) const COMMANDS: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", q.n - 1
FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS q(aggregate, id, short, n)
JOIN streams AS s ON s.aggregate = q.aggregate AND s.id = q.id
JOIN events AS e ON e.stream = s.stream AND e.dedup_short = q.short"
);

/// Everything that aggregates need to come into memory: snapshots, keys, events, in this order. Keys are looked up only
/// where there is no snapshot, and counted in the index alone; of a stream that has more than are wanted none is read.
pub(super) const LOAD: &str = concat!(
    "WITH q AS MATERIALIZED (
  SELECT q.n - 1 AS n, s.stream, q.fingerprint, q.keys, q.events
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
    WITH ORDINALITY AS q(aggregate, id, fingerprint, keys, events, n)
  JOIN streams AS s ON s.aggregate = q.aggregate AND s.id = q.id
), kept AS MATERIALIZED (
  SELECT q.n, q.stream, q.keys, q.events, p.version, p.time_micros, p.fingerprint, p.codec, p.payload
  FROM q LEFT JOIN LATERAL (
    SELECT p.* FROM snapshots AS p WHERE p.stream = q.stream AND p.fingerprint = q.fingerprint
    ORDER BY p.version DESC LIMIT 1
  ) AS p ON true
)
SELECT k.stream, k.version, k.time_micros, NULL::integer, k.codec, NULL::text, k.payload, NULL::bytea, NULL::bytea,
  k.fingerprint, NULL::smallint, NULL::bigint, NULL::smallint, NULL::bytea, NULL::text, NULL::text, NULL::text,
  NULL::text, k.n, 1
FROM kept AS k WHERE k.version IS NOT NULL
UNION ALL
SELECT w.stream, CASE WHEN c.keys > w.keys THEN 0 ELSE 1 END, NULL, NULL, NULL, NULL, coalesce(k.keys, ''), NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, w.n, 2
FROM kept AS w CROSS JOIN LATERAL (
  SELECT count(*) AS keys FROM (
    SELECT 1 FROM events AS e WHERE e.stream = w.stream AND e.dedup_short IS NOT NULL LIMIT w.keys + 1
  ) AS f
) AS c CROSS JOIN LATERAL (
  SELECT string_agg(int8send(e.dedup_short), ''::bytea ORDER BY e.position) AS keys FROM events AS e
  WHERE c.keys <= w.keys AND e.stream = w.stream AND e.dedup_short IS NOT NULL
) AS k
WHERE w.version IS NULL
UNION ALL
SELECT ",
    event_columns!(),
    ", k.n, 3
FROM kept AS k CROSS JOIN LATERAL (
  SELECT e.* FROM events AS e
  WHERE e.stream = k.stream AND e.version IS NOT NULL AND e.version >= greatest(k.version, 1)
  ORDER BY e.version LIMIT k.events
) AS e"
);
