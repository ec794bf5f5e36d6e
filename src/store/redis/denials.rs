use async_trait::async_trait;

use super::{RedisStore, row::micros, scripts};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{Change, Denial, DenialStore, TokenDigest, stored::bad},
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
        let mut call = self.call(&scripts::DENIALS);
        let from = after.map_or_else(|| b"-".to_vec(), |it| [&b"("[..], it.as_bytes()].concat());
        call.arg(from).arg(limit);
        let (tokens, ends): (Vec<Vec<u8>>, Vec<String>) = self.read(&call).await?;
        let denials = tokens.iter().zip(ends).map(|(token, until)| {
            let token = token.as_slice().try_into().map_err(|_| bad("digest"))?;
            let until = micros(&until, "until")?;
            Ok(Denial { token: TokenDigest::from_bytes(token), until })
        });
        denials.collect()
    }

    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.purge(&scripts::PURGE_DENIALS, before, limit).await
    }
}
