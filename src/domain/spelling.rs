/// The name of a variable that this one is most likely a misspelling of; nothing where it is likely a
/// name of somebody else's.
///
/// Short names are passed over: too many others are close to them.
///
/// ```
/// use key0_auth::domain::name_meant;
///
/// let known = ["DATABASE_URL", "PORT"];
/// assert_eq!(name_meant("DATABSE_URL", known), Some("DATABASE_URL"));
/// assert_eq!(name_meant("REDIS_URL", known), None);
/// ```
pub fn name_meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let close = known.into_iter().filter_map(|known| {
        let faults = distance(name.as_bytes(), known.as_bytes());
        // One in every seven letters: SSL in place of URL is another word.
        (faults <= known.len() / 7).then_some((faults, known))
    });
    close.min().map(|(_, known)| known)
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
