//! pci-session.
