//! What is to be reached, on which store.

use phoenix_bench::{Callers, Goal};

use super::subject::Kind;

/// The strongest peer that was measured, Pekko Persistence, reached this part of the bare loop on PostgreSQL.
const STRONGEST_PEER: f64 = 0.22;

/// A ratio to the bare loop, and what it is to be.
pub(crate) fn bare(kind: Kind, callers: Callers) -> Vec<(&'static str, Goal)> {
    match (kind, callers) {
        (Kind::Postgres, Callers::FULL) => vec![
            ("x bare loop", Goal::AtLeast(0.75)),
            ("x bare loop, twice the strongest peer", Goal::AtLeast(2.0 * STRONGEST_PEER)),
        ],
        (Kind::Sqlite, Callers::FULL) => vec![("x bare loop", Goal::AtLeast(0.7))],
        _ => vec![("x bare loop", Goal::Shown)],
    }
}

/// Latency of one command at a time, as a multiple of a bare insert's.
pub(crate) fn alone(kind: Kind) -> Goal {
    if kind == Kind::Sqlite { Goal::AtMost(1.3) } else { Goal::Shown }
}

/// Commands a second.
pub(crate) fn rate(kind: Kind, callers: Callers) -> Option<Goal> {
    match (kind, callers) {
        (Kind::Memory, Callers::FULL) => Some(Goal::AtLeast(1e6)),
        (Kind::Log, Callers::FULL) => Some(Goal::AtLeast(400_000.0)),
        _ => None,
    }
}

/// The 99th percentile, in microseconds.
pub(crate) fn p99(kind: Kind, callers: Callers) -> Option<Goal> {
    match (kind, callers) {
        (Kind::Postgres, Callers::FULL) => Some(Goal::AtMost(50_000.0)),
        (Kind::Postgres, Callers::WIDE) => Some(Goal::AtMost(2_000.0)),
        _ => None,
    }
}

/// Commands a second with many events stored already, as a part of those of a new store.
pub(crate) fn growth(kind: Kind) -> Goal {
    match kind {
        Kind::Postgres => Goal::AtLeast(0.5),
        Kind::Log => Goal::AtLeast(0.8),
        _ => Goal::Shown,
    }
}

/// Bringing aggregates into memory: the median for one with a snapshot in microseconds, how many a second where many are
/// asked at once, and how many events a second are replayed.
pub(crate) fn cold(kind: Kind) -> [Goal; 3] {
    match kind {
        Kind::Postgres => [Goal::AtMost(400.0), Goal::AtLeast(20_000.0), Goal::AtLeast(300_000.0)],
        Kind::Memory => [Goal::Shown, Goal::Shown, Goal::AtLeast(1e6)],
        _ => [Goal::Shown; 3],
    }
}
