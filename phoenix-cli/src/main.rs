//! `phoenix-cli`: scaffolds, inspects and measures Phoenix services.
//!
//! # Layout
//! One module a subcommand:
//! - [`mod@bench`]: measures the whole path, beside what the store can do alone
//! - [`new`]: renders a template, and runs it where asked to
//! - [`events`]: lists a stream of a store
//! - [`archive`]: moves old events to the archive and back
//! - [`dead`]: lists dead letters, mends them and sends them again
//! - [`slices`]: shows and moves the slices that several databases share
//! - [`state`]: shows the state of an aggregate at a version
//!
//! [`checkout`] knows where the sources are that this binary was built from, [`mod@cargo`] builds with them, [`place`]
//! knows which store is meant, [`node`] asks a running node, and [`report`] tells errors.

#![forbid(unsafe_code)]

mod archive;
mod bench;
mod cargo;
mod checkout;
mod dead;
mod events;
mod new;
mod node;
mod place;
mod report;
mod slices;
mod state;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

/// What a service of the templates has, so that the bench measures the same: four fifths of the CPU time of glibc's.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Scaffolds, inspects and measures Phoenix services.
#[derive(Debug, Parser)]
#[command(name = "phoenix-cli", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::Options),
    Bench(bench::Options),
    Events(events::Options),
    Archive(archive::Archive),
    Restore(archive::Restore),
    Archived(archive::List),
    Dead(dead::Options),
    Slices(slices::Options),
    State(state::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    report::install();
    let done = match Arguments::parse().command {
        Command::New(options) => new::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Bench(options) => bench::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Events(options) => events::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Archive(options) => archive::archive(options).await.map(|()| ExitCode::SUCCESS),
        Command::Restore(options) => archive::restore(options).await.map(|()| ExitCode::SUCCESS),
        Command::Archived(options) => archive::list(options).await.map(|()| ExitCode::SUCCESS),
        Command::Dead(options) => dead::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Slices(options) => slices::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::State(options) => state::run(options),
    };
    done.unwrap_or_else(|report| {
        eprintln!("{report:?}");
        ExitCode::FAILURE
    })
}
