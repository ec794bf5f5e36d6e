use super::{algorithm::Algorithm, jws::CompactJws, key::VerifyingKey, raw::Header};

/// The keys of one issuer: current and previous ones, of whatever algorithms.
#[derive(Debug)]
pub(super) struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    pub(super) fn new(keys: Vec<VerifyingKey>) -> Self {
        Self(keys)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.0.iter()
    }

    /// The algorithm of the key that has signed the token, of those that its header may mean.
    pub(super) fn verify(
        &self,
        header: &Header<'_>,
        token: &CompactJws<'_>,
        signature: &[u8],
    ) -> Option<Algorithm> {
        self.candidates(header)
            .find(|key| key.verify(token.signing_input(), signature))
            .map(VerifyingKey::algorithm)
    }

    /// Whether any key at all has signed these bytes, whatever a header says.
    pub(super) fn verify_with_any(&self, signing_input: &[u8], signature: &[u8]) -> bool {
        self.iter().any(|key| key.verify(signing_input, signature))
    }

    fn candidates(&self, header: &Header<'_>) -> impl Iterator<Item = &VerifyingKey> {
        let kid = header.kid();
        let named = kid.is_some_and(|kid| self.iter().any(|key| key.name() == Some(kid)));
        self.iter().filter(move |key| {
            let chosen = match kid {
                None => true,
                Some(kid) if named => key.name() == Some(kid),
                Some(_) => key.name().is_none(),
            };
            chosen && key.algorithm().is_named(header.algorithm())
        })
    }
}
