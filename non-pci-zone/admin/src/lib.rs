//! Admin: which fridges there are, what each authorizes before its door opens, and the rules that hold for all.
//!
//! Operators write it, the PCI zone pulls fridges and policy from its feeds and tells it of every session, from which it
//! keeps the sales of each fridge. A fridge sells only when it is in service and its life cycle lets it.
//!
//! It leaves meals to inventory, customers to customers, and temperatures, doors and locks to status.
