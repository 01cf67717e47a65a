//! `slice-mover`: the process that crash tests kill while it moves slices between two databases.
//!
//! It first goes on with all moves that were cut short, as `phoenix-cli slices resume` does, and says `resumed SLICE` of
//! each. Then it moves the slices that its arguments name back and forth for ever, removes what they leave behind, and
//! says `moved SLICE to SOURCE` of each; without arguments it ends. File and environment configure it as any service.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::event_store::sources::{HOME, Mover};
use phoenix_runtime::node::{NodeConfig, open_members};

fn say(what: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{what}")?;
    out.flush()
}

async fn work() -> Result<(), Box<dyn Error>> {
    let slices = std::env::args().skip(1).map(|text| text.parse::<u16>().map(Slice));
    let slices = slices.collect::<Result<Vec<_>, _>>()?;
    let config = NodeConfig::load()?;
    let other = config.sources.keys().next().ok_or("there is no other database")?;
    let mover = Mover::new(open_members(&config).await?);
    for (slice, moving) in mover.status().await?.moving {
        mover.move_slice(Slice(slice), &moving.to, |_| {}).await?;
        say(format_args!("resumed {slice}"))?;
    }
    for slice in slices.iter().copied().cycle() {
        let map = mover.status().await?;
        let to = if map.place(slice).0 == HOME { other } else { HOME };
        mover.move_slice(slice, to, |_| {}).await?;
        say(format_args!("moved {} to {to}", slice.0))?;
        mover.purge(slice, |_| {}).await?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let done = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work()),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
