//! What comes out of the vault for what goes in: right cards, wrong cards, and cards that were tampered with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use pci_card::{CardError, Malformed};
use pci_contract::{Brand, FridgeId, SealedCard, SealingContext, Token};
use pci_vault::{OpenError, SealRefusal, Vault, VaultHealth, VaultStatus};
use support::{
    MASTERCARD, NOW_UNIX_S, VISA, block_on, config_with, context, open, rotated, seal, seal_parts, token_of, vault,
};
use test_token::in_own_process;

fn untouched() -> VaultStatus {
    VaultStatus { health: VaultHealth::Ready, generation: 1 }
}

#[test]
fn a_card_comes_out_with_its_token() {
    in_own_process("opens", |token| {
        let vault = vault(token);
        let opened = open(&vault, b";4242424242424242=29122011234567890?").expect("it opens");
        assert_eq!(opened.card.brand, Brand::Visa);
        assert_eq!(opened.card.last_four.as_str(), "4242");
        assert!(Token::parse(opened.card.token.as_str()).is_ok());
        assert!(opened.card.token.as_str().starts_with("tok_1_"));
        assert_eq!(opened.pan.expose(), b"4242424242424242");
        assert_eq!((opened.expiry.year(), opened.expiry.month()), (2029, 12));
        assert!(opened.earlier_tokens.is_empty());
        assert!(!format!("{opened:?}").contains("424242"), "nothing printable holds the number");
    });
}

#[test]
fn each_brand_passes_the_wall() {
    in_own_process("brands", |token| {
        let vault = vault(token);
        for (pan, brand) in [
            ("4222222222222", Brand::Visa),
            ("2223003122003222", Brand::Mastercard),
            ("378282246310005", Brand::Amex),
            ("6011111111111117", Brand::Discover),
            ("3530111333300000", Brand::Jcb),
            ("36227206271667", Brand::Diners),
            ("6205500000000000004", Brand::Unionpay),
            ("0000000000000000", Brand::Other),
        ] {
            let opened = open(&vault, format!("{pan}=2912").as_bytes()).expect("it opens");
            assert_eq!((opened.card.brand, opened.pan.expose()), (brand, pan.as_bytes()));
        }
    });
}

#[test]
fn the_same_card_has_the_same_token_for_ever_and_no_other_card_has_it() {
    in_own_process("same", |token| {
        let first = vault(token);
        let visa = token_of(&first, VISA);
        assert_eq!(token_of(&first, VISA), visa);
        assert_eq!(token_of(&first, b"4242424242424242=3001201"), visa, "expiry and service code do not count");
        assert_ne!(token_of(&first, MASTERCARD), visa);
        drop(first);
        assert_eq!(token_of(&vault(token), VISA), visa, "after a restart");
    });
}

#[test]
fn cards_that_are_none_are_told_apart() {
    in_own_process("cards", |token| {
        let vault = vault(token);
        for (text, error) in [
            (&b"424242424242=2912"[..], Malformed::PanLength.into()),
            (b"42424242424242424242=2912", Malformed::PanLength.into()),
            (b"4242424242424241=2912", Malformed::CheckDigit.into()),
            (b"4242424242424242=2913", Malformed::Expiry.into()),
            (b"hello", Malformed::Track.into()),
            (b"", Malformed::Track.into()),
            (b"4242424242424242=2602", CardError::Expired),
        ] {
            assert_eq!(open(&vault, text).expect_err("no card"), OpenError::Card(error));
        }
        assert!(open(&vault, b"4242424242424242=2603").is_ok(), "the month of expiry itself is good");
        assert_eq!(*vault.watch().borrow(), untouched());
    });
}

#[test]
fn a_sealed_card_is_worth_nothing_elsewhere() {
    in_own_process("context", |token| {
        let vault = vault(token);
        let key = vault.sealing_key();
        let card = || seal(&key, &context(1), VISA);
        let elsewhere = SealingContext { fridge: FridgeId::parse("FR-0002").expect("a name"), ..context(1) };
        let refused = OpenError::Refused(SealRefusal::DoesNotOpen);
        block_on(async {
            assert_eq!(vault.open(card(), context(2), NOW_UNIX_S).await.expect_err("another session"), refused);
            assert_eq!(vault.open(card(), elsewhere, NOW_UNIX_S).await.expect_err("another fridge"), refused);
            assert!(vault.open(card(), context(1), NOW_UNIX_S).await.is_ok());
        });
    });
}

