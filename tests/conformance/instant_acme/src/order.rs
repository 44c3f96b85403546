//! The order itself, as instant-acme's own documents say to make one for a device: account, order, challenge, request,
//! chain.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;

use instant_acme::{
    Account, ChallengeType, DeviceAttestation, ExternalAccountKey, Identifier, NewAccount, NewOrder, OrderStatus,
    RetryPolicy,
};

use crate::lines::Lines;

/// What is wanted, and of whom.
pub(crate) struct Wanted<'a> {
    /// The server's directory.
    pub(crate) directory: &'a str,
    /// The root that the server's certificate must come from, PEM.
    pub(crate) root: &'a Path,
    /// The id of the external account key.
    pub(crate) key_id: &'a str,
    /// The external account key.
    pub(crate) key: &'a [u8],
    /// The device's permanent identifier.
    pub(crate) device: &'a str,
}

/// Makes an account and an order, and tells `account` (the thumbprint of its key), `order` (its URL) and
/// `authorization` (the challenge's token and that thumbprint); hears the attestation object, tells `status ready`,
/// hears the certificate request, and tells the chain.
///
/// # Errors
/// What the server refused, in its words, or why there was no answer.
pub(crate) async fn order<R: BufRead, W: Write>(
    wanted: &Wanted<'_>,
    lines: &mut Lines<R, W>,
) -> Result<(), Box<dyn Error>> {
    let external = ExternalAccountKey::new(wanted.key_id.to_owned(), wanted.key);
    let nobody = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let server = Account::builder_with_root(wanted.root)?;
    let (account, _) = server.create(&nobody, wanted.directory.to_owned(), Some(&external)).await?;
    let device = [Identifier::PermanentIdentifier(wanted.device.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&device).profile("device")).await?;
    lines.tell("account", account.key_thumbprint())?;
    lines.tell("order", order.url())?;

    let mut authorizations = order.authorizations();
    let mut authorization = authorizations.next().await.ok_or("the order has no authorization")??;
    let mut challenge = authorization.challenge(ChallengeType::DeviceAttest01).ok_or("there is no device-attest-01")?;
    lines.tell("authorization", challenge.key_authorization().as_str())?;
    let object = lines.hear("attestation object")?;
    challenge.send_device_attestation(&DeviceAttestation { att_obj: object.into() }).await?;
    let status = order.poll_ready(&RetryPolicy::default()).await?;
    if status != OrderStatus::Ready {
        return Err(format!("the order is {status:?}").into());
    }
    lines.tell("status", "ready")?;

    order.finalize_csr(&lines.hear("certificate request")?).await?;
    let chain = order.poll_certificate(&RetryPolicy::default()).await?;
    lines.tell("chain", &format!("\n{chain}"))
}
