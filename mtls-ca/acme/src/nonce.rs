//! Nonces against replay (RFC 8555 section 6.5): each good for some minutes, and for one request.
//!
//! A nonce carries its time and our mark on both, so that handing them out costs no memory and a stranger who asks for
//! millions pushes nobody else's out. Remembered are those that were spent, while they would still be good; their number
//! is bounded, and at the bound requests are refused rather than spent nonces forgotten. A restart makes all of them
//! void, since the mark's key is new; clients then take the nonce that comes with the refusal.

use std::collections::{BTreeMap, HashSet};

use data_encoding::BASE64URL_NOPAD;
use ring::hmac::{HMAC_SHA256, Key, sign, verify};

use crate::chance::{Chance, Draw};
use crate::problem::{Kind, Problem};

/// How long a nonce is good, in seconds.
const LIFE_S: i64 = 10 * 60;
/// The most spent nonces that are remembered: some hundred requests a second over a nonce's life.
const MOST_SPENT: usize = 65_536;
/// Bytes of a nonce's random part.
const RANDOM_BYTES: usize = 16;

/// Makes nonces and remembers those that were spent.
pub(crate) struct Nonces {
    key: Key,
    spent: HashSet<[u8; RANDOM_BYTES]>,
    by_time: BTreeMap<i64, Vec<[u8; RANDOM_BYTES]>>,
    most_spent: usize,
}

impl Nonces {
    /// Begins with a random key of this process alone.
    #[must_use]
    pub(crate) fn new(key: [u8; 32]) -> Self {
        let key = Key::new(HMAC_SHA256, &key);
        Self { key, spent: HashSet::new(), by_time: BTreeMap::new(), most_spent: MOST_SPENT }
    }

    /// A fresh nonce.
    #[must_use]
    pub(crate) fn make(&self, chance: &Chance, now_unix_s: i64) -> String {
        let drawn = chance.bytes(Draw::Nonce);
        let random = drawn.get(..RANDOM_BYTES).unwrap_or_default();
        let said = [now_unix_s.to_be_bytes().as_slice(), random].concat();
        let mark = sign(&self.key, &said);
        BASE64URL_NOPAD.encode(&[said.as_slice(), mark.as_ref()].concat())
    }

    /// Spends a nonce.
    ///
    /// # Errors
    /// [`Kind::BadNonce`] when it is not ours, too old, or was spent before; the client asks again with a fresh one.
    pub(crate) fn spend(&mut self, nonce: &str, now_unix_s: i64) -> Result<(), Problem> {
        let (made_unix_s, random) = self.read(nonce).ok_or_else(|| bad("is not one of this server"))?;
        if now_unix_s.saturating_sub(made_unix_s) > LIFE_S {
            return Err(bad("is too old"));
        }
        self.forget_until(now_unix_s.saturating_sub(LIFE_S));
        if self.spent.contains(&random) {
            return Err(bad("was used before"));
        }
        if self.spent.len() >= self.most_spent {
            let detail = "more requests come than this server remembers; wait a minute";
            return Err(Problem::new(Kind::RateLimited, detail));
        }
        self.spent.insert(random);
        self.by_time.entry(made_unix_s).or_default().push(random);
        Ok(())
    }

    fn read(&self, nonce: &str) -> Option<(i64, [u8; RANDOM_BYTES])> {
        let bytes = BASE64URL_NOPAD.decode(nonce.as_bytes()).ok()?;
        let (said, mark) = bytes.split_at_checked(size_of::<i64>().checked_add(RANDOM_BYTES)?)?;
        verify(&self.key, said, mark).ok()?;
        let (time, random) = said.split_first_chunk::<8>()?;
        Some((i64::from_be_bytes(*time), random.try_into().ok()?))
    }

