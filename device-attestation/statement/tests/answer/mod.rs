//! A device with a TPM of software, and its answer to a challenge, right or as wrong as a test asks for.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../authority/mod.rs"]
pub mod authority;
#[path = "../../../verifier/tests/support/mod.rs"]
pub mod tpm;
#[path = "../../../verdict/tests/world/mod.rs"]
pub mod world;

use attest_evidence::AttestationObject;
use attest_statement::{Asked, Proved, StatementRefusal, Trust};
use attest_verdict::{Binding, Verdict};
use attest_verifier::AttestationKey;
use rcgen::{CertifiedIssuer, KeyPair};
use tpm::{ATTESTS, Key, POLICY, SERVES, certification, name, sha256};
use world::{NOW, Party, World};

pub const ASKED: Asked<'static> = Asked {
    permanent_identifier: &[1; 32],
    key_authorization: "token.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    account: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    order: "https://ca.larder.internal/acme/order/7",
};

pub fn point_of(area: &[u8]) -> Vec<u8> {
    attest_evidence::Public::parse(area).unwrap().key.point()
}

pub fn spki(point: &[u8]) -> Vec<u8> {
    const P256: &[u8] = &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    [P256, point].concat()
}

/// Our authority, the attestation service, and a device.
pub struct House {
    pub world: World,
    pub attestation: CertifiedIssuer<'static, KeyPair>,
    pub service: Party,
    pub trust: Trust,
    pub ak: Key,
    pub tls: Key,
}

/// The parts of an answer.
#[derive(Clone)]
pub struct Answer {
    pub certificates: Vec<Vec<u8>>,
    pub attestation_key: Vec<u8>,
    pub statement: Vec<u8>,
    pub signature: Vec<u8>,
    pub public_area: Vec<u8>,
    pub verdict: Vec<u8>,
}

impl Answer {
    pub fn bytes(&self) -> Vec<u8> {
        let certificates = self.certificates.iter().map(Vec::as_slice).collect();
        let Self { attestation_key, statement, signature, public_area, verdict, .. } = self;
        AttestationObject { certificates, signature, statement, public_area, attestation_key, verdict }
            .to_bytes()
            .unwrap()
    }
}

impl House {
    pub fn new() -> Self {
        let world = World::new();
        let attestation = authority::intermediate(&world.root);
        let (service, trust) = (world.service(), Trust::new(&[world.root.der()], &world::domain()).unwrap());
        Self { world, attestation, service, trust, ak: Key::new(), tls: Key::new() }
    }

    pub fn ak_area(&self) -> Vec<u8> {
        self.ak.area(ATTESTS, &[])
    }

    /// What the attestation service says of this device, these keys and this order.
    pub fn verdict(&self) -> Verdict {
        let tls = self.tls.area(SERVES, &POLICY);
        let binding = Binding { tls_key_sha256: sha256(&spki(&point_of(&tls))), ..world::binding() };
        Verdict { binding, attestation_key: name(&self.ak_area()), ..world::verdict() }
    }

    /// An answer in which all is right.
    pub fn answer(&self) -> Answer {
        let (ak, tls) = (self.ak_area(), self.tls.area(SERVES, &POLICY));
        assert!(AttestationKey::accept(&ak).is_ok());
        let statement = certification(&sha256(ASKED.key_authorization.as_bytes()), &tls);
        Answer {
            certificates: authority::certify(&authority::leaf(NOW), &point_of(&ak), &self.attestation),
            signature: self.ak.sign(&statement),
            statement,
            public_area: tls,
            attestation_key: ak,
            verdict: self.service.seal(&self.verdict()),
        }
    }

    /// The same, signing another statement about another area.
    pub fn signing(&self, statement: Vec<u8>, public_area: Vec<u8>) -> Answer {
        Answer { signature: self.ak.sign(&statement), statement, public_area, ..self.answer() }
    }

    pub fn judge(&self, answer: &Answer) -> Result<Proved, StatementRefusal> {
        self.trust.judge(&answer.bytes(), &ASKED, NOW)
    }
}
