#[cfg(feature = "jwks")]
use super::remote::RemoteKeys;
use super::{
    jws::CompactJws,
    key::{Outcome, VerifyingKey},
    raw::Header,
};

/// The keys of one issuer: current and previous ones, of whatever algorithms.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    pub(super) own: Vec<VerifyingKey>,
    #[cfg(feature = "jwks")]
    pub(super) remote: Option<RemoteKeys>,
}

impl KeySet {
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && !self.has_remote()
    }

    /// Whether keys may come and go while it is used.
    pub(super) fn has_remote(&self) -> bool {
        #[cfg(feature = "jwks")]
        return self.remote.is_some();
        #[cfg(not(feature = "jwks"))]
        false
    }

    /// Whether the key that has signed the token is one of those that its header may mean.
    pub(super) fn verify(
        &self,
        header: &Header<'_>,
        token: &CompactJws<'_>,
        signature: &[u8],
    ) -> Outcome {
        let message = token.signing_input();
        let own = || self.candidates(header).any(|key| key.verify(message, signature));
        #[cfg(feature = "jwks")]
        if let Some(remote) = &self.remote {
            let is_own = |kid| self.own.iter().any(|key| key.name() == Some(kid));
            if header.kid().is_some_and(|kid| !is_own(kid) && remote.has(kid)) {
                return remote.verify(header, message, signature);
            }
            return match own() {
                true => Outcome::Holds,
                false if header.kid().is_some_and(is_own) => Outcome::Fails,
                false => remote.verify(header, message, signature),
            };
        }
        if own() { Outcome::Holds } else { Outcome::Fails }
    }

    /// Whether any key at all has signed these bytes, whatever a header says.
    pub(super) fn verify_with_any(&self, signing_input: &[u8], signature: &[u8]) -> bool {
        #[cfg(feature = "jwks")]
        if self.remote.as_ref().is_some_and(|keys| keys.verify_with_any(signing_input, signature)) {
            return true;
        }
        self.own.iter().any(|key| key.verify(signing_input, signature))
    }

    fn candidates(&self, header: &Header<'_>) -> impl Iterator<Item = &VerifyingKey> {
        let kid = header.kid();
        let named = kid.is_some_and(|kid| self.own.iter().any(|key| key.name() == Some(kid)));
        self.own.iter().filter(move |key| {
            let chosen = match kid {
                None => true,
                Some(kid) if named => key.name() == Some(kid),
                Some(_) => key.name().is_none(),
            };
            chosen && key.algorithm().is_named(header.algorithm())
        })
    }
}
