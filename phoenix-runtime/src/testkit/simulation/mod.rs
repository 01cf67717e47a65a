//! A world on one thread: a seeded scheduler and a virtual clock under the real engine. Equal seeds give equal runs.
//!
//! # Layout
//! - [`Simulation`]: tasks, time and randomness
//! - [`FaultyStore`]: a store that fails as networks and disks do, and its letters

mod executor;
mod faulty_letters;
mod faulty_store;

pub use executor::{Simulation, TaskGroup};
pub use faulty_store::{Faults, FaultyStore};
