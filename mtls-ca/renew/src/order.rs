//! One certificate of a service: the order, the proof of its names and addresses, the request for a new key.

use ca_client::{Account, Identifier, Order, Span, Web};
use data_encoding::BASE64URL_NOPAD;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use zeroize::Zeroizing;

use crate::responder::Board;
use crate::{RenewError, Wanted, files};

/// The authority's name for certificates of services.
const PROFILE: &str = "service";

/// A chain and its key, PEM.
pub(crate) struct Certified {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: Zeroizing<String>,
}

/// Gets a certificate for a new key.
pub(crate) async fn certificate(
    authority: &Web,
    directory: &str,
    wanted: &Wanted,
    board: &Board,
) -> Result<Certified, RenewError> {
    let account = account(authority, directory, wanted).await?;
    let names = wanted.dns.iter().map(|name| Identifier::Dns(name.clone()));
    let identifiers: Vec<Identifier> = names.chain(wanted.ip.iter().map(|address| Identifier::Ip(*address))).collect();
    let order = Order::place(&account, PROFILE, &identifiers).await?;
    let mut given = Vec::new();
    for challenge in order.challenges("http-01").await? {
        given.push(board.give(&challenge.token, &challenge.key_authorization));
        order.meet(&challenge, &json!({})).await?;
    }
    let (request, key_pem) = request(wanted)?;
    let chain_pem = order.certificate(&request).await?;
    Ok(Certified { chain_pem, key_pem })
}

/// The window in which the authority would have a certificate renewed, and when to ask again, in seconds.
pub(crate) async fn hint(
    authority: &Web,
    directory: &str,
    wanted: &Wanted,
    leaf: &CertificateDer<'_>,
) -> Result<(Span, u64), RenewError> {
    Ok(ca_client::hint(&account(authority, directory, wanted).await?, leaf).await?)
}

async fn account(authority: &Web, directory: &str, wanted: &Wanted) -> Result<Account, RenewError> {
    if let Some(credentials) = files::account(&wanted.account)? {
        return Ok(Account::open(authority.clone(), &credentials).await?);
    }
    let path = wanted.account_key_file.display();
    let told = |why: &str| {
        let party = &wanted.party;
        RenewError::Refused(format!("{path} {why}: make one with `larder-acme eab new --id {party}` and put it there"))
    };
    let text = files::read(&wanted.account_key_file)?;
    let text = Zeroizing::new(text.ok_or_else(|| told("is not there, and there is no account yet"))?);
    let secret = BASE64URL_NOPAD.decode(text.trim_ascii());
    let secret = Zeroizing::new(secret.map_err(|_| told("holds no external account key in base64url"))?);
    let made = Account::create(authority.clone(), directory, &wanted.account_key_id, &secret).await;
    let (account, credentials) = made?;
    files::keep_account(&wanted.account, &credentials)?;
    Ok(account)
}

/// A new key and the request for it (PKCS #10), DER.
fn request(wanted: &Wanted) -> Result<(Vec<u8>, Zeroizing<String>), RenewError> {
    let failed = |why: rcgen::Error| RenewError::Fault(format!("no request could be made: {why}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    let names = wanted.dns.iter().map(|name| name.as_str().try_into().map(SanType::DnsName));
    let names = names.chain(wanted.ip.iter().map(|address| Ok(SanType::IpAddress(*address))));
    params.subject_alt_names = names.collect::<Result<_, _>>().map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(failed)?;
    Ok((request.der().to_vec(), Zeroizing::new(key.serialize_pem())))
}
