//! The search of each kind of place by itself: what is planted there is found there, in every form, for every card.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod plant;

use larder_leak::canary::Canary;
use larder_leak::hunt::{Finds, Hunt};
use larder_leak::places::{Process, cells, files, memory};
use larder_leak::planted::{self, Copy};
use plant::{Database, Holder};

fn hunt() -> (Hunt, Vec<Copy>) {
    const PARTS: [&str; 18] =
        ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18"];
    let list = include_str!("../../walls/test_pans.txt").lines().filter(|line| !line.starts_with('#'));
    let cards: Vec<Canary> = PARTS.iter().zip(list).map(|(part, digits)| Canary::new(part, digits)).collect();
    assert_eq!(cards.len(), PARTS.len());
    (Hunt::new(&cards, &["a mark".to_owned()]).unwrap(), planted::copies(&cards))
}

fn nothing_missed(hunt: &Hunt, copies: &[Copy], place: &str, finds: &Finds) {
    assert_eq!(planted::missed(hunt, copies, place, finds), Vec::<String>::new());
}

#[test]
fn in_files_plain_and_packed() {
    let (hunt, copies) = hunt();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log"), planted::in_one(&copies)).unwrap();
    std::fs::write(folder.path().join("log.1.gz"), planted::gzip(&planted::in_one(&copies)).unwrap()).unwrap();
    let mut finds = Finds::default();
    assert_eq!(files::search(&hunt, folder.path(), &|_| false, &mut finds).unwrap(), 2);
    nothing_missed(&hunt, &copies, "log", &finds);
    nothing_missed(&hunt, &copies, "log.1.gz, unzipped at 0", &finds);
}

#[tokio::test]
async fn in_a_database_its_write_ahead_log_and_its_cells() {
    let (hunt, copies) = hunt();
    let folder = tempfile::tempdir().unwrap();
    let database = Database::plant(&folder.path().join("planted.sqlite"), &copies).await;
    let mut finds = Finds::default();
    files::search(&hunt, folder.path(), &|_| false, &mut finds).unwrap();
    nothing_missed(&hunt, &copies, "planted.sqlite-wal", &finds);
    cells::search(&hunt, database.path(), &mut finds).await.unwrap();
    nothing_missed(&hunt, &copies, "planted.sqlite: ", &finds);
    database.checkpoint().await;
    let mut finds = Finds::default();
    files::search(&hunt, folder.path(), &|path| path.ends_with("planted.sqlite-wal"), &mut finds).unwrap();
    nothing_missed(&hunt, &copies, "planted.sqlite", &finds);
}

#[tokio::test]
async fn in_cells_that_a_page_boundary_cuts_and_in_whole_numbers() {
    let card = Canary::new("the card", "36227206271667");
    let (hunt, folder) = (Hunt::new(std::slice::from_ref(&card), &[]).unwrap(), tempfile::tempdir().unwrap());
    let database = Database::plant(&folder.path().join("planted.sqlite"), &[]).await;
    for before in 3_900..4_200 {
        database.add_text(&format!("{}{}", "x".repeat(before), card.digits())).await;
    }
    database.add_number(card.digits().parse().unwrap()).await;
    let mut finds = Finds::default();
    cells::search(&hunt, database.path(), &mut finds).await.unwrap();
    let found = |place, form| finds.times(place, "the card", form);
    assert_eq!(found("planted.sqlite: texts", larder_leak::forms::Form::Ascii), 300);
    assert_eq!(found("planted.sqlite: numbers", larder_leak::forms::Form::Ascii), 1);
}

#[test]
fn in_the_memory_of_another_process_plain_and_packed() {
    let (hunt, copies) = hunt();
    for packed in [false, true] {
        let text = planted::in_one(&copies);
        let text = if packed { planted::gzip(&text).unwrap() } else { text };
        let holder = Holder::start(&[b"a mark ", &text[..]].concat());
        let process = Process { name: "holder".to_owned(), pid: holder.pid() };
        let mut finds = Finds::default();
        let bytes = memory::search(&hunt, &process, &mut finds).unwrap();
        assert!(bytes > 100_000, "{bytes}");
        assert!(finds.has_mark("memory of holder", "a mark"));
        nothing_missed(&hunt, &copies, "memory of holder", &finds);
    }
}

#[test]
fn where_two_pieces_of_memory_meet() {
    let card = Canary::new("the card", "36227206271667");
    let hunt = Hunt::new(std::slice::from_ref(&card), &[]).unwrap();
    // Longer than what is read at a time, and a number at every place where a piece may end.
    let every = 4_096;
    let mut text = vec![b'.'; 15 << 20];
    for (number, chunk) in text.chunks_mut(every).enumerate() {
        let at = number % (every - 20);
        chunk[at..at + card.digits().len()].copy_from_slice(card.digits().as_bytes());
    }
    let holder = Holder::start(&text);
    let process = Process { name: "holder".to_owned(), pid: holder.pid() };
    let mut finds = Finds::default();
    memory::search(&hunt, &process, &mut finds).unwrap();
    let times = finds.times("memory of holder", "the card", larder_leak::forms::Form::Ascii);
    assert!(times >= u64::try_from(text.len() / every).unwrap(), "{times}");
}

#[test]
fn a_process_that_holds_nothing_is_clean() {
    let (hunt, _) = hunt();
    let holder = Holder::start(b"a mark and no card");
    let process = Process { name: "holder".to_owned(), pid: holder.pid() };
    let mut finds = Finds::default();
    memory::search(&hunt, &process, &mut finds).unwrap();
    assert!(finds.has_mark("memory of holder", "a mark") && finds.is_clean(), "{finds}");
}
