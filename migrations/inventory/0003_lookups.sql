-- The meals of one type, in the order in which they are listed.
CREATE INDEX meal_by_gtin ON meal (gtin);