fn open_parts(vault: &Vault, key: &str, encapsulated: &[u8], text: &[u8]) -> Result<(), OpenError> {
    let card = SealedCard::parse(key, encapsulated, text).expect("the shape of a sealed card");
    block_on(vault.open(card, context(1), NOW_UNIX_S)).map(drop)
}

#[test]
fn what_was_altered_is_refused_and_never_blamed_on_the_hsm() {
    in_own_process("altered", |token| {
        let vault = vault(token);
        let key = vault.sealing_key();
        let (encapsulated, text) = seal_parts(&key, &context(1), VISA);
        assert_eq!(open_parts(&vault, "seal-1", &encapsulated, &text), Ok(()));
        let does_not_open = Err(OpenError::Refused(SealRefusal::DoesNotOpen));
        for place in 0..text.len() {
            let mut altered = text.clone();
            altered[place] ^= 0x80;
            assert_eq!(open_parts(&vault, "seal-1", &encapsulated, &altered), does_not_open, "byte {place}");
        }
        for length in 16..text.len() {
            assert_eq!(open_parts(&vault, "seal-1", &encapsulated, &text[..length]), does_not_open, "{length} bytes");
        }
        let (other_key, _) = seal_parts(&key, &context(1), VISA);
        assert_eq!(open_parts(&vault, "seal-1", &other_key, &text), does_not_open);
        assert_eq!(open_parts(&vault, "seal-1", &key.public, &text), does_not_open, "our own key sent back");
        let unknown = Err(OpenError::Refused(SealRefusal::UnknownKey));
        assert_eq!(open_parts(&vault, "seal-2", &encapsulated, &text), unknown);
        assert_eq!(open_parts(&vault, "token-1", &encapsulated, &text), unknown);
        for place in 1..65 {
            let mut off_curve = encapsulated.clone();
            off_curve[place] ^= 0x01;
            let refused = open_parts(&vault, "seal-1", &off_curve, &text);
            assert_eq!(refused, Err(OpenError::Refused(SealRefusal::NotAPoint)), "byte {place}");
        }
        assert_eq!(*vault.watch().borrow(), untouched(), "bad cards are no fault of the HSM");
        assert_eq!(open_parts(&vault, "seal-1", &encapsulated, &text), Ok(()));
    });
}

#[test]
fn a_new_token_key_makes_new_tokens_and_still_knows_the_old() {
    in_own_process("rotate", |token| {
        let before = token_of(&vault(token), VISA);
        let rotated = Vault::start(config_with(token, &rotated("token"))).expect("a vault");
        let opened = open(&rotated, VISA).expect("it opens");
        assert!(opened.card.token.as_str().starts_with("tok_2_"));
        assert_ne!(opened.card.token.as_str()["tok_2_".len()..], before["tok_1_".len()..]);
        assert_eq!(opened.earlier_tokens, [Token::parse(&before).expect("a token")]);
    });
}

#[test]
fn a_new_sealing_key_is_given_out_and_the_old_one_still_opens() {
    in_own_process("reseal", |token| {
        let first = vault(token);
        let (old_key, visa) = (first.sealing_key(), token_of(&first, VISA));
        drop(first);
        let second = Vault::start(config_with(token, &rotated("sealing"))).expect("a vault");
        assert_eq!(second.sealing_key().id.as_str(), "seal-2");
        assert_ne!(second.sealing_key().public, old_key.public);
        let old = seal(&old_key, &context(1), VISA);
        let opened = block_on(second.open(old, context(1), NOW_UNIX_S)).expect("the previous key opens");
        assert_eq!(opened.card.token.as_str(), visa, "sealing keys do not change tokens");
        assert_eq!(token_of(&second, VISA), visa);
    });
}

#[test]
fn two_tokens_make_different_tokens_of_a_card() {
    in_own_process("apart", |token| {
        let here = token_of(&vault(token), VISA);
        // Another token in the place of this one: another HSM with the same label and the same plan.
        let other = test_token::TestToken::create(token.label()).expect("a token");
        std::fs::rename(token.token_directory(), token.directory().join("aside")).expect("moved away");
        std::fs::rename(other.token_directory(), token.token_directory()).expect("moved in");
        assert_ne!(token_of(&vault(token), VISA), here);
    });
}
