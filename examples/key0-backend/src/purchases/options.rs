use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is done with purchases, in the store that `DATABASE_URL` names.
#[derive(Debug, Clone, Args)]
pub(crate) struct PurchasesOptions {
    #[command(subcommand)]
    pub(crate) command: PurchasesCommand,
    /// Print JSON, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PurchasesCommand {
    /// List purchases, the newest first.
    List(Filters),
    /// Show one purchase: its issuance, its payment and its key.
    Show {
        /// Its challenge; without one, its request
        id: String,
    },
    /// Revoke a purchase: its key and its access tokens die, and nothing is issued for it any more, also
    /// where nothing was yet.
    Revoke {
        /// Its challenge; without one, its request
        id: String,
        /// Why, for its record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Run the handler of a payment that waits now.
    Retry {
        /// The payment's challenge
        id: String,
    },
    /// Give the handler of a payment up.
    Settle {
        /// The payment's challenge
        id: String,
        /// Why, for its record
        #[arg(long)]
        reason: String,
    },
}

/// Which purchases are listed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Filters {
    /// Only that of this challenge
    #[arg(long)]
    challenge: Option<String>,
    /// Only those of this request
    #[arg(long)]
    request: Option<String>,
    /// Only that which this transaction has paid
    #[arg(long)]
    tx: Option<String>,
    /// Only that for which the key with this id was issued
    #[arg(long)]
    key: Option<String>,
    /// Only those of this plan
    #[arg(long)]
    plan: Option<String>,
    /// Only those for this resource
    #[arg(long)]
    resource: Option<String>,
    /// Only those in this state: issued, confirmed, issued_unconfirmed, confirmed_unissued, waiting or
    /// revoked
    #[arg(long)]
    state: Option<String>,
}

impl Filters {
    /// Each by its name in a URL's query.
    pub(super) fn named(&self) -> [(&'static str, &Option<String>); 7] {
        [
            ("challengeId", &self.challenge),
            ("requestId", &self.request),
            ("txHash", &self.tx),
            ("keyId", &self.key),
            ("planId", &self.plan),
            ("resourceId", &self.resource),
            ("state", &self.state),
        ]
    }
}
