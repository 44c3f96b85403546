//! pci-contract.
