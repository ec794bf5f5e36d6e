use std::time::Duration;

/// Reads a duration such as `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || "a number and s, m, h, d or w, as 30d".to_owned();
    let unit = text.chars().next_back().ok_or_else(invalid)?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return Err(invalid()),
    };
    let number = &text[..text.len() - 1];
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
    let seconds = number.checked_mul(each).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in
            [("1s", 1), ("90m", 5_400), ("2h", 7_200), ("30d", 2_592_000), ("1w", 604_800)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(expected)));
        }
        for bad in
            ["", "30", "d", "0d", "-1d", "+1d", "1.5h", "1y", "30 d", "99999999999999999999d", "1é"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
