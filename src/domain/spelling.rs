/// The name of a variable that this one is most likely a misspelling of; nothing where it is likely a
/// name of somebody else's.
///
/// A few wrong letters are a misspelling, and so is one word at the end or in the middle that is left
/// out, cut short or in the plural. Short names are passed over: too many others are close to them.
///
/// ```
/// use key0_auth::domain::name_meant;
///
/// let known = ["DATABASE_URL", "PORT"];
/// assert_eq!(name_meant("DATABSE_URL", known), Some("DATABASE_URL"));
/// assert_eq!(name_meant("DATABASE", known), None);
/// assert_eq!(name_meant("CACHE_TTL", ["CACHE_TTL_SECONDS"]), Some("CACHE_TTL_SECONDS"));
/// assert_eq!(name_meant("REDIS_URL", known), None);
/// ```
pub fn name_meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let known: Vec<_> = known.into_iter().collect();
    let close = known.iter().filter_map(|known| {
        let faults = distance(name.as_bytes(), known.as_bytes());
        // One in every seven letters: SSL in place of URL is another word.
        (faults <= known.len() / 7).then_some((faults, *known))
    });
    close.min().map(|(_, known)| known).or_else(|| {
        let mut close = known.into_iter().filter(|known| is_but_a_word(&name, known));
        // Of several, nobody knows which.
        close.next().filter(|_| close.next().is_none())
    })
}

/// The shortest beginning of a name's last word that stands for it.
const SHORTEST_WORD: usize = 3;
/// How many letters the end of another word may have too few or too many.
const MAX_ENDING: usize = 2;

/// Whether a name is another one but for one word.
fn is_but_a_word(name: &str, known: &str) -> bool {
    const FILE: &str = "_FILE";
    let (name, known) = match (name.strip_suffix(FILE), known.strip_suffix(FILE)) {
        (Some(name), Some(known)) => (name, known),
        (None, None) => (name, known),
        _ => return false,
    };
    let (name, known): (Vec<_>, Vec<_>) = (name.split('_').collect(), known.split('_').collect());
    let alike = name.iter().zip(&known).take_while(|(one, other)| one == other).count();
    if name.len() < 2 {
        return false;
    }
    if name.len() == known.len() {
        let rest_is_alike = name.get(alike + 1..) == known.get(alike + 1..);
        let words = name.get(alike).zip(known.get(alike));
        let is_last = alike + 1 == name.len();
        return rest_is_alike && words.is_some_and(|(one, other)| is_word(one, other, is_last));
    }
    // A name without its first word can be anybody's.
    name.len() + 1 == known.len() && alike > 0 && name.get(alike..) == known.get(alike + 1..)
}

/// Whether two words are one, cut short or in the plural.
fn is_word(one: &str, other: &str, is_last: bool) -> bool {
    let singular = |word: &str| match word.strip_suffix("IES") {
        Some(word) => format!("{word}Y"),
        None => word.strip_suffix('S').unwrap_or(word).to_owned(),
    };
    let (one, other) = (singular(one), singular(other));
    let is_short = |short: &str, long: &str| {
        let is_enough = short.len() >= SHORTEST_WORD;
        is_enough && long.starts_with(short) && (is_last || long.len() - short.len() <= MAX_ENDING)
    };
    is_short(&one, &other) || is_short(&other, &one)
}

/// How many letters were left out, put in, changed or swapped with their neighbour.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut before = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1; other.len() + 1];
        for (j, wanted) in other.iter().enumerate() {
            let changed = last[j] + usize::from(letter != wanted);
            row[j + 1] = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == other[j - 1] && one[i - 1] == *wanted {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(one.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "DATABASE_URL",
        "HOST",
        "INTERNAL_AUTH_SECRET",
        "INTERNAL_AUTH_SECRET_FILE",
        "MASTER_API_KEYS",
        "INTERNAL_PORT",
    ];

    #[test]
    fn misspellings() {
        for (name, wanted) in [
            ("DATABSE_URL", "DATABASE_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("DTAABASE_URL", "DATABASE_URL"),
            ("database_url", "DATABASE_URL"),
            ("DATABASE-URL", "DATABASE_URL"),
            ("MASTER_API_KEY", "MASTER_API_KEYS"),
            ("INTERNAL_AUTH_SECRETS", "INTERNAL_AUTH_SECRET"),
            ("INTERNAL_AUTH_SECRET_FLIE", "INTERNAL_AUTH_SECRET_FILE"),
            ("INTERNL_AUHT_SECRET", "INTERNAL_AUTH_SECRET"),
        ] {
            assert_eq!(name_meant(name, KNOWN), Some(wanted), "{name}");
        }
    }

    #[test]
    fn words_that_are_missing_or_cut_short() {
        let known = [
            "TRUSTED_PROXIES",
            "CACHE_TTL_SECONDS",
            "API_KEY_TTL_SECONDS",
            "SHUTDOWN_DELAY_SECONDS",
            "INTERNAL_AUTH_MAX_LIFETIME_SECONDS",
            "KEY0_ACCESS_TOKEN_ISSUER",
            "KEY0_ACCESS_TOKEN_AUDIENCE",
            "INTERNAL_OAUTH_AUDIENCE",
            "READ_API_KEYS",
            "MASTER_API_KEYS",
            "MASTER_API_KEYS_FILE",
            "DATABASE_URL",
            "DATABASE_URL_FILE",
            "RUST_LOG",
        ];
        for (name, wanted) in [
            ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
            ("CACHE_TTL", "CACHE_TTL_SECONDS"),
            ("CACHE_TTL_SECS", "CACHE_TTL_SECONDS"),
            ("API_KEY_TTL", "API_KEY_TTL_SECONDS"),
            ("SHUTDOWN_DELAY", "SHUTDOWN_DELAY_SECONDS"),
            ("INTERNAL_AUTH_MAX_LIFETIME", "INTERNAL_AUTH_MAX_LIFETIME_SECONDS"),
            ("KEY0_ACCESS_TOKEN_AUD", "KEY0_ACCESS_TOKEN_AUDIENCE"),
            ("INTERNAL_OAUTH_AUD", "INTERNAL_OAUTH_AUDIENCE"),
            ("READER_API_KEYS", "READ_API_KEYS"),
            ("MASTER_KEYS", "MASTER_API_KEYS"),
            ("MASTER_KEYS_FILE", "MASTER_API_KEYS_FILE"),
        ] {
            assert_eq!(name_meant(name, known), Some(wanted), "{name}");
        }
        for name in [
            "API_KEY",
            "API_KEYS",
            "CACHE",
            "TTL_SECONDS",
            "DATABASE",
            "DATABASE_FILE",
            "DATABASE_HOST",
            "KEY0_ACCESS_TOKEN",
            "RUST_LOG_STYLE",
            "TRUSTED_ORIGINS",
            "DATA_URL",
        ] {
            assert_eq!(name_meant(name, known), None, "{name}");
        }
    }

    #[test]
    fn names_of_others() {
        for name in [
            "PATH",
            "HOME",
            "HOSTNAME",
            "POST",
            "PORTS",
            "DATABASE_SSL",
            "DATABASE_USER",
            "EXTERNAL_PORT",
            "REDIS_URL",
            "AUTH_SECRET",
            "API_KEYS",
            "",
        ] {
            assert_eq!(name_meant(name, KNOWN), None, "{name}");
        }
    }
}
