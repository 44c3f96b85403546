//! Customers: who they are, how they show themselves, what they may spend, and what counts against them.
//!
//! Operators write it; the PCI zone pulls customers and cards from its feeds and tells it what was spent, stolen, left
//! unpaid and enrolled. A card is known here by its token only, an ID token by its digest only. Standing is never a
//! number that is added to: it is counted from thefts and unpaid balances, so a reversal cannot leave it wrong.
//!
//! Two rules about money and blame: a theft counts against the customer when he is known, else against the card; and
//! only `larder.payment.failed.v1` makes an unpaid balance (the `unpaid` of a finalized purchase is information), on the
//! card and, when known, on the customer. Neither is shed by erasing the customer: it falls back on the card. Nor by
//! putting the card into a wallet: what nobody else answers for counts against whoever has the card.
//!
//! It leaves meals to inventory, and the decision who may buy to the PCI zone.

mod cards;
mod credit;
mod customers;
mod drive;
mod id_tokens;
mod record;
mod serve;
mod settings;
mod standing;

pub use customers::NewCustomer;
pub use record::Customer;
pub use serve::serve;
pub use settings::Settings;
