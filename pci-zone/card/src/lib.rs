//! pci-card.
