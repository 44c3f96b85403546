//! Nothing: this package is there for its lock file, by which what is carried along is fetched as it was published.
