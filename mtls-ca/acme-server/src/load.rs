//! Finds the rows that a request needs.

use ca_acme::{AccountBy, Context, Needs, OrderBy};

use crate::error::AcmeServerError;
use crate::store::Store;

/// Loads what a request needs; what is not there stays `None`.
pub(crate) async fn load(store: &Store, needs: &Needs, now_unix_s: i64) -> Result<Context, AcmeServerError> {
    let mut context = Context {
        account: match &needs.account {
            Some(AccountBy::Id(id)) => store.account(id).await?,
            Some(AccountBy::Thumbprint(thumbprint)) => store.account_of_key(thumbprint).await?,
            None => None,
        },
        order: match &needs.order {
            Some(OrderBy::Id(id)) => store.order(id).await?,
            Some(OrderBy::CertificateSha256(sha256)) => store.order_of_certificate(sha256).await?,
            Some(OrderBy::RenewalId(id)) => store.order_of_renewal(id).await?,
            None => None,
        },
        ..Context::default()
    };
    let of_account = context.account.as_ref().map(|account| account.eab_kid.clone());
    if let Some(kid) = needs.eab_kid.clone().or(of_account) {
        context.eab = store.eab(&kid).await?;
    }
    if let Some(thumbprint) = &needs.key_taken {
        context.key_taken = store.account_of_key(thumbprint).await?.is_some();
    }
    if let Some(renewal_id) = &needs.replaced {
        context.replaced = store.is_replaced(renewal_id).await?;
    }
    if let (true, Some(account)) = (needs.orders, &context.account) {
        let orders = store.orders_of(&account.id).await?;
        context.open_orders = orders.iter().filter(|order| order.is_open(now_unix_s)).count();
        context.order_ids = orders.into_iter().map(|order| order.id).collect();
    }
    Ok(context)
}
