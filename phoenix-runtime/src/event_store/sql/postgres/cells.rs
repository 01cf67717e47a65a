//! Rows in PostgreSQL's binary form.

use sea_orm::sqlx::postgres::{PgRow, PgValueRef};
use sea_orm::sqlx::{self, Row as _, ValueRef as _};

use super::super::row::Cells;

impl Cells for PgRow {
    fn number(&self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        cell(self, column, |bytes| match *bytes {
            [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
            [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
            _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
        })
    }

    fn text(&self, column: usize) -> Result<Option<&str>, sqlx::Error> {
        cell(self, column, |bytes| std::str::from_utf8(bytes).ok())
    }

    fn bytes(&self, column: usize) -> Result<Option<&[u8]>, sqlx::Error> {
        cell(self, column, Some)
    }
}

fn cell<'r, T>(
    row: &'r PgRow,
    column: usize,
    read: impl FnOnce(&'r [u8]) -> Option<T>,
) -> Result<Option<T>, sqlx::Error> {
    let value: PgValueRef<'r> = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    let wrong = |source| sqlx::Error::ColumnDecode { index: column.to_string(), source };
    let found = read(value.as_bytes().map_err(wrong)?);
    found.map(Some).ok_or_else(|| wrong("it has another form".into()))
}
