//! Signed messages in JSON: requests to the ACME server, and trust bundles. An input is a message as it comes, or what is
//! inside of one: the header and what it says, with a line between them. So a changed byte is a changed byte of the inside,
//! which would otherwise be lost in the encoding.

use ca_acme::{Acme, Chance, Request, Urls};
use ca_identity::TrustDomain;
use ca_mtls::{SignedBundle, TrustBundle};
use data_encoding::{BASE64, BASE64URL_NOPAD};

use crate::answer::{Answer, Ask};

/// Where the ACME server of the corpus is.
const ORIGIN: &str = "https://ca.larder.internal";
/// Every resource that takes a message.
const PATHS: [&str; 10] = [
    "/acme/new-account",
    "/acme/new-order",
    "/acme/order/a-B_9/finalize",
    "/acme/challenge/a-B_9/0",
    "/acme/authorization/a-B_9/0",
    "/acme/order/a-B_9",
    "/acme/certificate/a-B_9",
    "/acme/revoke-cert",
    "/acme/key-change",
    "/acme/account/AbC_1",
];
/// The most bytes of what a client is told; an answer is read by people.
const MOST_TOLD: usize = 8 * 1_024;

/// Header and content of an input that is the inside of a message, encoded.
fn inside(input: &[u8]) -> Option<(String, String)> {
    let at = input.iter().position(|byte| *byte == b'\n')?;
    let (header, content) = (input.get(..at)?, input.get(at.saturating_add(1)..)?);
    Some((BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(content)))
}

/// What the ACME server makes of a message before it knows any row.
pub(crate) fn acme() -> Ask {
    let (server, chance) = (Acme::new(Urls::new(ORIGIN), [7; 32]), Chance::new([7; 32]));
    let signature = BASE64URL_NOPAD.encode(&[7; 64]);
    Box::new(move |input| {
        let body = match inside(input) {
            Some((protected, payload)) => {
                format!(r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#).into_bytes()
            }
            None => input.to_vec(),
        };
        let mut told = String::new();
        for path in PATHS {
            let request =
                Request { method: "POST", path, media_type: Some("application/jose+json"), body: body.as_slice() };
            match server.open(&request, 1_800_000_000, &chance) {
                Ok(opened) => return (format!("{:?}", opened.needs()).chars().take(80).collect(), Ok(())),
                Err(answer) => told = format!("{:?}", answer.body),
            }
        }
        let bounded = if told.len() <= MOST_TOLD { Ok(()) } else { Err("an answer is longer than anybody reads") };
        (told.chars().take(160).collect(), bounded)
    })
}

/// Whether a trust bundle is believed by who trusts `root`, a certificate in DER; `genuine` is the one that is.
pub(crate) fn bundle(root: &[u8], genuine: Vec<u8>, domain: TrustDomain) -> Result<Ask, String> {
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(root));
    let trusted = TrustBundle::from_pem(pem.as_bytes()).map_err(|why| why.to_string())?;
    let signature = genuine.rsplit(|byte| *byte == b'.').next().unwrap_or_default().to_vec();
    Ok(Box::new(move |input| -> Answer {
        let text = match inside(input) {
            Some((header, payload)) => [header.as_bytes(), payload.as_bytes(), signature.as_slice()].join(&b"."[..]),
            None => input.to_vec(),
        };
        let checked = SignedBundle::check(&String::from_utf8_lossy(&text), &trusted, &domain, 0);
        match checked {
            Ok(_) if text == genuine => ("believed".to_owned(), Ok(())),
            Ok(_) => ("believed".to_owned(), Err("a bundle was believed that the authority did not write")),
            Err(why) => (why.to_string().chars().take(80).collect(), Ok(())),
        }
    }))
}
