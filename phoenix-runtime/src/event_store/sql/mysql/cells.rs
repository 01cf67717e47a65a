//! Rows in MySQL's text form, and rows that are put together here.

use sea_orm::sqlx::mysql::{MySql, MySqlRow};
use sea_orm::sqlx::{self, Decode, Row as _};

use super::super::dialect::Part;
use super::super::row::{Cells, column};

/// A row of an answer.
#[derive(Debug)]
pub(super) enum ServerRow {
    /// As the server sent it.
    Plain(MySqlRow),
    /// A part of what brings an aggregate into memory: the question stands in the place of the first own column.
    Of(MySqlRow, i64, Part),
    /// [`Part::Keys`].
    Keys { question: i64, stream: i64, complete: bool, keys: Vec<u8> },
}

impl Cells for ServerRow {
    fn number(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::Of(_, question, part) if at >= column::OWN => {
                Ok(Some(if at == column::OWN { *question } else { *part as i64 }))
            }
            Self::Plain(row) | Self::Of(row, ..) => cell(row, at),
            Self::Keys { question, stream, complete, .. } => Ok(match at {
                column::OWN => Some(*question),
                column::POSITION => Some(*stream),
                column::VERSION => Some(i64::from(*complete)),
                _ if at > column::OWN => Some(Part::Keys as i64),
                _ => None,
            }),
        }
    }

    fn text(&self, at: usize) -> Result<Option<&str>, sqlx::Error> {
        match self {
            Self::Plain(row) | Self::Of(row, ..) => cell(row, at),
            Self::Keys { .. } => Ok(None),
        }
    }

    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, sqlx::Error> {
        match self {
            Self::Plain(row) | Self::Of(row, ..) => cell(row, at),
            Self::Keys { keys, .. } => Ok((at == column::PAYLOAD).then_some(keys)),
        }
    }
}

impl Cells for MySqlRow {
    fn number(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        cell(self, at)
    }

    fn text(&self, at: usize) -> Result<Option<&str>, sqlx::Error> {
        cell(self, at)
    }

    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, sqlx::Error> {
        cell(self, at)
    }
}

/// The kinds of numbers and of texts are as many as the columns' types; what counts is that the bytes can be read.
fn cell<'r, T: Decode<'r, MySql>>(row: &'r MySqlRow, at: usize) -> Result<Option<T>, sqlx::Error> {
    row.try_get_unchecked::<Option<T>, _>(at)
}
