//! Seals a card to the vault's key (HPKE, RFC 9180), in the buffer it came in.
//!
//! The plain text is `PAN=YYMM` and service code: discretionary data, which holds verification values, does not leave
//! the fridge. A track that does not parse is sealed as it is, because to judge a card is the vault's (and a refusal
//! must come in the order the rule book says); it cannot be more than a track is long, or it is cut to where it surely
//! does not parse. After sealing, the buffer holds cipher text only.

use hpke::aead::AesGcm128;
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable, single_shot_seal_inout_detached};
use pci_card::Track2;
use pci_contract::{SealedCard, SealingContext, SealingKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// The most bytes of plain text: the most of a sealed card, less its tag.
const MAX_PLAIN_BYTES: usize = SealedCard::MAX_BYTES - SealedCard::MIN_BYTES;

/// A card could not be sealed: the key is not a point of the curve. Get another key; the card is wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the sealing key cannot be used")]
pub struct SealError;

/// Seals a card's track 2 for one fridge and one session, and wipes it.
///
/// # Errors
/// [`SealError`] when the key cannot be used.
pub fn seal(track2: Zeroizing<Vec<u8>>, context: &SealingContext, key: &SealingKey) -> Result<SealedCard, SealError> {
    let mut text = match Track2::parse(&track2) {
        Ok(card) => card.expose_text(),
        Err(_) => track2,
    };
    text.truncate(MAX_PLAIN_BYTES);
    let recipient = <DhP256HkdfSha256 as Kem>::PublicKey::from_bytes(&key.public).map_err(|_| SealError)?;
    let (encapsulated_key, tag) = single_shot_seal_inout_detached::<AesGcm128, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &recipient,
        SealingContext::INFO,
        InOutBuf::from(text.as_mut_slice()),
        &context.associated_data(),
    )
    .map_err(|_| SealError)?;
    let cipher_text = [text.as_slice(), tag.to_bytes().as_slice()].concat();
    SealedCard::parse(key.id.as_str(), &encapsulated_key.to_bytes(), &cipher_text).map_err(|_| SealError)
}

#[cfg(test)]
mod tests {
    use hpke::single_shot_open;
    use pci_contract::{FridgeId, SealingKeyId, SessionId};

    use super::*;

    type Private = <DhP256HkdfSha256 as Kem>::PrivateKey;

    fn key() -> (Private, SealingKey) {
        let (private, public) = DhP256HkdfSha256::gen_keypair();
        let public = public.to_bytes().as_slice().try_into().expect("65 bytes");
        (private, SealingKey { id: SealingKeyId::parse("seal-1").expect("an id"), public })
    }

    fn context(fridge: &str) -> SealingContext {
        let session = SessionId::parse("4ed615ae-e6a0-47bb-82f2-6b7777de3d19").expect("a UUID");
        SealingContext { fridge: FridgeId::parse(fridge).expect("a name"), session }
    }

    fn opened(private: &Private, card: &SealedCard, context: &SealingContext) -> Option<Vec<u8>> {
        let encapsulated =
            <DhP256HkdfSha256 as Kem>::EncappedKey::from_bytes(card.encapsulated_key()).expect("a point");
        single_shot_open::<AesGcm128, HkdfSha256, DhP256HkdfSha256>(
            &hpke::OpModeR::Base,
            private,
            &encapsulated,
            SealingContext::INFO,
            card.cipher_text(),
            &context.associated_data(),
        )
        .ok()
    }

    fn sealed(track2: &[u8], key: &SealingKey) -> SealedCard {
        seal(Zeroizing::new(track2.to_vec()), &context("FR-0001"), key).expect("seals")
    }

    #[test]
    fn the_opener_gets_number_expiry_and_service_code_and_nothing_discretionary() {
        let (private, key) = key();
        let card = sealed(b";4242424242424242=3112201123456789?", &key);
        assert_eq!(card.key().as_str(), "seal-1");
        assert_eq!(opened(&private, &card, &context("FR-0001")).as_deref(), Some(&b"4242424242424242=3112201"[..]));
    }

    #[test]
    fn a_sealed_card_opens_in_its_own_context_only() {
        let (private, key) = key();
        let card = sealed(b"4242424242424242=3112", &key);
        assert_eq!(opened(&private, &card, &context("FR-0002")), None);
        let (other, _) = self::key();
        assert_eq!(opened(&other, &card, &context("FR-0001")), None);
    }

    #[test]
    fn what_is_no_track_is_sealed_for_the_vault_to_judge() {
        let (private, key) = key();
        for track2 in [&b"4242424242424241=3112"[..], b"", b"hello"] {
            let card = sealed(track2, &key);
            assert_eq!(opened(&private, &card, &context("FR-0001")).as_deref(), Some(track2));
        }
        let card = sealed(&[b'9'; 400], &key);
        assert_eq!(opened(&private, &card, &context("FR-0001")).map(|text| text.len()), Some(MAX_PLAIN_BYTES));
    }

    #[test]
    fn the_same_card_never_seals_to_the_same_bytes() {
        let (_, key) = key();
        assert_ne!(sealed(b"4242424242424242=3112", &key), sealed(b"4242424242424242=3112", &key));
    }

    #[test]
    fn a_key_off_the_curve_is_refused() {
        let (_, mut key) = key();
        key.public = [4; 65];
        let track2 = Zeroizing::new(b"4242424242424242=3112".to_vec());
        assert_eq!(seal(track2, &context("FR-0001"), &key), Err(SealError));
    }
}
