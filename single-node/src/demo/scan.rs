//! Looks for card numbers in every file under a folder, having found a planted one first.

use std::path::Path;

use zeroize::Zeroizing;

use crate::Fault;

/// Folders below which are looked into.
const MAX_DEPTH: usize = 8;

/// What a search found.
pub(super) struct Found {
    pub(super) files: usize,
    pub(super) bytes: usize,
    pub(super) hits: usize,
}

/// Searches the files under `root` for each of `cards` as digits.
pub(super) fn scan(root: &Path, cards: &[Zeroizing<Vec<u8>>]) -> Result<Found, Fault> {
    let control = cards.iter().all(|card| {
        let planted = Zeroizing::new([b"before ".as_slice(), card, b" after"].concat());
        contains(&planted, card)
    });
    if !control || cards.is_empty() {
        return Err(Fault::new("the search does not find a planted card number, so it proves nothing".to_owned()));
    }
    let mut found = Found { files: 0, bytes: 0, hits: 0 };
    visit(root, MAX_DEPTH, cards, &mut found)?;
    Ok(found)
}

fn visit(folder: &Path, depth: usize, cards: &[Zeroizing<Vec<u8>>], found: &mut Found) -> Result<(), Fault> {
    for entry in std::fs::read_dir(folder).map_err(Fault::io("read the folder", folder))? {
        let entry = entry.map_err(Fault::io("read the folder", folder))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(Fault::io("look at", &entry.path()))?);
        if kind.is_dir() && depth > 0 {
            visit(&path, depth - 1, cards, found)?;
        } else if kind.is_file() {
            let text = std::fs::read(&path).unwrap_or_default();
            found.files += 1;
            found.bytes += text.len();
            found.hits += cards.iter().filter(|card| contains(&text, card)).count();
        }
    }
    Ok(())
}

fn contains(text: &[u8], card: &[u8]) -> bool {
    text.windows(card.len()).any(|window| window == card)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_number_is_found_and_others_are_not() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let card = [Zeroizing::new(b"4242424242424242".to_vec())];
        std::fs::create_dir(folder.path().join("a"))?;
        std::fs::write(folder.path().join("a/clean"), "4111 is not it")?;
        assert_eq!(scan(folder.path(), &card)?.hits, 0);
        std::fs::write(folder.path().join("a/dirty"), "x4242424242424242x")?;
        let found = scan(folder.path(), &card)?;
        assert_eq!((found.files, found.hits), (2, 1));
        Ok(())
    }
}
