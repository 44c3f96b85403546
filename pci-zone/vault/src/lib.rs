//! pci-vault.
