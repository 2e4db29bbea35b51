//! Numbers and times as people read them. Pure, and the same on both sides.

use crate::domain::civil;

/// A duration in milliseconds: `12 ms`, `1.4 s`, `14 s`, `2 min 5 s`, `1 h 3 min`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..9950 => format!("{:.1} s", ms as f64 / 1000.0),
        9950..60_000 => format!("{} s", (ms + 500) / 1000),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A size in bytes: `812 B`, `3.4 KB`, `12 MB`.
pub fn bytes(n: u64) -> String {
    let scaled = |value: f64, unit: &str| {
        if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
    };
    let n_float = n as f64;
    match n {
        0..1000 => format!("{n} B"),
        1000..1_000_000 => scaled(n_float / 1e3, "KB"),
        1_000_000..1_000_000_000 => scaled(n_float / 1e6, "MB"),
        _ => scaled(n_float / 1e9, "GB"),
    }
}

/// A count: `950`, `12.4k`, `1.2M`.
pub fn compact(n: u64) -> String {
    match n {
        0..1000 => n.to_string(),
        1000..1_000_000 => format!("{:.1}k", n as f64 / 1e3).replace(".0k", "k"),
        _ => format!("{:.1}M", n as f64 / 1e6).replace(".0M", "M"),
    }
}

/// An amount in millionths of a dollar: `0.8 ¢`, `12.4 ¢`, `$1.20`.
pub fn money(micro: u64) -> String {
    match micro {
        0..1_000_000 => format!("{:.1} ¢", micro as f64 / 1e4).replace(".0 ", " "),
        _ => format!("${:.2}", micro as f64 / 1e6),
    }
}

/// How long ago a moment was: `just now`, `5 min ago`, `3 h ago`, `yesterday`, `12 days ago`, then the date.
pub fn ago(at: u64, now: u64) -> String {
    let seconds = now.saturating_sub(at) / 1000;
    match seconds {
        0..45 => "just now".to_owned(),
        45..3600 => format!("{} min ago", seconds.div_ceil(60).min(59)),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..172_800 => "yesterday".to_owned(),
        172_800..2_592_000 => format!("{} days ago", seconds / 86_400),
        _ => day(at),
    }
}

/// The UTC date of a moment: `22 Nov 2026`.
pub fn day(at: u64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = civil((at / 86_400_000) as i64);
    let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    format!("{day} {name} {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_useful_figures() {
        let said: Vec<String> = [0, 12, 999, 1400, 9960, 14_200, 125_000, 3_780_000].map(duration).to_vec();
        assert_eq!(said, ["0 ms", "12 ms", "999 ms", "1.4 s", "10 s", "14 s", "2 min 5 s", "1 h 3 min"]);
    }

    #[test]
    fn sizes_and_counts_are_short() {
        assert_eq!([812, 3400, 12_000_000].map(bytes).to_vec(), ["812 B", "3.4 KB", "12 MB"]);
        assert_eq!([950, 12_400, 2_000, 1_200_000].map(compact).to_vec(), ["950", "12.4k", "2k", "1.2M"]);
    }

    #[test]
    fn moments_are_told_from_now_and_dates_are_right() {
        assert_eq!(day(0), "1 Jan 1970");
        assert_eq!(day(1_709_164_800_000), "29 Feb 2024");
        assert_eq!(day(1_795_392_000_000), "23 Nov 2026");
        let now = 1_795_392_000_000;
        assert_eq!(ago(now - 10_000, now), "just now");
        assert_eq!(ago(now - 300_000, now), "5 min ago");
        assert_eq!(ago(now - 100_000_000, now), "yesterday");
    }
}
