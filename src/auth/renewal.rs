use super::{identity::Identity, validator::Validator};

/// Which part of its life is left of a credential whose holder is told where to renew it: a tenth.
const LAST_PART: u32 = 10;

impl Validator {
    /// The value of `Link` for the holder of a credential that was bought and is nearly over, where
    /// there is a shop.
    pub(crate) fn renewal_link(&self, identity: &Identity) -> Option<Box<str>> {
        let shop = self.responder().shop()?;
        identity.resource_id()?;
        let (issued_at, expires_at) = identity.issued_at().zip(identity.expires_at())?;
        let left = expires_at.since(self.clock().now());
        let is_nearly_over = left.saturating_mul(LAST_PART) <= expires_at.since(issued_at);
        is_nearly_over.then(|| shop.link().into())
    }
}
