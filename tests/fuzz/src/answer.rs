//! What a parser says to an input, and how it is asked.

/// What a parser answered: a text that tells one kind of answer from another, and what does not hold, if anything.
pub(crate) type Answer = (String, Result<(), &'static str>);

/// What asks a parser.
pub(crate) type Ask = Box<dyn Fn(&[u8]) -> Answer>;
