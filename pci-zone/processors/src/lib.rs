//! pci-processors.
