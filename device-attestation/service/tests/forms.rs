//! What comes over the wire, and lists of reference values, are taken in one form; anything else is refused with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::device;

use attest_service::{Begin, Finish, Refusal, Values};
use device::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn begin() -> Value {
    json!({
        "ek_certificate": encode(&[1; 700]),
        "ek_intermediates": [encode(&[2; 700])],
        "ek_public": encode(&[3; 122]),
        "ak_public": encode(&[4; 90]),
        "tls_key_public": encode(&[5; 90]),
        "previous_tls_key": encode(&[6; 34]),
        "csr_sha256": encode(&[7; 32]),
        "acme_account": ACCOUNT,
        "acme_order": ORDER,
    })
}

fn finish() -> Value {
    let mut finish = json!({"event_log": encode(&vec![1; 256 * 1_024])});
    for field in ["secret", "quote", "quote_signature", "certify", "certify_signature", "previous_signature"] {
        finish[field] = encode(&[1; 32]).into();
    }
    finish
}

fn why<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    match outcome.unwrap_err() {
        Refusal::Request(why) => why,
        Refusal::Values(why) => why.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn begun(change: impl FnOnce(&mut Value)) -> Result<Begin, Refusal> {
    let mut begin = begin();
    change(&mut begin);
    Begin::parse(begin.to_string().as_bytes())
}

#[test]
fn a_request_is_read_as_it_was_meant() {
    let read = begun(|_| ()).unwrap();
    assert_eq!((read.ek_certificate, read.ek_intermediates), (vec![1; 700], vec![vec![2; 700]]));
    assert_eq!((read.ek_public, read.previous_tls_key), (Some(vec![3; 122]), Some(vec![6; 34])));
    assert_eq!((read.csr_sha256, read.acme_order.as_str()), ([7; 32], ORDER));
    let least = begun(|begin| {
        for optional in ["ek_intermediates", "ek_public", "previous_tls_key"] {
            begin.as_object_mut().unwrap().remove(optional);
        }
    });
    assert_eq!(least.unwrap().ek_intermediates, Vec::<Vec<u8>>::new());
    assert_eq!(Finish::parse(finish().to_string().as_bytes()).unwrap().event_log.len(), 256 * 1_024);
}

#[test]
fn a_request_of_another_form_is_refused_with_the_field() {
    for (field, value, reason) in [
        ("ek_certificate", json!("a+b/"), "ek_certificate is not base64url without padding"),
        ("ek_certificate", json!(encode(&[1; 8 * 1_024 + 1])), "ek_certificate is too long"),
        ("ek_certificate", json!("A".repeat(20_000)), "ek_certificate is too long"),
        ("ek_intermediates", json!(vec!["AA"; 9]), "ek_intermediates is more than any maker has"),
        ("csr_sha256", json!(encode(&[1; 31])), "csr_sha256 is not 32 bytes"),
        ("previous_tls_key", json!(encode(&[1; 33])), "previous_tls_key is not a TPM's name of a key"),
        ("acme_account", json!("short"), "acme_account is not a thumbprint (RFC 7638)"),
        ("acme_account", json!(ACCOUNT.replace('N', "/")), "acme_account is not a thumbprint (RFC 7638)"),
        ("acme_order", json!("http://ca/order/7"), "acme_order is not an https URL"),
        ("acme_order", json!("https://ca/or der"), "acme_order is not an https URL"),
        ("acme_order", json!(format!("https://{}", "a".repeat(505))), "acme_order is not an https URL"),
    ] {
        assert_eq!(why(begun(|begin| begin[field] = value)), reason);
    }
    assert!(why(begun(|begin| begin["more"] = json!(1))).contains("unknown field `more`"));
    for field in ["ek_certificate", "ak_public", "tls_key_public", "csr_sha256", "acme_account", "acme_order"] {
        let missing = begun(|begin| drop(begin.as_object_mut().unwrap().remove(field)));
        assert!(why(missing).contains("missing field"), "{field}");
    }
    let mut long = finish();
    long["event_log"] = encode(&vec![1; 256 * 1_024 + 1]).into();
    assert_eq!(why(Finish::parse(long.to_string().as_bytes())), "event_log is too long");
    assert!(Begin::parse(b"").is_err() && Finish::parse(b"[]").is_err());
}

#[test]
fn a_list_is_believed_when_its_signer_signed_it_just_so() {
    let (key, other) = (signer_of_values(), signer_of_values());
    let good = list(3, &[&BOOT, &NEXT_BOOT]);
    let read = |jws: &str| Values::read(jws.as_bytes(), &point(&key));
    let signed = jws(&key, &header(), &good);
    let values = read(&signed).unwrap();
    assert_eq!(values.version, 3);
    assert_eq!(read(&format!("{signed}\n")).unwrap(), values, "a file ends with a line break");
    let altered = "it was altered, or was signed with another key than the one in the settings";
    assert_eq!(why(read(&jws(&other, &header(), &good))), altered);
    for at in 0..signed.len() {
        let mut bytes = signed.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(Values::read(&bytes, &point(&key)).is_err(), "byte {at}");
    }
    let no_header = why(read(&jws(&key, &json!({"alg": "none", "typ": "larder-reference-values+jws"}), &good)));
    assert_eq!(no_header, "its header says that it is something else");
    let another_kind = why(read(&jws(&key, &json!({"alg": "ES256", "typ": "JWT"}), &good)));
    assert_eq!(another_kind, "its header says that it is something else");
    let critical = json!({"alg": "ES256", "typ": "larder-reference-values+jws", "crit": ["exp"]});
    assert_eq!(why(read(&jws(&key, &critical, &good))), "its header is another");
    assert_eq!(why(read("a.b")), "it is no JWS in compact form");
    assert_eq!(why(read("a.b.c.d")), "it is no JWS in compact form");
    assert_eq!(why(Values::read(&[0xff], &point(&key))), "it is no text");
    let large = vec![b'a'; 1_024 * 1_024 + 1];
    assert_eq!(why(Values::read(&large, &point(&key))), "it is larger than any list may be");
}

#[test]
fn a_list_that_says_too_little_or_too_much_is_refused() {
    let key = signer_of_values();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut list = list(3, &[&BOOT]);
        change(&mut list);
        why(Values::read(jws(&key, &header(), &list).as_bytes(), &point(&key)))
    };
    let no_registers = "it names no registers, or some that a boot does not extend";
    assert_eq!(refused(&|list| list["registers"] = json!([])), no_registers);
    assert_eq!(refused(&|list| list["registers"] = json!([0, 7, 24])), no_registers);
    let policies = "it names too many policies for keys for TLS";
    assert_eq!(refused(&|list| list["tls_key_policies"] = json!(vec!["00".repeat(32); 17])), policies);
    let no_hash = "a hash of it is not 64 digits of lower-case hexadecimal";
    assert_eq!(refused(&|list| list["tls_key_policies"] = json!(["AA".repeat(32)])), no_hash);
    assert_eq!(refused(&|list| list["tls_key_policies"] = json!([""])), no_hash);
    assert_eq!(refused(&|list| list["firmware"][0]["events"][0]["sha256"] = json!("00")), no_hash);
    let no_firmware = "it names no firmware, one without events, or too many";
    assert_eq!(refused(&|list| list["firmware"] = json!([])), no_firmware);
    assert_eq!(refused(&|list| list["firmware"][0]["events"] = json!([])), no_firmware);
    let elsewhere = "it has an event of a register that is not quoted";
    assert_eq!(refused(&|list| list["firmware"][0]["events"][0]["register"] = json!(4)), elsewhere);
    let no_list = "its payload is no list of reference values";
    assert_eq!(refused(&|list| list["version"] = json!(-1)), no_list);
    assert_eq!(refused(&|list| list["more"] = json!(1)), no_list);
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500), text in ".{0,200}") {
        for body in [&bytes[..], text.as_bytes()] {
            prop_assert!(Begin::parse(body).is_err() && Finish::parse(body).is_err());
            prop_assert!(Values::read(body, &[4; 65]).is_err());
        }
    }
}