    /// Forgets what was spent and is too old to be spent again.
    fn forget_until(&mut self, oldest_unix_s: i64) {
        let kept = self.by_time.split_off(&oldest_unix_s);
        for random in std::mem::replace(&mut self.by_time, kept).into_values().flatten() {
            self.spent.remove(&random);
        }
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nonces").field("spent", &self.spent.len()).finish_non_exhaustive()
    }
}

fn bad(why: &str) -> Problem {
    Problem::new(
        Kind::BadNonce,
        format!("the nonce {why}; repeat the request with the one that comes with this answer"),
    )
}

#[cfg(test)]
mod tests {
    use super::{LIFE_S, Nonces};
    use crate::chance::Chance;
    use crate::problem::Kind;

    const NOW: i64 = 1_800_000_000;

    fn nonces() -> Nonces {
        Nonces::new([7; 32])
    }

    fn nonce(nonces: &Nonces, seed: u8, now: i64) -> String {
        nonces.make(&Chance::new([seed; 32]), now)
    }

    #[test]
    fn a_nonce_is_good_once() {
        let mut nonces = nonces();
        let (one, other) = (nonce(&nonces, 1, NOW), nonce(&nonces, 2, NOW));
        assert_eq!(nonces.spend(&one, NOW), Ok(()));
        let again = nonces.spend(&one, NOW).unwrap_err();
        assert_eq!(again.kind, Kind::BadNonce);
        assert!(again.detail.contains("used before"), "{again:?}");
        assert_eq!(nonces.spend(&other, NOW), Ok(()));
    }

    #[test]
    fn a_nonce_lives_for_minutes_and_is_not_good_again_when_it_is_forgotten() {
        let mut nonces = nonces();
        let (spent, unspent) = (nonce(&nonces, 1, NOW), nonce(&nonces, 2, NOW));
        assert_eq!(nonces.spend(&spent, NOW), Ok(()));
        assert!(nonces.spend(&spent, NOW + LIFE_S).unwrap_err().detail.contains("used before"), "at its last second");
        assert_eq!(nonces.spend(&unspent, NOW + LIFE_S), Ok(()));
        for late in [LIFE_S + 1, LIFE_S * 100] {
            assert!(nonces.spend(&spent, NOW + late).unwrap_err().detail.contains("too old"));
        }
        let fresh = nonce(&nonces, 3, NOW + LIFE_S + 1);
        assert_eq!(nonces.spend(&fresh, NOW + LIFE_S + 1), Ok(()));
        assert_eq!(nonces.spent.len(), 1, "the others are too old to be remembered");
    }

    #[test]
    fn what_is_not_ours_is_no_nonce() {
        let mut nonces = nonces();
        let good = nonce(&nonces, 1, NOW);
        let other = Nonces::new([8; 32]).make(&Chance::new([1; 32]), NOW);
        let mut turned = good.clone().into_bytes();
        turned[3] = if turned[3] == b'A' { b'B' } else { b'A' };
        for bad in ["", "AAAA", "=", other.as_str(), &good[..40], &String::from_utf8(turned).unwrap()] {
            assert_eq!(nonces.spend(bad, NOW).unwrap_err().kind, Kind::BadNonce, "{bad}");
        }
        assert_eq!(nonces.spend(&good, NOW), Ok(()));
    }

    #[test]
    fn at_the_bound_it_refuses_and_does_not_forget() {
        let mut nonces = nonces();
        nonces.most_spent = 2;
        let made: Vec<_> = (1..=3).map(|seed| nonce(&nonces, seed, NOW)).collect();
        assert!(nonces.spend(&made[0], NOW).is_ok() && nonces.spend(&made[1], NOW).is_ok());
        assert_eq!(nonces.spend(&made[2], NOW).unwrap_err().kind, Kind::RateLimited);
        assert_eq!(nonces.spend(&made[0], NOW).unwrap_err().kind, Kind::BadNonce);
        let later = NOW + LIFE_S + 1;
        let fresh = nonce(&nonces, 4, later);
        assert_eq!(nonces.spend(&fresh, later), Ok(()), "room is made by time");
    }
}
