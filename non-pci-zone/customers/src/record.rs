//! The record of a customer, as stored, as told to the PCI zone, and as answered.
//!
//! What counts against him is counted when the record is read. It leaves changing the record to the other modules, each
//! of which ends its change with [`publish`].

use ops_kit::{ApiError, WriteTx, stored};
use pci_contract::{
    Brand, CardRef, Currency, CustomerId, CustomerRow, ExpertId, IdTokenDigest, LastFour, Money, ReferralCode,
    SubscriptionId, Timestamp, Token,
};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Customer {
    /// Who.
    pub customer: CustomerId,
    /// His name.
    pub name: String,
    /// What he has to spend.
    pub credit: Money,
    /// His subscription.
    pub subscription: Option<SubscriptionId>,
    /// His expert.
    pub expert: Option<ExpertId>,
    /// His referral code.
    pub referral_code: Option<ReferralCode>,
    /// Blocked by an operator.
    pub blocked: bool,
    /// Thefts that count against him.
    pub thefts: u32,
    /// What he owes.
    pub unpaid: Money,
    /// The card that is charged when he shows an ID token.
    pub default_card: Option<CardRef>,
    /// Since when he is known, RFC 3339.
    pub created_at: String,
    /// The revision of the last change.
    #[serde(skip)]
    pub rev: i64,
}

/// A customer's record with all that is counted: what is his, and what is nobody's on the cards in his wallet. A blocked
/// card is not charged, so it is not the default.
pub(crate) const COLUMNS: &str = "
    SELECT c.*,
        (SELECT COUNT(*) FROM theft t WHERE t.reversed_at IS NULL
          AND (t.customer = c.id OR (t.customer IS NULL AND t.token IN
              (SELECT h.token FROM wallet h WHERE h.customer = c.id)))) AS thefts,
        (SELECT COALESCE(SUM(u.minor), 0) FROM unpaid u WHERE u.settled_at IS NULL AND u.currency = c.currency
          AND (u.customer = c.id OR (u.customer IS NULL AND u.token IN
              (SELECT h.token FROM wallet h WHERE h.customer = c.id)))) AS unpaid_minor,
        card.token AS default_token, card.brand, card.last_four
    FROM customer c
    LEFT JOIN wallet w ON w.id = (SELECT MIN(h.id) FROM wallet h JOIN card k ON k.token = h.token
                                  WHERE h.customer = c.id AND NOT k.blocked)
    LEFT JOIN card ON card.token = w.token";

impl Customer {
    pub(crate) fn of(row: &SqliteRow) -> Result<Self, ApiError> {
        let text = |name| row.try_get::<String, _>(name);
        let maybe = |name| row.try_get::<Option<String>, _>(name);
        let currency = stored("customer.currency", Currency::parse(&text("currency")?))?;
        let (subscription, expert, referral) = (maybe("subscription")?, maybe("expert")?, maybe("referral_code")?);
        let default_card = match maybe("default_token")? {
            Some(token) => Some(card_ref(&token, &text("brand")?, &text("last_four")?)?),
            None => None,
        };
        Ok(Self {
            customer: stored("customer.id", CustomerId::parse(&text("id")?))?,
            name: text("name")?,
            credit: Money::new(row.try_get("credit_minor")?, currency),
            subscription: stored("subscription", subscription.as_deref().map(SubscriptionId::parse).transpose())?,
            expert: stored("expert", expert.as_deref().map(ExpertId::parse).transpose())?,
            referral_code: stored("referral_code", referral.as_deref().map(ReferralCode::parse).transpose())?,
            blocked: row.try_get("blocked")?,
            thefts: row.try_get("thefts")?,
            unpaid: Money::new(row.try_get("unpaid_minor")?, currency),
            default_card,
            created_at: Timestamp::from_micros(row.try_get("created_at")?).rfc3339(),
            rev: row.try_get("rev")?,
        })
    }

    /// What the PCI zone is told. A credit that two purchases overdrew is nothing to spend, not a debt.
    fn row(self, id_tokens: Vec<IdTokenDigest>) -> CustomerRow {
        CustomerRow {
            customer: self.customer,
            id_tokens,
            blocked: self.blocked,
            thefts: self.thefts,
            unpaid: self.unpaid,
            credit: Money::new(self.credit.minor().max(0), self.credit.currency()),
            default_card: self.default_card,
            subscription: self.subscription,
            expert: self.expert,
            referral_code: self.referral_code,
            removed: false,
        }
    }
}

/// A card as stored in three columns.
pub(crate) fn card_ref(token: &str, brand: &str, last_four: &str) -> Result<CardRef, ApiError> {
    Ok(CardRef {
        token: stored("card.token", Token::parse(token))?,
        brand: stored("card.brand", serde_json::from_value::<Brand>(brand.into()))?,
        last_four: stored("card.last_four", LastFour::parse(last_four))?,
    })
}

/// The customer of this id, unless erased.
pub(crate) async fn find(sql: &mut SqliteConnection, id: &CustomerId) -> Result<Option<Customer>, ApiError> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE c.id = $1 AND c.erased_at IS NULL"));
    let row = sqlx::query(text).bind(id.as_str()).fetch_optional(sql).await?;
    row.as_ref().map(Customer::of).transpose()
}

/// Ends a change: gives the record its next revision and tells the PCI zone. None when there is no such customer.
pub(crate) async fn publish(tx: &mut WriteTx, id: &CustomerId) -> Result<Option<Customer>, ApiError> {
    let Some(mut customer) = find(tx.sql(), id).await? else { return Ok(None) };
    let digests: Vec<String> =
        sqlx::query_scalar("SELECT digest FROM id_token WHERE customer = $1 AND revoked_at IS NULL ORDER BY digest")
            .bind(id.as_str())
            .fetch_all(tx.sql())
            .await?;
    let digests = digests.iter().map(|digest| stored("id_token.digest", IdTokenDigest::parse(digest)));
    let digests = digests.collect::<Result<Vec<_>, _>>()?;
    customer.rev = tx.put_row(&customer.clone().row(digests)).await?;
    sqlx::query("UPDATE customer SET rev = $1 WHERE id = $2")
        .bind(customer.rev)
        .bind(id.as_str())
        .execute(tx.sql())
        .await?;
    Ok(Some(customer))
}

/// Tells the PCI zone that the customer is no more.
pub(crate) async fn publish_erased(tx: &mut WriteTx, customer: Customer) -> Result<(), ApiError> {
    let row = customer.row(Vec::new());
    let nothing = Money::zero(row.credit.currency());
    let row = CustomerRow {
        default_card: None,
        credit: nothing,
        subscription: None,
        expert: None,
        referral_code: None,
        removed: true,
        ..row
    };
    tx.put_row(&row).await?;
    Ok(())
}
