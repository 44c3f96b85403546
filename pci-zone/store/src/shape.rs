//! Multi-row statements: many rows in one statement is what makes a group commit fast.
//!
//! A statement's text depends on the number of rows, so a free choice of numbers would never meet the statement cache.
//! Rows go in widths that are powers of two; each width's text is made once.

use std::sync::{Arc, OnceLock};

use sqlx::{Arguments as _, AssertSqlSafe};

use crate::dialect::{self, Arguments, Connection};

/// Widths 1, 2, 4 … 64.
const WIDTHS: usize = 7;

/// A statement whose middle repeats a group of values once a row: `head (?, ?), (?, ?) tail`.
pub(crate) struct Shape {
    head: &'static str,
    /// One row's values; `#` stands for a placeholder.
    row: &'static str,
    tail: &'static str,
    texts: [OnceLock<Arc<str>>; WIDTHS],
}

/// Puts one row's values, in order, behind those already there.
pub(crate) type Bind<T> = fn(&mut Values, &T);

/// The values of a statement. The first that cannot be encoded is kept as the statement's error.
pub(crate) struct Values {
    arguments: Arguments,
    error: Option<sqlx::Error>,
}

impl Values {
    pub(crate) fn put<'q, V>(&mut self, value: V)
    where
        V: sqlx::Encode<'q, dialect::Db> + sqlx::Type<dialect::Db>,
    {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(sqlx::Error::Encode(error));
        }
    }
}

impl Shape {
    pub(crate) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, texts: [const { OnceLock::new() }; WIDTHS] }
    }

    fn text(&self, width: usize) -> Arc<str> {
        let make = || -> Arc<str> {
            let mut text = String::from(self.head);
            let mut n = 0;
            for row in 0..(1_usize << width) {
                text.push_str(if row == 0 { " " } else { ", " });
                for (part, piece) in self.row.split('#').enumerate() {
                    if part > 0 {
                        n += 1;
                        dialect::placeholder(&mut text, n);
                    }
                    text.push_str(piece);
                }
            }
            text.push(' ');
            text.push_str(self.tail);
            text.into()
        };
        self.texts.get(width).map_or_else(make, |slot| Arc::clone(slot.get_or_init(make)))
    }

    /// Runs the statement over all rows, in order, in as few and as wide statements as possible; says how many rows
    /// the database wrote.
    pub(crate) async fn run<T>(
        &self,
        connection: &mut Connection,
        rows: &[T],
        bind: Bind<T>,
    ) -> Result<u64, sqlx::Error> {
        let mut written = 0;
        let mut rest = rows;
        while !rest.is_empty() {
            let width = widest(rest.len());
            let (chunk, after) = rest.split_at_checked(1 << width).unwrap_or((rest, &[]));
            rest = after;
            let mut values = Values { arguments: Arguments::default(), error: None };
            for row in chunk {
                bind(&mut values, row);
            }
            if let Some(error) = values.error {
                return Err(error);
            }
            let text = AssertSqlSafe(self.text(width));
            written += sqlx::query_with(text, values.arguments).execute(&mut *connection).await?.rows_affected();
        }
        Ok(written)
    }

    /// As [`Shape::run`], for a statement that answers with rows.
    pub(crate) async fn fetch<T>(
        &self,
        connection: &mut Connection,
        rows: &[T],
        bind: Bind<T>,
    ) -> Result<Vec<<dialect::Db as sqlx::Database>::Row>, sqlx::Error> {
        let mut found = Vec::new();
        let mut rest = rows;
        while !rest.is_empty() {
            let width = widest(rest.len());
            let (chunk, after) = rest.split_at_checked(1 << width).unwrap_or((rest, &[]));
            rest = after;
            let mut values = Values { arguments: Arguments::default(), error: None };
            for row in chunk {
                bind(&mut values, row);
            }
            if let Some(error) = values.error {
                return Err(error);
            }
            let text = AssertSqlSafe(self.text(width));
            found.extend(sqlx::query_with(text, values.arguments).fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }
}

/// The largest width that `rows` (at least one) fill.
fn widest(rows: usize) -> usize {
    (0..WIDTHS).rev().find(|width| rows >= 1 << width).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::ConnectOptions;

    #[test]
    fn the_text_repeats_the_row() {
        let shape = Shape::new("INSERT INTO t VALUES", "(#, #)", "ON CONFLICT DO NOTHING");
        assert_eq!(&*shape.text(0), "INSERT INTO t VALUES (?, ?) ON CONFLICT DO NOTHING");
        assert_eq!(&*shape.text(1), "INSERT INTO t VALUES (?, ?), (?, ?) ON CONFLICT DO NOTHING");
    }

    #[test]
    fn rows_are_cut_into_powers_of_two() {
        assert_eq!([1, 2, 3, 63, 64, 1000].map(widest), [0, 1, 1, 5, 6, 6]);
    }

    #[tokio::test]
    async fn every_number_of_rows_arrives_once_and_in_order() {
        static SHAPE: Shape = Shape::new("INSERT INTO t (x) VALUES", "(#)", "");
        let folder = tempfile::tempdir().expect("folder");
        let mut connection = dialect::writer_options(&folder.path().join("a.db")).connect().await.expect("connects");
        sqlx::raw_sql("CREATE TABLE t (x BIGINT)").execute(&mut connection).await.expect("creates");
        for count in [0_i64, 1, 2, 3, 7, 64, 65, 200] {
            sqlx::raw_sql("DELETE FROM t").execute(&mut connection).await.expect("empties");
            let rows: Vec<i64> = (0..count).collect();
            let written = SHAPE.run(&mut connection, &rows, |values, row| values.put(*row)).await.expect("writes");
            assert_eq!(i64::try_from(written), Ok(count));
            let read: Vec<i64> =
                sqlx::query_scalar("SELECT x FROM t ORDER BY rowid").fetch_all(&mut connection).await.expect("reads");
            assert_eq!(read, rows);
        }
    }
}
