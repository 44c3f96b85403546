//! pci-store.
