//! Multi-row statements: many rows in one statement is what makes a group commit fast.
//!
//! A statement's text depends on the number of rows, so a free choice of numbers would never meet the statement cache.
//! Rows go in a few widths; each width's text is made once. Rows that are missing to the next width are made up of nulls,
//! which a shape must pass over: a statement costs two hand-overs between threads, a row of nulls next to nothing.

use std::sync::{Arc, OnceLock};

use sqlx::{Arguments as _, AssertSqlSafe};

use crate::dialect::{self, Arguments, Connection, Row};

/// Rows of one statement.
const WIDTHS: [usize; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, WIDEST];
/// The most rows of one statement.
pub(crate) const WIDEST: usize = 128;

/// A statement whose middle repeats a group of values once a row: `head (?, ?), (?, ?) tail`. It must pass over a row
/// of nulls. What comes before and after the repeated part may be statements of their own.
pub(crate) struct Shape {
    /// Before the rows, in pieces; `?` in it is a placeholder.
    head: [&'static str; 3],
    /// One row's values; `#` stands for a placeholder.
    row: &'static str,
    /// After the rows, in pieces.
    tail: [&'static str; 2],
    texts: [OnceLock<Arc<str>>; WIDTHS.len()],
}

/// Puts one row's values, in order, behind those already there.
pub(crate) type Bind<T> = fn(&mut Values, &T);

/// The values of a statement. The first that cannot be encoded is kept as the statement's error.
#[derive(Default)]
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

type Query<'q> = sqlx::query::Query<'q, dialect::Db, Arguments>;

impl Shape {
    pub(crate) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self::of([head, "", ""], row, [tail, ""])
    }

    /// An insertion `into` a table's columns, the first of which is never null. (PostgreSQL would have to be told the
    /// types of the values.)
    pub(crate) const fn insert(into: &'static str, row: &'static str, tail: &'static str) -> Self {
        let head = ["INSERT INTO ", into, " SELECT * FROM (VALUES"];
        Self::of(head, row, [") AS said WHERE column1 IS NOT NULL ", tail])
    }

    pub(crate) const fn of(head: [&'static str; 3], row: &'static str, tail: [&'static str; 2]) -> Self {
        Self { head, row, tail, texts: [const { OnceLock::new() }; WIDTHS.len()] }
    }

    fn text(&self, width: usize, rows: usize) -> Arc<str> {
        let make = || -> Arc<str> {
            let mut text = self.head.concat();
            let mut n = text.matches('?').count();
            for row in 0..rows {
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
            self.tail.iter().for_each(|piece| text.push_str(piece));
            text.into()
        };
        self.texts.get(width).map_or_else(make, |slot| Arc::clone(slot.get_or_init(make)))
    }

    /// The statement over `rows`, at least one and [`WIDEST`] at most, with `values` for the placeholders of its head.
    fn query<T>(&self, mut values: Values, rows: &[T], bind: Bind<T>) -> Result<Query<'static>, sqlx::Error> {
        let (width, wide) = width(rows.len());
        rows.iter().for_each(|row| bind(&mut values, row));
        let nulls = self.row.matches('#').count() * wide.saturating_sub(rows.len());
        (0..nulls).for_each(|_| values.put(None::<i64>));
        match values.error {
            Some(error) => Err(error),
            None => Ok(sqlx::query_with(AssertSqlSafe(self.text(width, wide)), values.arguments)),
        }
    }

    /// Runs the statement over all rows, in order, in as few statements as possible; says how many rows the database
    /// wrote.
    pub(crate) async fn run<T>(
        &self,
        connection: &mut Connection,
        rows: &[T],
        bind: Bind<T>,
    ) -> Result<u64, sqlx::Error> {
        let mut written = 0;
        for chunk in rows.chunks(WIDEST) {
            let query = self.query(Values::default(), chunk, bind)?;
            written += query.execute(&mut *connection).await?.rows_affected();
        }
        Ok(written)
    }

    /// As [`Shape::run`], for a statement that answers with rows.
    pub(crate) async fn fetch<T>(
        &self,
        connection: &mut Connection,
        rows: &[T],
        bind: Bind<T>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let mut found = Vec::new();
        for chunk in rows.chunks(WIDEST) {
            found.extend(self.query(Values::default(), chunk, bind)?.fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }

    /// The statement over `rows`, [`WIDEST`] at most, with `value` for the one placeholder of its head; what it answers
    /// with.
    pub(crate) async fn fetch_with<T>(
        &self,
        connection: &mut Connection,
        value: i64,
        rows: &[T],
        bind: Bind<T>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let mut values = Values::default();
        values.put(value);
        self.query(values, rows, bind)?.fetch_all(connection).await
    }
}

/// The place of the smallest width that takes so many rows, and the width.
fn width(rows: usize) -> (usize, usize) {
    let fits = WIDTHS.iter().copied().enumerate().find(|(_, width)| *width >= rows);
    // Nobody asks for more than the widest; were it so, the text would be made for them alone.
    fits.unwrap_or((WIDTHS.len(), rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::ConnectOptions;

    #[test]
    fn the_text_repeats_the_row() {
        let shape = Shape::new("INSERT INTO t VALUES", "(#, #)", "ON CONFLICT DO NOTHING");
        assert_eq!(&*shape.text(0, 1), "INSERT INTO t VALUES (?, ?) ON CONFLICT DO NOTHING");
        assert_eq!(&*shape.text(1, 2), "INSERT INTO t VALUES (?, ?), (?, ?) ON CONFLICT DO NOTHING");
    }

    #[test]
    fn rows_go_in_the_next_width() {
        assert_eq!([1, 5, 64, 65, 128].map(|rows| width(rows).1), [1, 6, 64, 96, 128]);
        assert!(WIDTHS.is_sorted());
    }

    #[tokio::test]
    async fn every_number_of_rows_arrives_once_and_in_order() {
        static SHAPE: Shape = Shape::insert("t (x)", "(#)", "");
        let folder = tempfile::tempdir().expect("folder");
        let mut connection = dialect::writer_options(&folder.path().join("a.db")).connect().await.expect("connects");
        sqlx::raw_sql("CREATE TABLE t (x BIGINT)").execute(&mut connection).await.expect("creates");
        for count in [0_i64, 1, 2, 3, 7, 64, 65, 128, 300] {
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
