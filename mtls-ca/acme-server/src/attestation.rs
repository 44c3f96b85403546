//! Has the answer to a device-attest-01 challenge judged under the authority's own roots, and says what the protocol is to
//! make of it.

use attest_statement::{Asked, Trust};
use authority::Authority;
use ca_acme::{DeviceProof, Kind, Problem, VerifyDeviceAttestation};
use data_encoding::HEXLOWER;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::AcmeServerError;

/// What was made of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It proves the device, which may be in quarantine for these reasons.
    Proved { device: DeviceProof, quarantine: Vec<String> },
    /// It proves nothing.
    Refused(Problem),
    /// It may prove something once a clock is right.
    Undecided(Problem),
}

/// Judges an answer at this time.
pub(crate) fn judge(
    authority: &Authority,
    asked: &VerifyDeviceAttestation,
    now_unix_s: i64,
) -> Result<Judged, AcmeServerError> {
    let corrupt = |why: &dyn std::fmt::Display| AcmeServerError::corrupt("the trust bundle", why);
    let bundle = authority.trust_bundle_pem();
    let roots = CertificateDer::pem_slice_iter(bundle.as_bytes()).collect::<Result<Vec<_>, _>>();
    let trust = Trust::new(&roots.map_err(|why| corrupt(&why))?, authority.trust_domain());
    let trust = trust.map_err(|why| corrupt(&why))?;
    let identifier = HEXLOWER.decode(asked.permanent_identifier.as_bytes()).ok();
    let identifier = identifier.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let identifier = identifier.ok_or_else(|| AcmeServerError::corrupt(&asked.order, "its identifier is no hash"))?;
    let about = Asked {
        permanent_identifier: &identifier,
        key_authorization: &asked.key_authorization,
        account: &asked.account,
        order: &asked.order_url,
    };
    Ok(match trust.judge(&asked.attestation_object, &about, now_unix_s) {
        Ok(proved) => {
            let quarantine = proved.quarantine;
            let device = DeviceProof::new(&proved.point, &proved.csr_sha256, quarantine.clone());
            Judged::Proved { device, quarantine }
        }
        Err(why) => {
            let problem = Problem::new(Kind::BadAttestationStatement, why.to_string());
            if why.may_be_the_clock() { Judged::Undecided(problem) } else { Judged::Refused(problem) }
        }
    })
}
