//! What the events of the PCI zone do here: a finalized purchase adds to its fridge's sales. The others say nothing that
//! admin keeps.

use ops_kit::{Booked, Event, Kit, NoSettings, WriteTx};
use pci_contract::EventBody;

use crate::sales;

/// Books one event.
pub(crate) fn book<'a>(_: &'a Kit<NoSettings>, tx: &'a mut WriteTx, event: &'a Event) -> Booked<'a> {
    Box::pin(async move {
        match &event.body {
            EventBody::PurchaseFinalized(purchase) => sales::add(tx, purchase).await,
            EventBody::PurchaseRefused(_)
            | EventBody::PaymentSettled(_)
            | EventBody::PaymentFailed(_)
            | EventBody::TheftConfirmed(_)
            | EventBody::CardEnrolled(_)
            | EventBody::FridgeTampered(_) => Ok(()),
        }
    })
}
