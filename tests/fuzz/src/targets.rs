//! The parsers, each with the answer it gives to an input: what it is, or why it is none. The answer tells inputs apart, and
//! is checked for what must hold whatever comes.

use attest_evidence::{Attest, AttestationObject, EcdsaSignature, EventLog, Malformed, Public};
use attest_service::{Begin, Finish};
use attest_verdict::{Issuer, Verdict};
use attest_verifier::{EndorsementCertificate, MakerRoots};
use ca_identity::TrustDomain;

use crate::answer::{Answer, Ask};
use crate::messages;

/// When the certificates of the corpus are valid, seconds since the Unix epoch.
const NOW: i64 = 4_102_444_800;

/// How an attestation object ends that has an `authData`, which may be left out.
const EMPTY_AUTH_DATA: &[u8] = b"\x68authData\x40";

/// A parser.
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// How many executions the tests make; those that check signatures are slow.
    pub short: u64,
    pub(crate) ask: Ask,
}

impl Target {
    /// What the parser answers to an input.
    #[must_use]
    pub fn answer(&self, input: &[u8]) -> String {
        (self.ask)(input).0
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All parsers. `corpus` reads a file of the corpus, by target and name.
///
/// # Errors
/// What is wrong with the corpus.
pub fn targets(corpus: impl Fn(&str, &str) -> Result<Vec<u8>, String>) -> Result<Vec<Target>, String> {
    let evidence = |name, ask: fn(&[u8]) -> Answer| Target { name, short: 200_000, ask: Box::new(ask) };
    let roots = MakerRoots::new(&[corpus("roots", "maker.der")?]).map_err(|why| why.to_string())?;
    let issuer = corpus("roots", "issuer.der")?;
    let certificate = move |bytes: &[u8]| match EndorsementCertificate::accept(bytes, &[&issuer], &roots, NOW) {
        Ok(accepted) => (format!("accepted {}", accepted.permanent_identifier()), Ok(())),
        Err(why) => (kind(&why), Ok(())),
    };
    let domain = TrustDomain::parse("larder.internal").map_err(|why| why.to_string())?;
    let service = Issuer::new(&[corpus("roots", "house.der")?], &domain).map_err(|why| why.to_string())?;
    let genuine = corpus("verdict", "affirming.cbor")?;
    let verdict = move |bytes: &[u8]| match Verdict::open(bytes, &service, NOW) {
        Ok(_) if bytes == genuine => ("opened".to_owned(), Ok(())),
        Ok(_) => ("opened".to_owned(), Err("a verdict was opened that the service did not write")),
        Err(why) => (why.to_string().chars().take(80).collect(), Ok(())),
    };
    Ok(vec![
        evidence("attest", |bytes| parsed(bytes, Attest::parse(bytes).map(|attest| kind(&attest.said)))),
        evidence("public", |bytes| {
            parsed(bytes, Public::parse(bytes).map(|key| format!("{:?} {:?}", key.symmetric, key.scheme)))
        }),
        evidence("signature", |bytes| {
            parsed(bytes, EcdsaSignature::parse(bytes).map(|signature| format!("{:?}", signature.hash)))
        }),
        evidence("event-log", |bytes| {
            parsed(bytes, EventLog::parse(bytes).map(|log| format!("{} events", log.events.len())))
        }),
        evidence("attestation-object", |bytes| {
            let Ok(object) = AttestationObject::parse(bytes) else {
                return parsed(bytes, AttestationObject::parse(bytes).map(|_| String::new()));
            };
            let one_form = object.to_bytes().is_ok_and(|again| again == bytes || bytes.ends_with(EMPTY_AUTH_DATA));
            let one_form = if one_form { Ok(()) } else { Err("an object was read that is not written so") };
            (format!("{} certificates", object.certificates.len()), one_form)
        }),
        Target { name: "certificate", short: 5_000, ask: Box::new(certificate) },
        Target { name: "verdict", short: 5_000, ask: Box::new(verdict) },
        Target { name: "begin", short: 20_000, ask: Box::new(|bytes| json(Begin::parse(bytes).map(drop))) },
        Target { name: "finish", short: 20_000, ask: Box::new(|bytes| json(Finish::parse(bytes).map(drop))) },
        Target { name: "acme", short: 20_000, ask: messages::acme() },
        Target {
            name: "bundle",
            short: 5_000,
            ask: messages::bundle(&corpus("roots", "bundle.der")?, corpus("bundle", "first.jws")?, domain)?,
        },
    ])
}

/// The answer of a parser of evidence: where it stopped must be within the input.
fn parsed(bytes: &[u8], outcome: Result<String, Malformed>) -> Answer {
    match outcome {
        Ok(what) => (what, Ok(())),
        Err(Malformed { at, why, structure }) => {
            let inside = if at <= bytes.len() { Ok(()) } else { Err("it stopped behind the end of the input") };
            (format!("{structure} {at} {why:?}"), inside)
        }
    }
}

fn json(outcome: Result<(), attest_service::Refusal>) -> Answer {
    match outcome {
        Ok(()) => ("read".to_owned(), Ok(())),
        Err(why) => {
            let text = why.to_string();
            let bounded = if text.len() <= 1_024 { Ok(()) } else { Err("a reason is longer than anybody reads") };
            // Without the place in the text: there are too many of them.
            (text.split(" at line ").next().unwrap_or_default().chars().take(80).collect(), bounded)
        }
    }
}

/// The beginning of a value's form: its kind, without what it holds.
fn kind(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take(24).collect()
}
