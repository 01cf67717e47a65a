//! `phoenix-cli slices`: shows and moves the slices that several databases share, also while nodes work.

use std::collections::BTreeSet;
use std::str::FromStr;

use phoenix_runtime::domain::id::{SLICES, Slice};
use phoenix_runtime::event_store::OpenError;
use phoenix_runtime::event_store::sources::{MoveError, MoveStep, Mover};
use phoenix_runtime::node::config::ConfigError;
use phoenix_runtime::node::{NodeConfig, look_at_members, open_members};

/// Shows and moves the slices that several databases share.
///
/// The databases are those of the service's configuration: `store` is `home`, and `[sources]` names the others. Run it in
/// the service's folder, or name the file by `PHOENIX_CONFIG`. The service may run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows how many slices each source has, and which are on their way
    List,
    /// Shows where one slice is
    Status {
        /// From 0 to 1023
        #[arg(value_parser = number)]
        slice: u16,
    },
    /// Moves slices to a source, one after the other; their old rows stay until they are purged
    Move {
        /// Which, for example `5` or `0-511,600`
        slices: Slices,
        /// The source's name
        #[arg(long, value_name = "SOURCE")]
        to: String,
        /// Removes the old rows of each slice when it has moved
        #[arg(long)]
        purge: bool,
    },
    /// Goes on with all moves that were cut short
    Resume,
    /// Calls moves off, as long as the slice was not taken away from its old source
    Stay {
        /// Which, for example `5` or `0-511,600`
        slices: Slices,
    },
    /// Removes rows that moves have left behind
    Purge {
        /// Which, for example `5` or `0-511,600`; all by default
        slices: Option<Slices>,
    },
    /// Forgets a source without slices, so that it need not be configured any more
    Forget {
        /// Its name
        source: String,
    },
}

/// Slices by numbers and ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slices(BTreeSet<u16>);

fn number(text: &str) -> Result<u16, String> {
    match text.trim().parse::<u16>() {
        Ok(number) if number < SLICES => Ok(number),
        _ => Err(format!("`{text}` is no slice: slices go from 0 to {}", SLICES - 1)),
    }
}

impl FromStr for Slices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{part}` ends before it begins"));
            }
            all.extend(first..=last);
        }
        Ok(Self(all))
    }
}

/// Why slices were not shown or moved.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum SlicesError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Refused(MoveError),
    #[error(transparent)]
    #[diagnostic(help("what was done stays done: `phoenix-cli slices resume` goes on"))]
    CutShort(MoveError),
}

impl From<MoveError> for SlicesError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Busy { .. } | MoveError::Overtaken { .. } | MoveError::TooLate(_) | MoveError::Store(_) => {
                Self::CutShort(error)
            }
            _ => Self::Refused(error),
        }
    }
}

/// Does it.
pub(crate) async fn run(options: Options) -> miette::Result<()> {
    Ok(act(options.action).await?)
}

async fn act(action: Action) -> Result<(), SlicesError> {
    let config = NodeConfig::load()?;
    // a slip in the configuration must not bind a database for good: only a move brings one in
    let members = match &action {
        Action::Move { .. } => open_members(&config).await?,
        _ => look_at_members(&config).await?,
    };
    let mover = Mover::new(members);
    match action {
        Action::List => list(&mover).await?,
        Action::Status { slice } => {
            let map = mover.status().await?;
            let (source, since) = map.place(Slice(slice));
            println!("slice {slice} is at {source} since move {since}");
            if let Some(moving) = map.moving.get(&slice) {
                println!("and on its way to {} by move {}", moving.to, moving.number);
            }
        }
        Action::Move { slices: Slices(slices), to, purge } => {
            for slice in slices {
                move_one(&mover, slice, &to).await?;
                if purge {
                    mover.purge(Slice(slice), |_| {}).await?;
                }
            }
        }
        Action::Resume => {
            for (slice, moving) in mover.status().await?.moving {
                move_one(&mover, slice, &moving.to).await?;
            }
        }
        Action::Stay { slices: Slices(slices) } => {
            for slice in slices {
                mover.stay(Slice(slice)).await?;
                println!("slice {slice} stays");
            }
        }
        Action::Purge { slices } => {
            let moving = mover.status().await?.moving;
            let all = slices.map_or_else(|| (0..SLICES).filter(|n| !moving.contains_key(n)).collect(), |Slices(n)| n);
            for slice in all {
                let mut purged = false;
                mover.purge(Slice(slice), |_| purged = true).await?;
                if purged {
                    println!("slice {slice}: no old rows are left");
                }
            }
        }
        Action::Forget { source } => mover.forget(&source).await?,
    }
    Ok(())
}

async fn list(mover: &Mover) -> Result<(), MoveError> {
    let map = mover.status().await?;
    for (source, count) in map.counts() {
        println!("{source}: {count} slices");
    }
    for (slice, moving) in &map.moving {
        let (from, _) = map.place(Slice(*slice));
        println!("slice {slice} is on its way from {from} to {}: `phoenix-cli slices resume` goes on", moving.to);
    }
    Ok(())
}

async fn move_one(mover: &Mover, slice: u16, to: &str) -> Result<(), MoveError> {
    let mut copied = 0;
    let step = |step| {
        if let MoveStep::Copied(rows) = step {
            copied = rows;
        }
    };
    mover.move_slice(Slice(slice), to, step).await?;
    println!("slice {slice} is at {to}; {copied} rows were copied");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices() {
        #[track_caller]
        fn check(text: &str, expected: Result<&[u16], &str>) {
            let expected = expected.map(|all| Slices(all.iter().copied().collect())).map_err(str::to_owned);
            assert_eq!(text.parse(), expected);
        }
        check("5", Ok(&[5]));
        check("0-3,7, 9", Ok(&[0, 1, 2, 3, 7, 9]));
        check("1023", Ok(&[1023]));
        check("1024", Err("`1024` is no slice: slices go from 0 to 1023"));
        check("", Err("`` is no slice: slices go from 0 to 1023"));
        check("3-1", Err("`3-1` ends before it begins"));
        check("a-b", Err("`a` is no slice: slices go from 0 to 1023"));
    }
}
