use async_trait::async_trait;

use super::{RedisStore, scripts};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{Change, Denial, DenialStore, TokenDigest},
};

#[async_trait]
impl DenialStore for RedisStore {
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        let mut call = self.call(&scripts::DENY);
        call.arg(denial.token.as_bytes()).arg(denial.until.as_micros());
        let () = self.write(&call).await?;
        self.shared.listeners.tell(&[Change::Token(denial.token)]);
        Ok(())
    }

    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        let mut begin = after.map_or_else(|| b"-".to_vec(), |token| behind(token.as_bytes()));
        let mut denials = Vec::new();
        loop {
            let wanted = limit as usize - denials.len();
            let mut call = self.call(&scripts::DENIALS);
            call.arg(begin).arg(wanted);
            let (tokens, ends): (Vec<Vec<u8>>, Vec<Vec<u8>>) = self.read(&call).await?;
            denials.extend(tokens.iter().zip(&ends).filter_map(|(token, end)| denial(token, end)));
            match tokens.last() {
                // What names no token is no part of the page.
                Some(last) if tokens.len() == wanted && denials.len() < limit as usize => {
                    begin = behind(last);
                }
                _ => return Ok(denials),
            }
        }
    }

    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.purge(&scripts::PURGE_DENIALS, before, limit).await
    }
}

/// Where a page begins that comes after this member.
fn behind(member: &[u8]) -> Vec<u8> {
    [b"(", member].concat()
}

/// A denial whose end can't be read has none.
fn denial(token: &[u8], end: &[u8]) -> Option<Denial> {
    let token = TokenDigest::from_bytes(token.try_into().ok()?);
    let end = str::from_utf8(end).ok().and_then(|end| end.parse().ok()).unwrap_or(i64::MAX);
    Some(Denial { token, until: Timestamp::from_micros(end) })
}
