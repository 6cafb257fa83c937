//! Times as people read them.

/// Returns a time without the fraction of its seconds: programs may want it, people do not. Anything else stays as it is.
pub fn whole_seconds(time: &str) -> String {
    let fraction = time
        .match_indices('.')
        .find(|(at, _)| time[..*at].contains('T'))
        .map(|(at, _)| at);
    let Some(at) = fraction else {
        return time.to_owned();
    };
    let (whole, rest) = time.split_at(at);
    let zone = rest
        .trim_start_matches('.')
        .trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!("{whole}{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_goes_and_the_zone_stays() {
        for (given, shown) in [
            ("2026-11-30T17:04:17.46989601Z", "2026-11-30T17:04:17Z"),
            ("2026-11-30T17:04:17.4+02:00", "2026-11-30T17:04:17+02:00"),
            ("2026-11-30T17:04:17Z", "2026-11-30T17:04:17Z"),
            ("2026-11-30", "2026-11-30"),
            ("v1.2", "v1.2"),
            ("", ""),
        ] {
            assert_eq!(whole_seconds(given), shown);
        }
    }
}
