//! What chance does to an input: bits and bytes, numbers that are at an edge, parts that are cut, repeated or taken from
//! another input.

use crate::random::Random;

/// The most bytes of an input; the largest bound of a parser is above its corpus, and a few inputs go there.
pub(crate) const MOST_BYTES: usize = 16 * 1_024;
/// Bytes and numbers at which something ends.
const EDGES: [u32; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, u32::MAX];
/// The most changes of one input.
const MOST_CHANGES: usize = 6;

/// Changes `input` in one to six places; `other` is an input to take parts from.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    // Mostly few: what is changed all over is refused at its first byte.
    let changes = 1 + random.below(MOST_CHANGES).min(random.below(MOST_CHANGES));
    for _ in 0..changes {
        change(input, other, random);
    }
    input.truncate(MOST_BYTES);
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(9) {
        0 | 1 => {
            let bit = random.below(8);
            input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
        }
        2 => {
            let new = random.byte();
            input.iter_mut().skip(at).take(1).for_each(|byte| *byte = new);
        }
        3 => overwrite_with_edge(input, at, random),
        4 => {
            let count = random.below(16);
            input.drain(at..at.saturating_add(count).min(input.len()));
        }
        5 => {
            let part: Vec<u8> = input.iter().skip(at).take(1 + random.below(32)).copied().collect();
            let to = random.below(input.len().saturating_add(1));
            input.splice(to..to, part);
        }
        6 => {
            let part: Vec<u8> = (0..1 + random.below(8)).map(|_| random.byte()).collect();
            input.splice(at..at, part);
        }
        7 => {
            let from = random.below(other.len());
            let part: Vec<u8> = other.iter().skip(from).take(1 + random.below(64)).copied().collect();
            let end = at.saturating_add(random.below(64)).min(input.len());
            input.splice(at..end, part);
        }
        _ => input.truncate(at),
    }
}

/// Puts a number at an edge over one, two or four bytes, in either order.
fn overwrite_with_edge(input: &mut [u8], at: usize, random: &mut Random) {
    let edge = EDGES.get(random.below(EDGES.len())).copied().unwrap_or(0);
    let width = [1, 2, 4].get(random.below(3)).copied().unwrap_or(1);
    let mut bytes = edge.to_le_bytes().into_iter().take(width).collect::<Vec<u8>>();
    if random.below(2) == 0 {
        bytes.reverse();
    }
    input.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_change_in_every_way_and_stay_bounded() {
        let (mut random, whole) = (Random::new(1), [7_u8; 100]);
        let (mut shorter, mut longer, mut same_length, mut unchanged) = (0, 0, 0, 0);
        for _ in 0..10_000 {
            let mut input = whole.to_vec();
            mutate(&mut input, b"something else", &mut random);
            match input.len() {
                100 => same_length += 1,
                length if length < 100 => shorter += 1,
                _ => longer += 1,
            }
            unchanged += usize::from(input == whole);
        }
        assert!([shorter, longer, same_length].iter().all(|count| *count > 1_000), "{shorter} {longer} {same_length}");
        assert!(unchanged < 500, "{unchanged}");
        let mut large = vec![0; MOST_BYTES];
        (0..1_000).for_each(|_| mutate(&mut large, &whole, &mut random));
        assert!(large.len() <= MOST_BYTES);
        let mut empty = Vec::new();
        (0..1_000).for_each(|_| mutate(&mut empty, &[], &mut random));
    }
}
