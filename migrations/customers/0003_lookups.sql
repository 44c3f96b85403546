-- Who has a card in his wallet, and which cards stand for a customer: asked with every event about a card and every erasure.
CREATE INDEX wallet_by_token ON wallet (token);
CREATE INDEX card_by_customer ON card (customer) WHERE customer IS NOT NULL;
CREATE INDEX customer_by_expert ON customer (expert) WHERE expert IS NOT NULL;
CREATE INDEX customer_by_referral_code ON customer (referral_code) WHERE referral_code IS NOT NULL;
