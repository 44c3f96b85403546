//! What can be asked: a closed set of actions, and the two kinds of thing they are done to.
//!
//! Closed on purpose: a new call of the house cannot be guarded before it has a name here, in the schema and in the
//! cases. It leaves the answer to `engine`.

use ca_identity::{ServiceName, SpiffeId};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $area:literal;)*) => {
        /// Everything the house can be asked to do, by the name it has in the policies.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// All actions, in the order they are declared.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The action's name in the policies.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The policy file, without its ending, that decides about this action.
            #[must_use]
            pub const fn area(self) -> &'static str {
                match self { $(Self::$name => $area,)* }
            }
        }
    };
}

actions! {
    /// Ask the PCI zone for the key that cards are sealed to.
    SealingKey: "pci";
    /// Run a purchase session.
    Purchase: "pci";
    /// Put a card into a wallet.
    EnrollCard: "pci";
    /// Report what happened outside any session.
    ReportTamper: "pci";
    /// Ask whether a service is well.
    Health: "observe";
    /// Read a service's metrics.
    Metrics: "observe";
    /// Read fridges, policy, sales and the audit log.
    AdminRead: "people";
    /// Change fridges and policy.
    AdminWrite: "people";
    /// Read sessions, health and locks of fridges.
    StatusRead: "people";
    /// Lock and release fridges.
    StatusWrite: "people";
    /// Read meals, prices and stock.
    InventoryRead: "people";
    /// Change meals, prices and stock.
    InventoryWrite: "people";
    /// Read customers and their standing.
    CustomersRead: "people";
    /// Change customers and their standing.
    CustomersWrite: "people";
    /// Pull fridges and policy.
    AdminFeed: "wall";
    /// Pull locks.
    StatusFeed: "wall";
    /// Pull meal types and meals.
    InventoryFeed: "wall";
    /// Pull customers and cards.
    CustomersFeed: "wall";
    /// Push events to the admin service.
    AdminInbox: "wall";
    /// Push events to the status service.
    StatusInbox: "wall";
    /// Push events to the inventory service.
    InventoryInbox: "wall";
    /// Push events to the customers service.
    CustomersInbox: "wall";
    /// Report a fridge's health.
    ReportHealth: "fridges";
}

impl Action {
    /// Finds the action of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == text)
    }

    /// Whether the action is done to a fridge rather than to a service.
    #[must_use]
    pub const fn is_about_a_fridge(self) -> bool {
        matches!(self, Self::ReportHealth)
    }
}

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A service as a whole.
    Service(ServiceName),
    /// One fridge, by its name.
    Fridge(&'a str),
}

/// One question: may `principal` do `action` to `resource`?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks, as the certificate says.
    pub principal: &'a SpiffeId,
    /// What for.
    pub action: Action,
    /// To what.
    pub resource: Resource<'a>,
}

/// The role of an operator: his name up to the first `-`, or all of it.
#[must_use]
pub fn operator_role(name: &str) -> &str {
    name.split_once('-').map_or(name, |(role, _)| role)
}
