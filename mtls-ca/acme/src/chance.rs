//! Chance as an argument: one seed a request, from which everything random in its answer is drawn.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac::{HMAC_SHA256, Key, sign};

/// What is drawn; each is drawn from the seed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draw {
    Account,
    Order,
    Nonce,
    /// The token of the challenge with this place in its order.
    Token(u8),
}

/// 32 bytes from the system's generator, fresh for every request.
#[derive(Clone, Copy)]
pub struct Chance([u8; 32]);

impl Chance {
    /// Takes fresh random bytes.
    #[must_use]
    pub const fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// 256 bits for one purpose.
    pub(crate) fn bytes(&self, draw: Draw) -> [u8; 32] {
        let label = match draw {
            Draw::Account => [1, 0],
            Draw::Order => [2, 0],
            Draw::Nonce => [3, 0],
            Draw::Token(place) => [4, place],
        };
        let drawn = sign(&Key::new(HMAC_SHA256, &self.0), &label);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(drawn.as_ref());
        bytes
    }

    /// 128 bits as text, for ids in URLs.
    pub(crate) fn id(&self, draw: Draw) -> String {
        BASE64URL_NOPAD.encode(self.bytes(draw).get(..16).unwrap_or_default())
    }

    /// 256 bits as text, for challenges.
    pub(crate) fn token(&self, place: u8) -> String {
        BASE64URL_NOPAD.encode(&self.bytes(Draw::Token(place)))
    }
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Chance, Draw};

    #[test]
    fn each_draw_is_its_own_and_each_seed_too() {
        let draws = [Draw::Account, Draw::Order, Draw::Nonce, Draw::Token(0), Draw::Token(1), Draw::Token(2)];
        let all = [[1; 32], [2; 32]].map(Chance::new).into_iter().flat_map(|c| draws.map(|draw| c.bytes(draw)));
        assert_eq!(all.collect::<HashSet<_>>().len(), 12);
        assert_eq!(Chance::new([1; 32]).id(Draw::Order).len(), 22);
        assert_eq!(format!("{:?}", Chance::new([1; 32])), "Chance(…)");
    }
}
